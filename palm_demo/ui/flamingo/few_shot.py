"""Builds a few-shot prompt from rows: examples in order, then the question (Flamingo, figure 1)."""

import html
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple
from uuid import uuid4

import gradio as gr

from palm_demo import world
from palm_demo.errors import MediaError, PalmDemoError, PromptError
from palm_demo.inference.prompts import OURS, PromptForm, check_media_count
from palm_demo.internals.gradio_files import new_folder
from palm_demo.models.tokenizers import MEDIA
from palm_demo.session import Session
from palm_demo.settings import Limits
from palm_demo.ui.choices import chips, choices
from palm_demo.ui.flamingo.conversation import KEPT_SECONDS, labelled, length_in_tokens
from palm_demo.ui.flamingo.own_media import paths_of, value_of
from palm_demo.ui.flamingo.presets import SETS, Draw
from palm_demo.ui.flamingo.taught_words import asked, taught
from palm_demo.ui.messages import on_page, sentence
from palm_demo.ui.uploads import check_media, check_prompt


class Shot(NamedTuple):
    """One example: a text with a media token for each of its media, or without tokens if they come first."""

    text: str
    media: tuple[str, ...]


class ShotSet(NamedTuple):
    """A preset of examples.

    Attributes:
        shots: the examples, and last the question.
        answer: the correct answer to it.
    """

    shots: tuple[Shot, ...]
    answer: str


def draw_set(folder: Path, draw: Draw, form: PromptForm = OURS, rng: Random | None = None) -> ShotSet:
    """Draws the scenes of a preset, and writes their pictures and videos into a folder.

    Args:
        folder: for the files.
        draw: the preset.
        form: the form of texts of the Flamingo that is asked.
        rng: for the scenes; by default unseeded.
    """
    question = draw(rng or Random())
    _, *texts = question.prompt.split(MEDIA)
    shots = [
        Shot(form.worded(text.strip()), (str(world.write_scene(folder / f"shot-{place}", scene)[0]),))
        for place, (text, scene) in enumerate(zip(texts, question.media, strict=True), 1)
    ]
    return ShotSet(tuple(shots), question.answer)


WARNING = {"show_progress": "hidden", "api_visibility": "private"}
QUIET = WARNING | {"queue": False}
"""Options of events that show no progress. Those without the queue (QUIET) cannot show warnings."""

HINT = (
    "Show it a few pictures and give each a word, such as “dax”. Then show it another: it answers with one "
    "of your words. The buttons draw examples; change them, or add your own."
)
EXAMPLE_WORDS = "write what it shows, such as “dax”"
QUESTION_WORDS = "write what to ask, such as “what is this?”"
SAID = "<b>Flamingo says:</b> {answer}<br>{truth}"

SCRIPT = Path(__file__).with_suffix(".js")
TEMPLATE = """
<div data-part="rows"><button type="button" data-part="add">Add an example</button></div>
<p data-part="said" role="status"></p>
"""


