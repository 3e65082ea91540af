"""The sub-tab "Write": continues a text with the base model or with scopes."""

from dataclasses import dataclass, replace

import gradio as gr

from palm_demo.session import CONTINUED, Session
from palm_demo.settings import Limits
from palm_demo.ui.choices import chips, choices
from palm_demo.ui.components import sampling_controls, sampling_settings, shared_sampling
from palm_demo.ui.deep_links import SettingsLinks
from palm_demo.ui.palm.user_adapters import UserAdapters
from palm_demo.ui.palm.voices import BASE, VOICES
from palm_demo.ui.streaming import Stops, Stream, StreamingTab, in_line, line_shown
from palm_demo.ui.uploads import check_prompt

TAB = "palm"
PROMPTS = (
    "It was a dark and stormy night, and",
    "The old house at the end of the lane",
    "Once upon a time there was a little girl who",
)
VOICE = "Whose manner it writes in"
NO_VOICES = "This model came without voices; “Teach a voice” makes one of your own"
BITS_PER_BYTE = "how much a letter surprises PaLM on average, in novels about 2"


@dataclass(frozen=True)
class Writing:
    """Components that other sub-tabs use.

    Attributes:
        scope, second: the chosen scope, and the one that is mixed in.
        text: what was written.
        look: the button that shows the text in the token view.
    """

    scope: gr.Dropdown
    second: gr.Dropdown
    text: gr.Textbox
    look: gr.Button


def writing_tab(
    session: Session, limits: Limits, stops: Stops, links: SettingsLinks, own: UserAdapters
) -> Writing:
    """Builds the sub-tab inside the current Blocks. own: the visitors' own scopes."""
    samples = _samples(session.scopes)
    shown = choices(
        chips([title for title, *_ in samples]),
        "Beginnings: one press writes on",
        "palm-samples",
        "chips wide",
    )
    with gr.Row(elem_id="palm-desk"):
        with gr.Column(elem_id="palm-written", min_width=280):
            line = line_shown(TAB)
            text = gr.Textbox(
                label="PaLM writes",
                placeholder="Press a beginning above, or write one of your own.",
                lines=12,
                max_lines=24,
                interactive=False,
                elem_id="palm-text",
            )
            look = gr.Button("How sure was it of each word?", size="sm", elem_id="palm-look")
        with gr.Column(elem_id="palm-begun", min_width=280):
            prompt = gr.Textbox(
                label="Begin a text",
                lines=4,
                max_lines=12,
                placeholder="Once upon a time …",
                elem_id="palm-prompt",
            )
            scope = gr.Dropdown(
                own.choices(""),
                value=BASE,
                label="Voice",
                info=VOICE if session.scopes else NO_VOICES,
                elem_id="palm-scope",
            )
            strength = _strength(1.0, "Strength", "palm-strength")
            with gr.Accordion("Mix in a second voice", open=False, elem_id="palm-mix"):
                second = gr.Dropdown(
                    own.choices(""),
                    value=BASE,
                    label="Second voice",
                    info="“Plain PaLM” mixes nothing in",
                    elem_id="palm-second",
                )
                second_strength = _strength(0.5, "Its strength", "palm-second-strength")
            with gr.Row():
                run = gr.Button("Continue", variant="primary", min_width=100, elem_id="palm-run")
                stop = gr.Button("Stop", variant="stop", interactive=False, min_width=90, elem_id="palm-stop")
            sampling = sampling_controls(TAB, limits, replace(CONTINUED, max_new_tokens=96))
            mixed = [scope, strength, second, second_strength]
            named = dict(zip(("scope", "strength", "second", "second_strength"), mixed, strict=True))
            links.button(named | shared_sampling(sampling))

    def check(prompt: str, *_) -> None:
        check_prompt(prompt, limits)

    def stream(request: gr.Request, cancelled: Stream, prompt: str, *chosen):
        written = check_prompt(prompt, limits)
        choice, strength, second, second_strength, *settings = chosen
        parts = [(choice, strength), (second, second_strength)]
        scope, asked = own.mix(request.session_hash, parts), sampling_settings(*settings)
        for delta in session.stream(prompt, scope, **asked, cancelled=cancelled):
            written += delta
            yield written, in_line(delta)
        yield written, in_line("")  # a stream that is stopped in the queue ends with its place

    tab = StreamingTab(TAB, stops, [run], [stop])
    inputs, outputs = [prompt, *mixed, *sampling], [text, line]
    tab.wire(run.click, stream, inputs, outputs, check)

    def load(event: gr.SelectData):
        _, beginning, author = samples[event.index]
        return beginning, *([gr.skip()] * 3 if author == BASE else [author, 1.0, BASE])

    loaded = shown.select(
        load,
        None,
        [prompt, scope, strength, second],
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    )
    tab.wire(loaded.then, stream, inputs, outputs, check)
    return Writing(scope, second, text, look)


def _strength(value: float, label: str, elem_id: str) -> gr.Slider:
    return gr.Slider(
        -1,
        2,
        value,
        step=0.05,
        label=label,
        info="0 is plain PaLM, 1 the voice as it was taught; below 0 it writes unlike it",
        elem_id=elem_id,
    )


def _samples(scopes: list[str]) -> list[tuple[str, str, str]]:
    """(text of the chip, prompt, scope) of all examples."""
    plain = [(prompt, prompt, BASE) for prompt in PROMPTS]
    by_author = [
        (f"{voice.author}: {' '.join(voice.beginning.split())}", voice.beginning, scope)
        for scope, voice in VOICES.items()
        if scope in scopes
    ]
    return [*plain[:1], *by_author, *plain[1:]]
