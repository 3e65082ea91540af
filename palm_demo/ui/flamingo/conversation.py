"""A visitor's conversation with Flamingo: text with media marks, shown as it is said, kept on the server."""

import hashlib
import html
from collections.abc import Callable, Iterator, Sequence
from contextvars import Context
from pathlib import Path
from typing import NamedTuple

import gradio as gr

from palm_demo.inference.prompts import OURS, PromptForm, check_media_count
from palm_demo.internals.gradio_files import ComponentMessage, check_room, upload_folder
from palm_demo.media import Medium, as_shown, is_video
from palm_demo.models.tokenizers import MEDIA
from palm_demo.session import Session
from palm_demo.settings import Limits
from palm_demo.ui.components import no_warning, warning_about, warning_shown
from palm_demo.ui.streaming import Stops, in_line, line_shown
from palm_demo.ui.uploads import check_media, check_prompt


def assemble(text: str, media: int, form: PromptForm = OURS) -> str:
    """The prompt for what a visitor typed and attached, as `PromptForm.completed` makes it."""
    return form.completed(text, media)


def names(media: Sequence[str | Path]) -> list[str]:
    """What each medium is called on the page: picture 1, video 2 …"""
    return [f"{'video' if is_video(path) else 'picture'} {place}" for place, path in enumerate(media, 1)]


def labelled(prompt: str, media: Sequence[str | Path]) -> list[tuple[str, str | None]]:
    """(text, label) pieces in which each mark has the name of its medium."""
    pieces: list[tuple[str, str | None]] = []
    labels = iter(names(media))
    for place, text in enumerate(prompt.split(MEDIA)):
        if place:
            pieces.append((MEDIA, next(labels, "missing")))
        if text:
            pieces.append((text, None))
    return pieces


def as_message(prompt: str, shown: Sequence[ComponentMessage], form: PromptForm = OURS) -> dict:
    """A Chatbot message of a visitor: each medium, as `as_shown_media` gives it, in the place of its mark.

    form: of the prompt; its questions are shown as people ask them."""
    content: list[str | ComponentMessage] = []
    media = iter(shown)
    for place, text in enumerate(prompt.split(MEDIA)):
        if place:
            content.append(next(media))
        if text.strip():
            content.append(literal(form.spoken(text)))
    return {"role": "user", "content": content}


def literal(text: str) -> str:
    """For the Chatbot, which reads what it shows as HTML, even with `render_markdown=False`."""
    return html.escape(text, quote=False)


def as_shown_media(media: Sequence[str | Path], decoded: Sequence[Medium]) -> list[ComponentMessage]:
    """Files as parts of messages; decoded: what a session's `opened` gave for each. To be called once for
    each: what browsers cannot show is converted, and Gradio looks into every video of which it makes a
    component."""
    # In an event's own context a component only notes what it was given, to be made anew at each update.
    return [Context().run(_as_part, *one) for one in zip(media, names(media), decoded, strict=True)]


def _as_part(path: str | Path, name: str, decoded: Medium) -> ComponentMessage:
    frames = decoded if isinstance(decoded, list) else [decoded]
    check_room()
    # an upload's path names its content: what was converted once is not converted again
    copies = upload_folder() / f"shown-{hashlib.sha256(str(path).encode()).hexdigest()[:32]}"
    path = as_shown(path, copies, decoded=frames)
    component = (
        gr.Video(str(path), label=name, buttons=[], render=False)
        if path.suffix.lower() in (".mp4", ".webm")
        else gr.Image(str(path), alt_text=name, label=name, buttons=[], render=False)
    )
    config = component.get_config()
    settings = {key: value for key, value in component.constructor_args.items() if key != "value"}
    return ComponentMessage(
        component=component.get_block_name(), value=config["value"], constructor_args=settings, props=config
    )


