"""A visitor's conversation with Flamingo: shown as it is said, kept on the server."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import gradio as gr
from gradio.components.chatbot import ComponentMessage

from palm_demo.prompting import check_media_count
from palm_demo.session import Session
from palm_demo.settings import Limits
from palm_demo.ui.flamingo.interleaving import as_message, as_shown_media, labelled, literal
from palm_demo.ui.stopping import Stops
from palm_demo.ui.strangeness import no_warning, warning_about, warning_shown
from palm_demo.ui.uploads import check_media, check_prompt
from palm_demo.ui.waiting import in_line, line_shown

TAB = "flamingo"
KEPT_TURNS = 20
KEPT_SECONDS = 3600
NO_WORDS = "(No words came. The examples below show what Flamingo can be asked.)"


class Exchange(NamedTuple):
    """What was asked, with its media in the order of their marks, and what was said. shown: the media as
    parts of messages."""

    prompt: str
    media: list[str]
    answer: str
    shown: Sequence[ComponentMessage] = ()


class Conversation:
    """The chat and what Flamingo read, built inside the current column.

    turns: the exchanges so far. last: all that was read for the last answer, and that answer; None while
    there is none.
    """

    def __init__(self, session: Session, limits: Limits, stops: Stops):
        self.session, self.limits, self.stops = session, limits, stops
        self.turns = gr.State([], time_to_live=KEPT_SECONDS)
        self.last = gr.State(None, time_to_live=KEPT_SECONDS)
        self.line = line_shown(TAB)
        self.chat = gr.Chatbot(
            label="Conversation",
            height=420,
            render_markdown=False,
            feedback_options=None,
            buttons=[],
            placeholder="Ask something, or click an example below.",
            elem_id="flamingo-chat",
        )
        self.warning = warning_shown(TAB)
        self.reads = gr.HighlightedText(
            label="What Flamingo reads, each mark with its picture or video",
            elem_id="flamingo-reads",
            elem_classes="marked",
        )
        self.length = gr.HTML(elem_id="flamingo-length", elem_classes="hint")

    @property
    def outputs(self) -> list:
        """The components and states that `reply` updates."""
        return [self.chat, self.turns, self.last, self.reads, self.length, self.line, self.warning]

    def reply(
        self,
        visitor: str,
        turns: list[Exchange],
        earlier: bool,
        question: Callable[[], tuple[str, list[str]]],
        settings: dict,
    ) -> Iterator[tuple]:
        """Updates of the outputs while Flamingo answers.

        question: makes the prompt and its media, and raises what is wrong with them. earlier: whether
        Flamingo reads the turns before it too, which makes them few-shot examples.
        """
        with self.stops.running(visitor, TAB) as cancelled:
            asked = question()
            gap = self.session.form.gap
            prompt, media = joined([*turns, Exchange(*asked, "")], gap) if earlier else asked
            check_prompt(prompt, self.limits)
            check_media(media, self.limits)
            check_media_count(prompt, len(media))
            read = [labelled(prompt, media), told_length(self.session, prompt)]
            opened = self.session.opened(media)
            own = opened[len(opened) - len(asked[1]) :]
            new = Exchange(*asked, "", as_shown_media(asked[1], own))
            earlier_messages = _messages(turns)
            for delta in self.session.stream_answer(prompt, opened, **settings, cancelled=cancelled):
                new = new._replace(answer=new.answer + delta)
                shown = [*earlier_messages, *_exchange(new)]
                yield shown, turns, None, *read, in_line(delta), no_warning()
            if not self.stops.wanted(visitor, TAB, cancelled):
                return
            turns = [*turns, new][-KEPT_TURNS:]
            whole = Exchange(prompt, media, new.answer)
            about = warning_about(self.session, own)
            yield _messages(turns), turns, whole, *read, in_line(""), about

    def emptied(self) -> tuple:
        """The updates that forget all."""
        return [], [], None, None, "", in_line(""), no_warning()


def told_length(session: Session, prompt: str) -> str:
    """How much of what Flamingo can read at once a prompt takes."""
    return f"{session.prompt_length(prompt)} of {session.context} tokens, the answer not counted"


def joined(turns: list[Exchange], gap: str = " ") -> tuple[str, list[str]]:
    """Turns as one prompt, answers and all, and their media: Flamingo's few-shot form. gap: between a
    question and its answer."""
    texts = [f"{turn.prompt}{gap}{turn.answer}".rstrip() for turn in turns]
    return " ".join(texts), [path for turn in turns for path in turn.media]


def _messages(turns: list[Exchange]) -> list[dict]:
    return [
        message
        for turn in turns
        for message in _exchange(turn if turn.answer.strip() else turn._replace(answer=NO_WORDS))
    ]


def _exchange(turn: Exchange) -> list[dict]:
    asked = as_message(turn.prompt, turn.shown)
    return [asked, {"role": "assistant", "content": literal(turn.answer)}]
