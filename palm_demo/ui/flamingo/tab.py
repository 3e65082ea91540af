"""The Flamingo tab: questions about pictures and videos that stand between words."""

from functools import partial
from pathlib import Path

import gradio as gr

from palm_demo.inference.attention_maps import compute_attention_maps
from palm_demo.inference.prompts import PromptForm
from palm_demo.models.cross_attention import GatedCrossAttention
from palm_demo.models.resampler import PerceiverResampler
from palm_demo.session import ANSWERED, Session
from palm_demo.settings import Limits
from palm_demo.ui.components import Paper, sampling_controls, sampling_settings, shared_sampling
from palm_demo.ui.deep_links import SettingsLinks
from palm_demo.ui.flamingo.attention import LookingView
from palm_demo.ui.flamingo.conversation import TAB, Conversation, assemble
from palm_demo.ui.flamingo.few_shot import QUIET, WARNING, ShotBuilder
from palm_demo.ui.flamingo.samples import question_samples
from palm_demo.ui.flamingo.scenes import Made, SceneMaker, kept
from palm_demo.ui.messages import on_page
from palm_demo.ui.streaming import Stops, StreamingTab
from palm_demo.ui.uploads import check_media, check_prompt

PAPER = Paper(
    "Flamingo: a Visual Language Model for Few-Shot Learning",
    "Alayrac et al., 2022",
    "https://arxiv.org/abs/2204.14198",
)
CODE = (GatedCrossAttention, PerceiverResampler, compute_attention_maps)


def flamingo_tab(session: Session, limits: Limits, stops: Stops, links: SettingsLinks, folder: Path) -> None:
    """Builds the tab inside the current Blocks; the examples' files go into the folder."""
    samples = question_samples(folder, session.flamingo.form)
    with gr.Row():
        with gr.Column(scale=5):
            with gr.Tabs(elem_id="flamingo-ways") as ways:
                with gr.Tab("Ask", id="ask"):
                    box = _question_box(session, limits)
                    earlier = gr.Checkbox(
                        False, label="Let Flamingo read the earlier turns too", elem_id="flamingo-earlier"
                    )
                    with gr.Row():
                        run = gr.Button("Ask", variant="primary", elem_id="flamingo-run")
                        stop = gr.Button("Stop", variant="stop", interactive=False, elem_id="flamingo-stop")
                        clear = gr.Button("Start over", elem_id="flamingo-clear")
                with gr.Tab("Teach by example", id="teach"):
                    builder = ShotBuilder(session, limits, folder)
                    with gr.Row():
                        taught = gr.Button(
                            "Ask after the examples", variant="primary", elem_id="flamingo-taught"
                        )
                        stop_taught = gr.Button("Stop", variant="stop", interactive=False)
                with gr.Tab("Make a scene", id="scene"):
                    maker = SceneMaker(session)
            sampling = sampling_controls(TAB, limits, ANSWERED)
            links.button({"earlier": earlier, **shared_sampling(sampling)})
        with gr.Column(scale=6):
            conversation = Conversation(session, limits, stops)
    looking = LookingView(session, limits, conversation.last)
    gr.HTML("<h2 class='heading'>Examples: one click asks</h2>")
    shown = gr.Gallery(
        [(sample.thumbnail, sample.title) for sample in samples],
        label="Examples",
        show_label=False,
        columns=len(samples),
        allow_preview=False,
        interactive=False,
        object_fit="cover",
        height="auto",
        buttons=[],
        elem_id="flamingo-samples",
        elem_classes="captioned",
    )

    @on_page
    def ask(request: gr.Request, asked: dict | None, turns: list, earlier: bool, *settings):
        question = partial(_question, asked, limits, session.flamingo.form)
        written = sampling_settings(*settings)
        yield from conversation.reply(request.session_hash, turns, earlier, question, written)

    @on_page
    def ask_after(request: gr.Request, turns: list, used: int, *values):
        boxes, settings = values[: len(builder.boxes)], values[len(builder.boxes) :]
        question, written = partial(builder.prompt, used, boxes), sampling_settings(*settings)
        yield from conversation.reply(request.session_hash, turns, False, question, written)

    def load(event: gr.SelectData):
        sample = samples[event.index]
        return {"text": sample.prompt, "files": list(sample.media)}, gr.update(selected="ask")

    def start_over(request: gr.Request):
        stops.drop(request.session_hash, TAB)
        return None, *conversation.emptied(), gr.update(visible=False)

    @on_page
    def use(made: Made | None, asked: dict | None):
        path, _, question = kept(made)
        asked = asked or {"text": "", "files": []}
        files = check_media([*asked["files"], path], limits)
        return {"text": asked["text"] or question, "files": files}, gr.update(selected="ask")

    @on_page
    def teach(made: Made | None, used: int, *boxes: dict):
        path, caption, _ = kept(made)
        shot = {"text": f"{session.flamingo.form.caption}{caption}", "files": [path]}
        return *builder.put(used, boxes, shot), gr.update(selected="teach")

    tab = StreamingTab(TAB, stops, run, stop)
    inputs = [box, conversation.turns, earlier, *sampling]
    tab.wire(run.click, ask, inputs, conversation.outputs)
    tab.wire(box.submit, ask, inputs, conversation.outputs)
    tab.wire(shown.select(load, None, [box, ways], **QUIET).then, ask, inputs, conversation.outputs)
    after = StreamingTab(TAB, stops, taught, stop_taught)
    built = [conversation.turns, builder.used, *builder.boxes, *sampling]
    after.wire(taught.click, ask_after, built, conversation.outputs)
    emptied = [box, *conversation.outputs, looking.section]
    gr.on([clear.click, conversation.chat.clear], start_over, None, emptied, **QUIET)
    maker.use.click(use, [maker.made, box], [box, ways], **WARNING)
    rows = builder.boxes[:-1]
    maker.teach.click(teach, [maker.made, builder.used, *rows], [*builder.placed, ways], **WARNING)


AS_PICTURES = " It learned pictures alone: of a video it is shown {shown}."


def _question_box(session: Session, limits: Limits) -> gr.MultimodalTextbox:
    count = session.flamingo.pictures_of_video
    shown = "the frame in its middle" if count == 1 else f"{count}, one after the other"
    return gr.MultimodalTextbox(
        label="Ask about pictures and videos",
        placeholder="What is to the left of the cat?",
        info="Attach files with the clip. Write <media> where each belongs, "
        f"or let the page put the marks in front.{AS_PICTURES.format(shown=shown) if count else ''}",
        file_count="multiple",
        file_types=["image", "video"],
        sources=["upload"],
        lines=3,
        max_lines=8,
        max_plain_text_length=limits.prompt_bytes * 10,
        submit_btn=False,
        elem_id="flamingo-box",
    )


def _question(asked: dict | None, limits: Limits, form: PromptForm) -> tuple[str, list[str]]:
    """The prompt and the media of what stands in the box."""
    asked = asked or {"text": "", "files": []}
    media = check_media(asked["files"], limits)
    return assemble(check_prompt(asked["text"], limits), len(media), form), media
