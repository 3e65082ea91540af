"""Components that tabs share: sampling settings, picture files, sources, the out-of-distribution warning."""

import html
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import gradio as gr

import palm_demo
from palm_demo.inference.settings import GenerationConfig
from palm_demo.media import Medium
from palm_demo.session import OUT_OF_DISTRIBUTION, Session
from palm_demo.settings import Limits

NEW_SEED = -1
"""The value of the seed that stands for a new seed each time."""

LINK_NAMES = ("tokens", "temperature", "top_k", "top_p", "min_p", "penalty", "seed")
"""Names of the sampling controls in links, in their order."""


def sampling_controls(tab: str, limits: Limits, begin: GenerationConfig) -> list:
    """Builds an accordion of sampling controls, and returns them in the order of `sampling_settings`.

    Args:
        tab: the beginning of their elem_ids.
        limits: with the most new tokens.
        begin: their initial values.
    """
    with gr.Accordion("Sampling settings", open=False, elem_id=f"{tab}-sampling"):
        with gr.Row():
            length = gr.Slider(
                1,
                limits.new_tokens,
                begin.max_new_tokens,
                step=1,
                label="New tokens, at most",
                info="A token is a word or a piece of one",
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
            min_p = gr.Slider(
                0,
                0.5,
                begin.min_p,
                step=0.01,
                label="Min p",
                info="leaves out what is less likely than this part of the likeliest",
                min_width=200,
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
            seed = gr.Number(  # Gradio shows an empty one as 0
                NEW_SEED,
                precision=0,
                label="Seed",
                info=f"The same number gives the same text again; {NEW_SEED} is a new one each time",
                elem_id=f"{tab}-seed",
            )
            stop = gr.Textbox(lines=1, max_lines=4, label="Stop at", info="Texts to end before, one a line")
    return [length, heat, top_k, top_p, min_p, penalty, seed, stop]


def shared_sampling(controls: list) -> dict:
    """The controls that links contain, by their names in links: all but the stop texts, which are private."""
    return dict(zip(LINK_NAMES, controls, strict=False))


def sampling_settings(
    length: int,
    temperature: float,
    top_k: int,
    top_p: float,
    min_p: float,
    penalty: float,
    seed: int | None,
    stop: str | None,
) -> dict:
    """The keyword arguments of the session's verbs from the values of the sampling controls."""
    return {
        "max_new_tokens": int(length),
        "temperature": temperature,
        "top_k": int(top_k),
        "top_p": top_p,
        "min_p": min_p,
        "repetition_penalty": penalty,
        "seed": None if seed in (None, NEW_SEED) else int(seed),
        "stop": tuple(line for line in (stop or "").splitlines() if line),
    }


def picture_files(label: str, elem_id: str) -> gr.File:
    """Builds a box that takes several picture files."""
    return gr.File(label=label, file_count="multiple", file_types=["image"], height=140, elem_id=elem_id)


ROOT = Path(palm_demo.__file__).parents[1]


class Paper(NamedTuple):
    """A paper that a model follows. address: its URL."""

    title: str
    authors: str
    address: str


def sources(paper: Paper, code: Sequence[type | Callable], repository: str | None) -> str:
    """HTML of a paragraph that names a paper and the code that follows it.

    Args:
        paper: the paper.
        code: classes and functions; their files and lines are looked up.
        repository: a URL such as https://github.com/someone/palm_demo to link them to; None for no links.
    """
    after = f"After {_link(paper.address, html.escape(paper.title))}, {html.escape(paper.authors)}."
    if not code:
        return f"<p class='paper'>{after}</p>"
    return f"<p class='paper'>{after} In code: {', '.join(_code_place(one, repository) for one in code)}.</p>"


def _code_place(one: type | Callable, repository: str | None) -> str:
    one = inspect.unwrap(one)
    path = Path(inspect.getfile(one)).relative_to(ROOT).as_posix()
    shown = f"<code>{path} · {html.escape(one.__qualname__)}</code>"
    if repository is None:
        return shown
    _, line = inspect.getsourcelines(one)
    return _link(f"{repository}/blob/main/{path}#L{line}", shown)


def _link(address: str, shown: str) -> str:
    return f"<a href='{html.escape(address)}' target='_blank' rel='noopener'>{shown}</a>"


WARNING = (
    "{what} not look like anything these models were trained on: drawings and photographs of everyday "
    "things. Do not trust what they say about {it}."
)


def warning_shown(tab: str) -> gr.HTML:
    """The component for the out-of-distribution warning, hidden at first. tab: begins its elem_id."""
    return gr.HTML(visible="hidden", elem_id=f"{tab}-strange", elem_classes="strange")


def no_warning():
    """The update that hides the component of `warning_shown`."""
    return gr.update(value="", visible="hidden")


def warning_about(session: Session, media: Sequence[Medium]):
    """The update of `warning_shown` for pictures and videos. Without OOD scores there is no warning."""
    return warning_of([session.ood_score(medium) for medium in media])


def warning_of(ood_scores: Sequence[float | None]):
    """The update of `warning_shown` for media with these OOD scores."""
    strange = sum(score is not None and score > OUT_OF_DISTRIBUTION for score in ood_scores)
    if not strange:
        return no_warning()
    does, it = ("does", "it") if strange == 1 else ("do", "them")
    what = f"This {does}" if len(ood_scores) == 1 else f"{strange} of these {len(ood_scores)} {does}"
    return gr.update(value=WARNING.format(what=what, it=it), visible=True)
