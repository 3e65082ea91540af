"""The scene maker: draws pictures and short videos of things that the models know."""

from collections.abc import Iterable
from dataclasses import asdict
from random import Random
from typing import NamedTuple

import gradio as gr

from palm_demo import world
from palm_demo.concurrency import FairQueue
from palm_demo.errors import PromptError
from palm_demo.internals.gradio_files import file_data, new_folder
from palm_demo.session import Session
from palm_demo.text_limits import NAME_BYTES, check_size
from palm_demo.ui.flamingo.conversation import KEPT_SECONDS
from palm_demo.ui.messages import on_page

NOTHING, STILL, ANY = "nothing", "stays still", "any"
PLACES = {words: relation for relation, words in world.RELATIONS.items()}
HINT = (
    "Choose what to draw; the rest is left to chance. Two things stand side by side or one above the other. "
    "One alone can move, which makes a video of two seconds."
)


TEMPLATE = "<figure></figure>"
SCRIPT = """
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
"""One component for pictures and videos. Gradio's video player would have to be downloaded first."""


class DrawnScene(NamedTuple):
    """A scene in a file, with a caption and a question about it."""

    path: str
    caption: str
    question: str


def draw_scene(spec: world.SceneSpec, rng: Random, turns: FairQueue) -> DrawnScene:
    """Draws a scene and writes it into the upload folder, where it is deleted after a while.

    Args:
        spec: what to draw.
        rng: for all that the spec leaves open.
        turns: the queue in which drawing waits.

    Raises PromptError if the picture world cannot draw it, BusyError if the queue is full.
    """
    for name, value in asdict(spec).items():
        if isinstance(value, str):
            check_size(name, value, NAME_BYTES)
    with turns.computation() as computation, computation.turn():
        try:
            scene = world.scene_of_spec(rng, spec)
        except ValueError as error:
            raise PromptError(str(error)) from error
        path, _ = world.write_scene(new_folder() / spec.name.replace(" ", "-"), scene)
    return DrawnScene(str(path), world.describe_spec(spec, scene), _question(scene, rng))


def check_drawn(drawn: DrawnScene | None) -> DrawnScene:
    """Returns the last scene. Raises PromptError if it is no longer stored."""
    if drawn is None:
        raise PromptError("the scene is no longer kept; draw it again")
    return drawn


class SceneMaker:
    """The controls and the last scene, built inside the current column.

    Attributes:
        drawn: the state with the visitor's last scene, or None.
        use, teach: buttons below it.
    """

    def __init__(self, session: Session):
        self.session = session
        self.drawn = gr.State(None, time_to_live=KEPT_SECONDS)
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
        with gr.Column(visible="hidden", elem_id="scene-made") as self.shown:
            self.scene = gr.HTML(
                None,
                html_template=TEMPLATE,
                js_on_load=SCRIPT,
                apply_default_css=False,
                elem_id="scene-drawn",
            )
            with gr.Row():
                self.use = gr.Button("Use it in the question", size="sm")
                self.teach = gr.Button("Add it to the examples", size="sm")
        outputs = [self.drawn, self.shown, self.scene]
        busy = {"show_progress": "minimal", "concurrency_limit": None, "api_visibility": "private"}
        draw.click(on_page(self._draw), self.controls, outputs, **busy)
        surprise.click(on_page(self._surprise), None, [*self.controls, *outputs], **busy)

    def _draw(
        self,
        name: str | None,
        count: int,
        other: str | None,
        place: str | None,
        way: str | None,
        color: str | None,
        style: str | None,
    ) -> tuple:
        """Draws what the controls say. A dropdown that was emptied gives None."""
        spec = world.SceneSpec(
            name or "",
            int(count),
            None if other == NOTHING else other,
            PLACES[place or next(iter(PLACES))],
            None if way == STILL else way,
            None if color == ANY else color,
            None if style == ANY else style,
        )
        return _shown(draw_scene(spec, Random(), self.session.turns))

    def _surprise(self) -> tuple:
        rng = Random()
        spec = world.sample_spec(rng)
        place = next(words for words, relation in PLACES.items() if relation == spec.relation)
        controls = (
            spec.name,
            spec.count,
            spec.other or NOTHING,
            place,
            spec.way or STILL,
            spec.color,
            ANY,
        )
        return *controls, *_shown(draw_scene(spec, rng, self.session.turns))


def _choice(label: str, info: str, choices: Iterable[str], value: str | None) -> gr.Dropdown:
    elem_id = f"scene-{label.lower().replace(' ', '-')}"
    return gr.Dropdown(list(choices), value=value, label=label, info=info, min_width=130, elem_id=elem_id)


def _shown(drawn: DrawnScene) -> tuple:
    return drawn, gr.update(visible=True), {"file": file_data(drawn.path), "caption": drawn.caption}


def _question(scene: world.Scene | world.MovingScene, rng: Random) -> str:
    """A question about a scene, without the form around it."""
    if isinstance(scene, world.MovingScene):
        kind = "grows_or_shrinks" if scene.way in world.CHANGES else "way"
    else:
        kind = {"single": "background_color", "pair": "what_is_where", "count": "how_many"}[scene.kind]
    prompt = world.ask(rng, kind, (scene,), names=world.concepts()).prompt
    return prompt.removeprefix(f"{world.MEDIA} question: ").removesuffix(" answer:").capitalize()
