"""A scene maker, for pictures and short videos of things that the models know."""

from collections.abc import Iterable
from random import Random
from typing import NamedTuple

import gradio as gr

from palm_demo import world
from palm_demo.concurrency import FairQueue
from palm_demo.errors import PromptError
from palm_demo.internals.gradio_files import file_data, new_folder
from palm_demo.session import Session
from palm_demo.ui.flamingo.conversation import KEPT_SECONDS
from palm_demo.ui.messages import on_page

NOTHING, STILL, ANY = "nothing", "stays still", "any"
PLACES = {words: relation for relation, words in world.RELATIONS.items()}
HINT = (
    "Choose what to draw; the rest is left to chance. Two things stand side by side or one above the other. "
    "One alone can move, which makes a video of two seconds."
)


TEMPLATE = "<figure></figure>"
DRAWN = """
const figure = element.querySelector("figure");
const draw = () => {
  if (!props.value) return;
  const {file, caption} = props.value, moves = file.path.endsWith(".mp4");
  const shown = document.createElement(moves ? "video" : "img");
  shown.src = file.url;
  if (moves) Object.assign(shown, {muted: true, autoplay: true, loop: true, playsInline: true});
  shown[moves ? "ariaLabel" : "alt"] = caption;
  const words = document.createElement("figcaption");
  words.id = "scene-caption";
  words.textContent = caption;
  figure.replaceChildren(shown, words);
};
watch("value", draw);
draw();
"""
"""One component for pictures and videos; a player for all kinds of videos would have to come first."""


class Made(NamedTuple):
    """A scene as a file, and what it shows. question: one that fits it, as a person would type it."""

    path: str
    caption: str
    question: str


def make(order: world.SceneSpec, rng: Random, turns: FairQueue) -> Made:
    """Draws an order into a file of the page's upload folder, which is cleared as uploads are, when its turn
    has come.

    Raises PromptError for what the world does not have or cannot show together, BusyError as `Turns` does.
    """
    with turns.computation() as computation, computation.turn():
        try:
            drawn = world.scene_of_spec(rng, order)
        except ValueError as error:
            raise PromptError(str(error)) from error
        path, _ = world.write_scene(new_folder() / order.name.replace(" ", "-"), drawn)
    return Made(str(path), world.describe_spec(order, drawn), _question(order, drawn, rng))


def kept(made: Made | None) -> Made:
    """The last scene; PromptError when it is gone."""
    if made is None:
        raise PromptError("the scene is no longer kept; draw it again")
    return made


class SceneMaker:
    """The controls and the last scene, built inside the current column.

    made: the last scene of the visitor, or None. use, teach: buttons that are shown beside it.
    """

    def __init__(self, session: Session):
        self.session = session
        self.made = gr.State(None, time_to_live=KEPT_SECONDS)
        names = world.concepts()
        gr.HTML(HINT, elem_classes="hint")
        with gr.Row():
            name = _choice("Thing", "Empty it, then type to find one", names, "cat")
            count = gr.Slider(
                1,
                world.MOST,
                1,
                step=1,
                label="How many",
                info="Of this thing",
                min_width=200,
                elem_id="scene-count",
            )
        with gr.Row():
            other = _choice("Second thing", "Type to find one", [NOTHING, *names], None)
            place = _choice("Place", "The first stands …", PLACES, next(iter(PLACES)))
        with gr.Row():
            way = _choice("Motion", "One thing alone can move", [STILL, *world.WAYS], STILL)
            color = _choice("Background", "Its colour", [ANY, *world.COLORS], ANY)
            style = _choice("Style", "Who drew it", [ANY, *world.STYLES], ANY)
        with gr.Row():
            draw = gr.Button("Draw it", variant="primary", elem_id="scene-draw")
            surprise = gr.Button("Surprise me", elem_id="scene-surprise")
        self.controls = [name, count, other, place, way, color, style]
        with gr.Column(visible=False, elem_id="scene-made") as self.shown:
            self.scene = gr.HTML(
                None, html_template=TEMPLATE, js_on_load=DRAWN, apply_default_css=False, elem_id="scene-drawn"
            )
            with gr.Row():
                self.use = gr.Button("Use it in the question", size="sm")
                self.teach = gr.Button("Add it to the examples", size="sm")
        outputs = [self.made, self.shown, self.scene]
        busy = {"show_progress": "minimal", "concurrency_limit": None, "api_visibility": "private"}
        draw.click(on_page(self._draw), self.controls, outputs, **busy)
        surprise.click(on_page(self._surprise), None, [*self.controls, *outputs], **busy)

    def _draw(self, name: str, count: int, other: str, place: str, way: str, color: str, style: str) -> tuple:
        order = world.SceneSpec(
            name or "",
            int(count),
            None if other in (NOTHING, None) else other,
            PLACES[place],
            None if way == STILL else way,
            None if color == ANY else color,
            None if style == ANY else style,
        )
        return _shown(make(order, Random(), self.session.turns))

    def _surprise(self) -> tuple:
        rng = Random()
        order = world.sample_spec(rng)
        place = next(words for words, relation in PLACES.items() if relation == order.relation)
        controls = (
            order.name,
            order.count,
            order.other or NOTHING,
            place,
            order.way or STILL,
            order.color,
            ANY,
        )
        return *controls, *_shown(make(order, rng, self.session.turns))


def _choice(label: str, info: str, choices: Iterable[str], value: str | None) -> gr.Dropdown:
    elem_id = f"scene-{label.lower().replace(' ', '-')}"
    return gr.Dropdown(list(choices), value=value, label=label, info=info, min_width=130, elem_id=elem_id)


def _shown(made: Made) -> tuple:
    return made, gr.update(visible=True), {"file": file_data(made.path), "caption": made.caption}


def _question(order: world.SceneSpec, drawn: world.Scene | world.MovingScene, rng: Random) -> str:
    if isinstance(drawn, world.MovingScene):
        kind = "grows_or_shrinks" if drawn.way in world.CHANGES else "way"
    else:
        kind = {"single": "background_color", "pair": "what_is_where", "count": "how_many"}[drawn.kind]
    asked = world.ask(rng, kind, (drawn,), names=world.concepts()).prompt
    return asked.removeprefix(f"{world.MEDIA} question: ").removesuffix(" answer:").capitalize()
