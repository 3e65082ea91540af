"""What a visitor's scope learns from, and how: the controls, and the checks of what comes from them."""

from pathlib import Path

import gradio as gr

from palm_demo.errors import TeachingError
from palm_demo.settings import Limits


def teaching_controls(limits: Limits) -> list:
    """An accordion; its components in the order of `teaching_settings`' arguments."""
    with gr.Accordion("Teaching settings", open=False, elem_id="palm-teaching-settings"):
        with gr.Row():
            seconds = gr.Slider(
                5,
                limits.teaching_seconds,
                min(60, limits.teaching_seconds),
                step=5,
                label="Seconds, at most",
                info="It ends earlier when nothing is gained any more",
            )
            rank = gr.Slider(
                1,
                limits.teaching_rank,
                min(16, limits.teaching_rank),
                step=1,
                label="Rank",
                info="How many directions it may learn in each layer",
            )
        with gr.Row():
            rate = gr.Slider(
                0.0005,
                0.02,
                0.003,
                step=0.0005,
                label="Learning rate",
                info="How far it goes with each step; too far and it forgets",
            )
            seed = gr.Number(0, precision=0, label="Seed", info="The same one learns the same")
    return [seconds, rank, rate, seed]


def teaching_settings(limits: Limits, seconds: float, rank: int, rate: float, seed: int | None) -> dict:
    """The session's keyword arguments. Raises TeachingError beyond what this page allows."""
    for name, value, most in (
        ("seconds", seconds, limits.teaching_seconds),
        ("rank", rank, limits.teaching_rank),
    ):
        if value > most:
            raise TeachingError(f"{name} is {value} and at most {most} are allowed here; ask for fewer")
    return {"seconds": seconds, "rank": int(rank), "learning_rate": rate, "seed": int(seed or 0)}


def check_lesson(text: str, limits: Limits) -> str:
    """The text to learn from, if it is not too long; whether it is too short is for `teach` to say."""
    size_bytes = len(text.encode("utf-8", "replace")) if isinstance(text, str) else 0
    if size_bytes > limits.lesson_bytes:
        raise TeachingError(
            f"the text has {size_bytes:,} bytes and at most {limits.lesson_bytes:,} can be taught here; "
            "give a part of it"
        )
    return text if isinstance(text, str) else ""


def read_lesson(path: Path, limits: Limits) -> str:
    """The text of a file. Raises TeachingError where it is too long, or no text in UTF-8."""
    if (size_bytes := path.stat().st_size) > limits.lesson_bytes:
        raise TeachingError(
            f"{path.name} has {size_bytes:,} bytes and at most {limits.lesson_bytes:,} can be taught here; "
            "give a part of it"
        )
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise TeachingError(
            f"{path.name} is no text in UTF-8; save it as UTF-8 and upload it again"
        ) from error
