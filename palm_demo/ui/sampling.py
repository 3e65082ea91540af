"""The sampling settings that PaLM and Flamingo share, folded away."""

import gradio as gr

from palm_demo.generation import TextSettings
from palm_demo.settings import Limits

ANEW = -1
"""The seed that stands for a new one each time."""

SHARED = ("tokens", "temperature", "top_k", "top_p", "penalty", "seed")


def sampling_controls(tab: str, limits: Limits, begin: TextSettings) -> list:
    """An accordion; its components in the order of `sampling_settings`' arguments.

    begin: what they are set to at first.
    """
    with gr.Accordion("Sampling settings", open=False, elem_id=f"{tab}-sampling"):
        with gr.Row():
            length = gr.Slider(
                1,
                limits.new_tokens,
                begin.max_new_tokens,
                step=1,
                label="New tokens, at most",
                elem_id=f"{tab}-length",
            )
            heat = gr.Slider(
                0,
                2,
                begin.temperature,
                step=0.05,
                label="Temperature",
                info="0 takes the likeliest",
                elem_id=f"{tab}-heat",
            )
        with gr.Row():
            top_k = gr.Slider(
                0, 200, begin.top_k, step=1, label="Top k", info="0 keeps all tokens", min_width=200
            )
            top_p = gr.Slider(
                0.05, 1, begin.top_p, step=0.05, label="Top p", info="1 keeps all tokens", min_width=200
            )
            penalty = gr.Slider(
                1,
                2,
                begin.repetition_penalty,
                step=0.05,
                label="Repetition penalty",
                info="1 is none",
                min_width=200,
            )
        with gr.Row():
            seed = gr.Number(  # an empty one becomes 0 as soon as it is seen
                ANEW, precision=0, label="Seed", info=f"{ANEW}: a new one each time", elem_id=f"{tab}-seed"
            )
            stop = gr.Textbox(lines=1, max_lines=4, label="Stop at", info="Texts to end before, one a line")
    return [length, heat, top_k, top_p, penalty, seed, stop]


def shared_sampling(controls: list) -> dict:
    """What a link may tell of them, by its name there: all but the words that a visitor wrote."""
    return dict(zip(SHARED, controls, strict=False))


def sampling_settings(
    length: int,
    temperature: float,
    top_k: int,
    top_p: float,
    penalty: float,
    seed: int | None,
    stop: str | None,
) -> dict:
    """The session's keyword arguments."""
    return {
        "max_new_tokens": int(length),
        "temperature": temperature,
        "top_k": int(top_k),
        "top_p": top_p,
        "repetition_penalty": penalty,
        "seed": None if seed in (None, ANEW) else int(seed),
        "stop": tuple(line for line in (stop or "").splitlines() if line),
    }
