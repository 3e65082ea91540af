"""A few-shot prompt built row by row: examples in an order, then the question (Flamingo, figure 1)."""

import html
from collections.abc import Sequence
from functools import partial
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
from palm_demo.ui.flamingo.conversation import KEPT_SECONDS, assemble, labelled, told_length
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

EMPTY = {"text": "", "files": []}


class ShotBuilder:
    """Rows for as many examples as a question may have media, of which `used` are shown.

    boxes: the rows and last the question, as MultimodalTextboxes.
    """

    def __init__(self, session: Session, limits: Limits):
        self.session, self.limits = session, limits
        self.most = limits.media - 1  # the question has a picture too
        self.used = gr.State(1)
        self.known = gr.State(None, time_to_live=KEPT_SECONDS)
        gr.HTML(HINT, elem_classes="hint")
        with gr.Row(elem_id="flamingo-sets", elem_classes="sets"):
            loads = [gr.Button(title, size="sm", min_width=120) for title in SETS]
        self.rows, rows, ups, downs, removes = [], [], [], [], []
        for place in range(self.most):
            with gr.Row(visible=place < 1, elem_id=f"flamingo-shot-{place + 1}", elem_classes="shot") as row:
                rows.append(self._box(f"Example {place + 1}", "this is a dax."))
                with gr.Column(scale=0, min_width=92, elem_classes="moves"):
                    ups.append(gr.Button("Up", size="sm", min_width=80, interactive=place > 0))
                    downs.append(gr.Button("Down", size="sm", min_width=80))
                    removes.append(gr.Button("Remove", size="sm", min_width=80))
            self.rows.append(row)
        add = gr.Button("Add an example", size="sm", elem_id="flamingo-add")
        question = self._box("Then the question", "this is a", "flamingo-shot-question")
        self.boxes = [*rows, question]
        self.reads = gr.HighlightedText(
            label="The whole prompt, each mark with its picture or video",
            elem_id="flamingo-prompt",
            elem_classes="marked",
        )
        self.length = gr.HTML("Nothing to read yet.", elem_id="flamingo-prompt-length", elem_classes="hint")

        for place, (up, down, remove) in enumerate(zip(ups, downs, removes, strict=True)):
            if place:
                up.click(
                    lambda above, below: (below, above), *[self.boxes[place - 1 : place + 1]] * 2, **QUIET
                )
            if place < self.most - 1:
                pair = self.boxes[place : place + 2]
                down.click(partial(self._down, place), [self.used, *pair], pair, **QUIET)
            remove.click(partial(self._remove, place), [self.used, *rows], self._all(rows), **QUIET)
        add.click(on_page(self._add), self.used, [self.used, *self.rows], **WARNING)
        for load, draw in zip(loads, SETS.values(), strict=True):
            load.click(
                on_page(partial(self._load, draw)), None, [self.known, *self._all(self.boxes)], **WARNING
            )
        gr.on(
            [box.change for box in self.boxes],
            self._preview,
            [self.used, *self.boxes],
            [self.reads, self.length],
            trigger_mode="always_last",
            **QUIET,
        )

    def put(self, used: int, boxes: Sequence[dict], shot: dict) -> list:
        """The updates of `placed` that put a picture and its text into the first empty row or a new one."""
        free = next((place for place in range(used) if not _filled(boxes[place])), used)
        self._check_room(free)
        used = max(used, free + 1)
        return [
            used,
            *self._shown(used),
            *(shot if place == free else gr.skip() for place in range(self.most)),
        ]

    @property
    def placed(self) -> list:
        return self._all(self.boxes[:-1])

    def prompt(self, used: int, boxes: Sequence[dict]) -> tuple[str, list[str]]:
        """As `shot_prompt`, of the rows in use and the question."""
        *rows, question = boxes
        return shot_prompt(rows[:used], question, self.limits, self.session.flamingo.form)

    def answers(self, known: ShotSet | None, used: int, boxes: Sequence[dict]) -> tuple[str, ...]:
        """What is right to say to the rows, where they are as the page drew them."""
        *rows, question = boxes
        asked = [
            (box["text"], [Path(path).name for path in box["files"]]) for box in (*rows[:used], question)
        ]
        drawn = known and [(shot.text, [Path(path).name for path in shot.media]) for shot in known.shots]
        knows = known is not None and self.session.flamingo.form == OURS and asked == drawn
        return (known.answer,) if knows else ()

    def _box(self, label: str, placeholder: str, elem_id: str | None = None) -> gr.MultimodalTextbox:
        return gr.MultimodalTextbox(
            label=label,
            placeholder=placeholder,
            file_count="multiple",
            file_types=["image", "video"],
            sources=["upload"],
            max_lines=4,
            max_plain_text_length=self.limits.prompt_bytes * 10,
            submit_btn=False,
            min_width=200,
            elem_id=elem_id,
        )

    def _all(self, boxes: Sequence[gr.MultimodalTextbox]) -> list:
        return [self.used, *self.rows, *boxes]

    def _shown(self, used: int) -> list[dict]:
        return [gr.update(visible=place < used) for place in range(self.most)]

    def _down(self, place: int, used: int, box: dict, below: dict):
        return (below, box) if place + 1 < used else (gr.skip(), gr.skip())

    def _remove(self, place: int, used: int, *boxes: dict) -> list:
        kept = [box for number, box in enumerate(boxes[:used]) if number != place]
        return [len(kept), *self._shown(len(kept)), *kept, *[EMPTY] * (self.most - len(kept))]

    def _add(self, used: int) -> list:
        self._check_room(used)
        return [used + 1, *self._shown(used + 1)]

    def _check_room(self, used: int) -> None:
        if used >= self.most:
            raise PromptError(f"there are {used} examples and at most {self.most} fit; remove one")

    def _load(self, draw: Draw) -> list:
        with self.session.turns.computation() as computation, computation.turn():
            one = draw_set(new_folder(), draw, self.session.flamingo.form)
        *rows, question = ({"text": shot.text, "files": list(shot.media)} for shot in one.shots)
        empty = [EMPTY] * (self.most - len(rows))
        return [one, len(rows), *self._shown(len(rows)), *rows, *empty, question]

    def _preview(self, used: int, *boxes: dict):
        try:
            prompt, media = self.prompt(used, boxes)
        except PalmDemoError as error:
            return None, f"Not ready yet. {html.escape(sentence(str(error)))}"
        return labelled(prompt, media), told_length(self.session, prompt)


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


def _filled(box: dict | None) -> bool:
    return bool(box and (box["text"].strip() or box["files"]))


def _text(box: dict) -> str:
    """A row without words is its marks alone."""
    return box["text"].strip() or " ".join([MEDIA] * len(box["files"]))
