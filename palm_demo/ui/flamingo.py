"""The Flamingo tab: questions about pictures and videos that stand between words."""

from pathlib import Path

import gradio as gr

from palm_demo.session import Session
from palm_demo.settings import Limits
from palm_demo.ui.interleaving import as_message, assemble, labelled, literal
from palm_demo.ui.messages import on_page
from palm_demo.ui.samples import question_samples
from palm_demo.ui.sampling import sampling_controls, sampling_settings
from palm_demo.ui.stopping import Stops, StreamingTab
from palm_demo.ui.strangeness import no_warning, warning_about, warning_shown
from palm_demo.ui.uploads import check_media, check_prompt
from palm_demo.ui.waiting import in_line, line_shown

TAB = "flamingo"
PAPER = (
    "Flamingo: a Visual Language Model for Few-Shot Learning",
    "Alayrac et al., 2022",
    "https://arxiv.org/abs/2204.14198",
)
KEPT_TURNS = 20
NO_WORDS = "(No words came. The examples below show what Flamingo can be asked.)"


def flamingo_tab(session: Session, limits: Limits, stops: Stops, folder: Path) -> None:
    """Builds the tab inside the current Blocks; the examples' files go into the folder."""
    samples = question_samples(folder)
    history = gr.State([], time_to_live=3600)
    with gr.Row():
        with gr.Column(scale=5):
            box = gr.MultimodalTextbox(
                label="Ask about pictures and videos",
                placeholder="What is to the left of the cat?",
                info="Attach files with the clip. Write <media> where each belongs, "
                "or let the page put the marks in front.",
                file_count="multiple",
                file_types=["image", "video"],
                sources=["upload"],
                lines=3,
                max_lines=8,
                max_plain_text_length=limits.prompt_bytes * 10,
                submit_btn=False,
                elem_id="flamingo-box",
            )
            earlier = gr.Checkbox(
                False, label="Let Flamingo read the earlier turns too", elem_id="flamingo-earlier"
            )
            with gr.Row():
                run = gr.Button("Ask", variant="primary", elem_id="flamingo-run")
                stop = gr.Button("Stop", variant="stop", interactive=False, elem_id="flamingo-stop")
                clear = gr.Button("Start over", elem_id="flamingo-clear")
            sampling = sampling_controls(TAB, limits, new_tokens=32, temperature=0.0)
        with gr.Column(scale=6):
            line = line_shown(TAB)
            chat = gr.Chatbot(
                label="Conversation",
                height=420,
                render_markdown=False,
                feedback_options=None,
                buttons=[],
                placeholder="Ask something, or click an example below.",
                elem_id="flamingo-chat",
            )
            warning = warning_shown(TAB)
            reads = gr.HighlightedText(
                label="What Flamingo reads, each mark with its picture or video",
                elem_id="flamingo-reads",
            )
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
    def stream(request: gr.Request, asked: dict | None, turns: list, keep: bool, *settings):
        with stops.running(request.session_hash, TAB) as cancelled:
            question, answer = _question(asked, limits), ""
            prompt, media = _whole(turns if keep else [], *question)
            check_media(media, limits)
            for delta in session.stream_answer(
                prompt, media, **sampling_settings(*settings), cancelled=cancelled
            ):
                answer += delta
                shown = [*_messages(turns), *_exchange(*question, answer)]
                yield shown, turns, labelled(prompt, media), in_line(delta), no_warning()
            if not stops.wanted(request.session_hash, TAB, cancelled):
                return
            turns = [*turns, (*question, answer)][-KEPT_TURNS:]
            about = warning_about(session, question[1])
            yield _messages(turns), turns, labelled(prompt, media), in_line(""), about

    def load(event: gr.SelectData):
        sample = samples[event.index]
        return {"text": sample.prompt, "files": list(sample.media)}

    def start_over(request: gr.Request):
        stops.drop(request.session_hash, TAB)
        return None, [], [], None, no_warning()

    tab = StreamingTab(TAB, stops, run, stop)
    inputs, outputs = [box, history, earlier, *sampling], [chat, history, reads, line, warning]
    quiet = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    tab.wire(run.click, stream, inputs, outputs)
    tab.wire(box.submit, stream, inputs, outputs)
    tab.wire(shown.select(load, None, box, **quiet).then, stream, inputs, outputs)
    emptied = [box, chat, history, reads, warning]
    gr.on([clear.click, chat.clear], start_over, None, emptied, **quiet)


def _question(asked: dict | None, limits: Limits) -> tuple[str, list[str]]:
    """The prompt and the media of what stands in the box."""
    asked = asked or {"text": "", "files": []}
    media = check_media(asked["files"], limits)
    return assemble(check_prompt(asked["text"], limits), len(media)), media


def _whole(turns: list, prompt: str, media: list[str]) -> tuple[str, list[str]]:
    """The question with earlier turns in front, answers and all: Flamingo's few-shot form."""
    texts = [f"{asked} {answer}" for asked, _, answer in turns]
    files = [path for _, attached, _ in turns for path in attached]
    return " ".join([*texts, prompt]), [*files, *media]


def _messages(turns: list) -> list[dict]:
    return [
        message
        for prompt, media, answer in turns
        for message in _exchange(prompt, media, answer if answer.strip() else NO_WORDS)
    ]


def _exchange(prompt: str, media: list[str], answer: str) -> list[dict]:
    return [as_message(prompt, media), {"role": "assistant", "content": literal(answer)}]
