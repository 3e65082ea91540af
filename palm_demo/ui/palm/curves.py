"""How a teaching goes: a curve and a sentence."""

import gradio as gr
import pandas

from palm_demo.teaching import Progress

COLORS = {"this scope": "#0f766e", "the base model": "#94a3b8"}


def curve_shown(elem_id: str) -> gr.LinePlot:
    """Where the curve stands once there is one."""
    return gr.LinePlot(
        x="step",
        y="bits per byte",
        color="what",
        color_map=COLORS,
        title="On the tenth it never reads: lower is better",
        height=280,
        buttons=[],
        elem_id=elem_id,
    )


def curve_of(judged: list[tuple[int, float]], base: float):
    steps, bits = zip(*judged, strict=True)
    table = pandas.DataFrame(
        {
            "step": [*steps, *steps],
            "bits per byte": [*bits, *[base] * len(steps)],
            "what": ["this scope"] * len(steps) + ["the base model"] * len(steps),
        }
    )
    low, high = min(*bits, base), max(*bits, base)
    return gr.LinePlot(value=table, y_lim=[low - 0.02, high + 0.02])


def how_it_goes(progress: Progress) -> str:
    return (
        f"Step {progress.step}, {progress.seconds:.0f} seconds. Base {progress.base:.3f} bits per byte, "
        f"best so far {progress.best:.3f}."
    )


def how_it_went(progress: Progress, name: str) -> str:
    if progress.best >= progress.base:
        return (
            f"After {progress.step} steps nothing was gained, so there is no new scope. A longer text or "
            "more seconds may help."
        )
    gain = 100 * (1 - progress.best / progress.base)
    return (
        f"**{name}** is ready after {progress.step} steps and {progress.seconds:.0f} seconds. On the tenth "
        f"that it never read, {progress.base:.3f} bits per byte became {progress.best:.3f}: "
        f"{gain:.1f} % fewer."
    )