TAB = "flamingo"
KEPT_TURNS = 20
KEPT_SECONDS = 3600
NO_WORDS = "(No words came. The examples above show what Flamingo can be asked.)"


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
    there is none. first: what was asked and answered before the visitor came, and `told`, what is right.
    """

    def __init__(
        self,
        session: Session,
        limits: Limits,
        stops: Stops,
        first: Exchange | None = None,
        told: str = "",
    ):
        self.session, self.limits, self.stops = session, limits, stops
        self.turns = gr.State([], time_to_live=KEPT_SECONDS)
        self.last = gr.State(first, time_to_live=KEPT_SECONDS)
        self.line = line_shown(TAB)
        self.chat = gr.Chatbot(
            [] if first is None else self._exchange(first),
            label="Conversation",
            show_label=False,
            height=300,
            render_markdown=False,
            feedback_options=None,
            buttons=[],
            placeholder="Ask something, or press an example above.",
            elem_id="flamingo-chat",
        )
        self.truth = gr.HTML(html.escape(told), elem_id="flamingo-truth", elem_classes="truth")
        self.warning = warning_shown(TAB)

    def details(self) -> None:
        """What was read for the last answer, for who wants to know, built inside the current column."""
        with gr.Accordion("What exactly Flamingo reads", open=False, elem_id="flamingo-details"):
            self.reads = gr.HighlightedText(
                label="Each mark stands for a picture or video",
                elem_id="flamingo-reads",
                elem_classes="marked",
            )
            self.length = gr.HTML(elem_id="flamingo-length", elem_classes="hint")

    @property
    def outputs(self) -> list:
        """The components and states that `reply` updates."""
        return [
            self.chat,
            self.turns,
            self.last,
            self.reads,
            self.length,
            self.line,
            self.warning,
            self.truth,
        ]

    def reply(
        self,
        visitor: str,
        turns: list[Exchange],
        earlier: bool,
        question: Callable[[], tuple[str, list[str]]],
        settings: dict,
        answers: tuple[str, ...] = (),
    ) -> Iterator[tuple]:
        """Updates of the outputs while Flamingo answers.

        question: makes the prompt and its media, and raises what is wrong with them. earlier: whether
        Flamingo reads the turns before it too, which makes them few-shot examples. answers: what is right to
        say, where the page knows.
        """
        with self.stops.running(visitor, TAB) as cancelled:
            asked = question()
            gap = self.session.flamingo.form.gap
            prompt, media = joined([*turns, Exchange(*asked, "")], gap) if earlier else asked
            check_prompt(prompt, self.limits)
            check_media(media, self.limits)
            check_media_count(prompt, len(media))
            read = [labelled(prompt, media), told_length(self.session, prompt)]
            opened = self.session.opened(media)
            own = opened[len(opened) - len(asked[1]) :]
            new = Exchange(*asked, "", as_shown_media(asked[1], own))
            earlier_messages = self._messages(turns)
            for delta in self.session.stream_answer(prompt, opened, **settings, cancelled=cancelled):
                new = new._replace(answer=new.answer + delta)
                shown = [*earlier_messages, *self._exchange(new)]
                yield shown, turns, None, *read, in_line(delta), no_warning(), ""
            if not self.stops.wanted(visitor, TAB, cancelled):
                return
            turns = [*turns, new][-KEPT_TURNS:]
            whole = Exchange(prompt, media, new.answer)
            # of its own drawings the page knows that they are none of what is strange
            about = no_warning() if answers else warning_about(self.session, own)
            told = html.escape(verdict(answers, new.answer)) if answers else ""
            yield self._messages(turns), turns, whole, *read, in_line(""), about, told

    def _messages(self, turns: list[Exchange]) -> list[dict]:
        return [
            message
            for turn in turns
            for message in self._exchange(turn if turn.answer.strip() else turn._replace(answer=NO_WORDS))
        ]

    def _exchange(self, turn: Exchange) -> list[dict]:
        asked = as_message(turn.prompt, turn.shown, self.session.flamingo.form)
        return [asked, {"role": "assistant", "content": literal(turn.answer)}]

    def emptied(self) -> tuple:
        """The updates that forget all."""
        return [], [], None, None, "", in_line(""), no_warning(), ""


def verdict(answers: tuple[str, ...], said: str) -> str:
    """What the page says of an answer to a question of its own, whose scene it drew."""
    if said.strip().lower().rstrip(".") in answers:
        return "✓ Right. The page drew this itself, so it knows."
    return f"✗ Not this time. The page drew this itself: the answer is “{answers[0]}”."


def told_length(session: Session, prompt: str) -> str:
    """How much of what Flamingo can read at once a prompt takes."""
    return f"{session.prompt_length(prompt)} of {session.flamingo.context} tokens, the answer not counted"


def joined(turns: list[Exchange], gap: str = " ") -> tuple[str, list[str]]:
    """Turns as one prompt, answers and all, and their media: Flamingo's few-shot form. gap: between a
    question and its answer."""
    texts = [f"{turn.prompt}{gap}{turn.answer}".rstrip() for turn in turns]
    return " ".join(texts), [path for turn in turns for path in turn.media]