class ShotBuilder:
    """Rows for few-shot examples and a question, built inside the current column.

    Attributes:
        most: the most examples.
        shots: the component with the rows, of which the last is the question.
        run, stop: buttons below the question, which ask it and stop its answer.
        answer: the component below them with the answer.
        preset: the state with the preset that was drawn last.
    """

    def __init__(self, session: Session, limits: Limits):
        self.session, self.limits = session, limits
        self.most = limits.media - 1  # one is left for the question
        self.preset = gr.State(None, time_to_live=KEPT_SECONDS)
        gr.HTML(HINT, elem_classes="hint")
        presets = choices(chips(list(SETS)), "Examples to draw", "flamingo-sets", "chips")
        self.shots = gr.HTML(
            _empty_rows(),
            html_template=TEMPLATE,
            js_on_load=SCRIPT.read_text(encoding="utf-8"),
            apply_default_css=False,
            most=self.most,
            elem_id="flamingo-shots",
            elem_classes="shots",
        )
        with gr.Row():
            self.run = gr.Button("Ask after the examples", variant="primary", elem_id="flamingo-taught")
            self.stop = gr.Button("Stop", variant="stop", interactive=False, min_width=80)
        self.answer = gr.HTML(elem_id="flamingo-taught-answer", elem_classes="tight taught")
        self.length = gr.HTML(elem_id="flamingo-prompt-length", elem_classes="hint")
        with gr.Accordion("The whole prompt", open=False, elem_id="flamingo-whole"):
            self.reads = gr.HighlightedText(
                label="Each mark stands for a picture or video",
                elem_id="flamingo-prompt",
                elem_classes="marked",
            )
        presets.select(on_page(self._load), None, [self.preset, self.shots], **WARNING)
        self.shots.change(
            self._preview,
            self.shots,
            [self.reads, self.length, self.answer],
            trigger_mode="always_last",
            **QUIET,
        )

    def put(self, value: object, shot: Shot) -> list[dict]:
        """The rows with an example added, in the first empty row or in a new one.

        Raises PromptError if there are too many.
        """
        *rows, question = _rows_of(value) or _empty_rows()
        empty = next((place for place, row in enumerate(rows) if not _filled(row)), len(rows))
        if empty >= self.most:
            raise PromptError(f"there are {empty} examples and at most {self.most} fit; remove one")
        kept = rows[empty] if empty < len(rows) else {}  # a file may be on its way to it
        rows[empty : empty + 1] = [_row(**kept | {"text": shot.text, "files": list(shot.media)})]
        return [_shown(row) for row in (*rows, question)]

    def prompt(self, value: object) -> tuple[str, list[str]]:
        """The prompt and the media of the rows and the question; see `shot_prompt`."""
        *rows, question = _rows_of(value) or _empty_rows()
        return shot_prompt(rows, question, self.limits, self.session.flamingo.form)

    def answers(self, preset: ShotSet | None, value: object) -> tuple[str, ...]:
        """The correct answers if the rows are an unchanged preset; otherwise none."""
        if preset is None or self.session.flamingo.form != OURS:
            return ()
        rows = [(row["text"], _file_names(row["files"])) for row in _rows_of(value)]
        unchanged = rows == [(shot.text, _file_names(shot.media)) for shot in preset.shots]
        return (preset.answer,) if unchanged else ()

    def said(self, update: Sequence) -> str:
        """The value of `answer` for an update of `Conversation.reply`."""
        messages, *_, truth = update
        return SAID.format(answer=messages[-1]["content"], truth=truth)

    def _load(self, event: gr.SelectData) -> tuple[ShotSet, list[dict]]:
        draw = list(SETS.values())[event.index]
        with self.session.turns.computation() as computation, computation.turn():
            preset = draw_set(new_folder(), draw, self.session.flamingo.form)
        return preset, [_shown(_row(shot.text, shot.media)) for shot in preset.shots]

    def _preview(self, value: object):
        try:
            prompt, media = self.prompt(value)
        except PalmDemoError as error:
            return None, f"Not ready yet. {html.escape(sentence(str(error)))}", ""
        return labelled(prompt, media), length_in_tokens(self.session, prompt), ""


def _row(text: str, files: Sequence[str], key: str | None = None) -> dict:
    """A row of the component. Its key stays when it is moved; by default it is a new one."""
    return {"key": key or uuid4().hex, "text": text, "files": list(files)}


def _empty_rows() -> list[dict]:
    """An example and the question, before anything is written."""
    return [_row("", ()), _row("", ())]


def _rows_of(value: object) -> list[dict]:
    """The key, the text and the paths of the files of each row, from the component's value."""
    rows = value or []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise PromptError("what was sent are not rows of examples; make them on the page")
    return [
        _row(str(row.get("text", "")), paths_of(row.get("files")), str(row.get("key", ""))) for row in rows
    ]


def _shown(row: dict) -> dict:
    return row | {"files": value_of(row["files"])}


def shot_prompt(
    rows: Sequence[dict], question: dict, limits: Limits, form: PromptForm = OURS
) -> tuple[str, list[str]]:
    """The prompt of examples and a question, and its media.

    Args:
        rows: examples, each with `text` and `files`.
        question: the same.
        limits: on the prompt and the number of media.
        form: the form of the texts.

    Raises PromptError or MediaError if an example or the question has no picture or no words, if there is
    too much text or too many media, or if the number of media is not that of the media tokens.
    """
    if form == OURS:
        rows = [row | {"text": taught(row["text"])} for row in rows]
        if question["files"]:  # one without picture and words is empty
            question = question | {"text": asked(question["text"], [row["text"] for row in rows])}
    for place, row in enumerate(rows, 1):
        _check_whole(f"example {place}", row, EXAMPLE_WORDS, "; or remove it")
    _check_whole("the question", question, QUESTION_WORDS)
    parts = [*rows, question]
    media = check_media([path for row in parts for path in row["files"]], limits)
    texts = [form.completed(check_prompt(row["text"].strip(), limits), len(row["files"])) for row in parts]
    prompt = check_prompt(" ".join(texts), limits)
    check_media_count(prompt, len(media))
    return prompt, media


def _check_whole(name: str, row: dict, words: str, otherwise: str = "") -> None:
    """Raises PromptError or MediaError unless a row has a picture and words.

    Args:
        name: of the row.
        words: what to do if it has none.
        otherwise: what else can be done.
    """
    has_words, has_picture = bool(row["text"].strip()), bool(row["files"])
    if not has_words and not has_picture:
        raise PromptError(f"{name} is empty; add a picture and {words}{otherwise}")
    if not has_picture:
        raise MediaError(f"{name} has no picture; add the one that its words are about{otherwise}")
    if not has_words:
        raise PromptError(f"{name} has a picture but no words; {words}{otherwise}")


def _file_names(paths: Sequence[str]) -> list[str]:
    return [Path(path).name for path in paths]


def _filled(row: dict) -> bool:
    return bool(row["text"].strip() or row["files"])
