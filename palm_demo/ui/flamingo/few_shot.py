"""A few-shot prompt built row by row: examples in an order, then the question (Flamingo, figure 1)."""

import html
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

import gradio as gr

from palm_demo import world
from palm_demo.errors import PalmDemoError, PromptError
from palm_demo.inference.prompts import OURS, PromptForm, check_media_count
from palm_demo.internals.gradio_files import new_folder
from palm_demo.models.tokenizers import MEDIA
from palm_demo.session import Session
from palm_demo.settings import Limits
from palm_demo.ui.choices import chips, choices
from palm_demo.ui.flamingo.conversation import KEPT_SECONDS, assemble, labelled, told_length
from palm_demo.ui.flamingo.own_media import holding, paths_of
from palm_demo.ui.flamingo.presets import SETS, Draw
from palm_demo.ui.messages import on_page, sentence
from palm_demo.ui.uploads import check_media, check_prompt


class Shot(NamedTuple):
    """One example: a text with a mark for each of its media, or without marks, which go in front."""

    text: str
    media: tuple[str, ...]


class ShotSet(NamedTuple):
    """shots: the examples, and last what is asked after them. answer: what is right to say then."""

    shots: tuple[Shot, ...]
    answer: str


def draw_set(folder: Path, draw: Draw, form: PromptForm = OURS, rng: Random | None = None) -> ShotSet:
    """A preset drawn afresh, its pictures and videos written into the folder. form: of the Flamingo that is
    asked. rng: of the scenes; by default others each time."""
    question = draw(rng or Random())
    _, *texts = question.prompt.split(MEDIA)
    shots = [
        Shot(form.worded(text.strip()), (str(world.write_scene(folder / f"shot-{place}", scene)[0]),))
        for place, (text, scene) in enumerate(zip(texts, question.media, strict=True), 1)
    ]
    return ShotSet(tuple(shots), question.answer)


WARNING = {"show_progress": "hidden", "api_visibility": "private"}
QUIET = WARNING | {"queue": False}
"""Events that show no progress. Only the queue carries warnings to the page."""

HINT = (
    "Show it a few pictures and say what each is. Then ask about another: it answers in the same way. The "
    "buttons draw examples; change them, or add your own."
)

SCRIPT = Path(__file__).with_suffix(".js")
TEMPLATE = """
<div data-part="rows"></div>
<button type="button" data-part="add">Add an example</button>
<p data-part="said" role="status"></p>
"""


class ShotBuilder:
    """Rows for as many examples as a question may have media, built inside the current column.

    shots: the rows and last the question, as one component. known: the preset that was drawn last.
    """

    def __init__(self, session: Session, limits: Limits):
        self.session, self.limits = session, limits
        self.most = limits.media - 1  # the question has a picture too
        self.known = gr.State(None, time_to_live=KEPT_SECONDS)
        gr.HTML(HINT, elem_classes="hint")
        loads = choices(chips(list(SETS)), "Examples to draw", "flamingo-sets", "chips")
        self.shots = gr.HTML(
            [],
            html_template=TEMPLATE,
            js_on_load=SCRIPT.read_text(encoding="utf-8"),
            apply_default_css=False,
            most=self.most,
            elem_id="flamingo-shots",
            elem_classes="shots",
        )
        self.reads = gr.HighlightedText(
            label="The whole prompt, each mark with its picture or video",
            elem_id="flamingo-prompt",
            elem_classes="marked",
        )
        self.length = gr.HTML("Nothing to read yet.", elem_id="flamingo-prompt-length", elem_classes="hint")
        loads.select(on_page(self._load), None, [self.known, self.shots], **WARNING)
        self.shots.change(
            self._preview, self.shots, [self.reads, self.length], trigger_mode="always_last", **QUIET
        )

    def put(self, value: object, shot: Shot) -> list[dict]:
        """The rows with a picture and its text in the first that is empty, or in a new one."""
        *rows, question = _rows_of(value) or [_EMPTY, _EMPTY]
        free = next((place for place, row in enumerate(rows) if not _filled(row)), len(rows))
        if free >= self.most:
            raise PromptError(f"there are {free} examples and at most {self.most} fit; remove one")
        rows[free : free + 1] = [{"text": shot.text, "files": list(shot.media)}]
        return [_shown(row) for row in (*rows, question)]

    def prompt(self, value: object) -> tuple[str, list[str]]:
        """As `shot_prompt`, of the rows and the question."""
        *rows, question = _rows_of(value) or [_EMPTY]
        return shot_prompt(rows, question, self.limits, self.session.flamingo.form)

    def answers(self, known: ShotSet | None, value: object) -> tuple[str, ...]:
        """What is right to say to the rows, where they are as the page drew them."""
        if known is None or self.session.flamingo.form != OURS:
            return ()
        asked = [(row["text"], _names(row["files"])) for row in _rows_of(value)]
        return (known.answer,) if asked == [(shot.text, _names(shot.media)) for shot in known.shots] else ()

    def _load(self, event: gr.SelectData) -> tuple[ShotSet, list[dict]]:
        draw = list(SETS.values())[event.index]
        with self.session.turns.computation() as computation, computation.turn():
            one = draw_set(new_folder(), draw, self.session.flamingo.form)
        return one, [_shown({"text": shot.text, "files": list(shot.media)}) for shot in one.shots]

    def _preview(self, value: object):
        try:
            prompt, media = self.prompt(value)
        except PalmDemoError as error:
            return None, f"Not ready yet. {html.escape(sentence(str(error)))}"
        return labelled(prompt, media), told_length(self.session, prompt)


_EMPTY = {"text": "", "files": []}


def _rows_of(value: object) -> list[dict]:
    """Rows as the component sends them, each with its text and the paths of its files."""
    rows = value or []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise PromptError("what was sent are not rows of examples; make them on the page")
    return [{"text": str(row.get("text", "")), "files": paths_of(row.get("files"))} for row in rows]


def _shown(row: dict) -> dict:
    return row | {"files": holding(row["files"])}


def shot_prompt(
    rows: Sequence[dict], question: dict, limits: Limits, form: PromptForm = OURS
) -> tuple[str, list[str]]:
    """What rows and a question make together, each with a text and files; empty rows make nothing.

    Raises PromptError or MediaError when there is no question, too much text, too many media, or more or
    fewer of them than marks.
    """
    if not _filled(question):
        raise PromptError("the question is empty; write what Flamingo is to continue, such as “this is a”")
    parts = [box for box in (*rows, question) if _filled(box)]
    media = check_media([path for box in parts for path in box["files"]], limits)
    texts = [assemble(check_prompt(_text(box), limits), len(box["files"]), form) for box in parts]
    prompt = check_prompt(" ".join(texts), limits)
    check_media_count(prompt, len(media))
    return prompt, media


def _names(paths: Sequence[str]) -> list[str]:
    return [Path(path).name for path in paths]


def _filled(box: dict | None) -> bool:
    return bool(box and (box["text"].strip() or box["files"]))


def _text(box: dict) -> str:
    """A row without words is its marks alone."""
    return box["text"].strip() or " ".join([MEDIA] * len(box["files"]))
