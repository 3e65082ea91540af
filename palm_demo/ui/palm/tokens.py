"""The sub-tab "Token view": the probability of each token of a text, and its likeliest alternatives."""

import math

import gradio as gr

from palm_demo.errors import PromptError
from palm_demo.inference.scoring import TokenProbability, size_bytes
from palm_demo.session import Session
from palm_demo.settings import Limits
from palm_demo.ui.deep_links import SettingsLinks
from palm_demo.ui.messages import on_page
from palm_demo.ui.palm.complete import BITS_PER_BYTE, Writing
from palm_demo.ui.palm.user_adapters import UserAdapters
from palm_demo.ui.palm.voices import BASE
from palm_demo.ui.uploads import check_prompt

TAB = "palm-tokens"
TEXT = (
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of cheese."
)
DEEPEST_BITS = 12
"""Tokens with this many bits or more, a probability of 1 in 4,096, have the deepest red."""

DEEPEST_RED = 0.6
"""The opacity of the deepest red. Words on it can be read in both themes."""

LEAST = 0.005
"""The least probability of an alternative. Less would be shown as 0 %."""

VISIBLE = str.maketrans({" ": "␣", "\n": "↵", "\t": "⇥", "\r": "⇤"})


def tokens_tab(
    session: Session, limits: Limits, links: SettingsLinks, own: UserAdapters, writing: Writing, tabs: gr.Tabs
) -> gr.Dropdown:
    """Builds the sub-tab inside the current Blocks. Returns the component in which the scope is picked."""
    tokens = gr.State([], time_to_live=3600)
    with gr.Row():
        text = gr.Textbox(
            TEXT, label="Text to look at", lines=3, max_lines=10, scale=5, elem_id=f"{TAB}-text"
        )
        scope = gr.Dropdown(
            own.choices(""),
            value=BASE,
            label="Read by",
            info="Plain PaLM, or one of its voices",
            scale=2,
            min_width=200,
            elem_id=f"{TAB}-scope",
        )
    run = gr.Button("Look at each token", variant="primary", elem_id=f"{TAB}-run")
    links.button({"scope": scope})
    with gr.Row():
        view = gr.HighlightedText(
            label="The redder, the less expected. Press a token, or walk with the arrow keys and press Enter",
            scale=5,
            min_width=280,
            elem_id=f"{TAB}-view",
        )
        with gr.Column(scale=3, min_width=240):
            said = gr.Markdown("Press a token when they are there.", elem_id=f"{TAB}-said")
            best = gr.Label(label="The likeliest five here", elem_id=f"{TAB}-best")

    @on_page
    def look(request: gr.Request, text: str, choice: str):
        read = session.token_probabilities(
            check_viewed(text, limits), own.scope(request.session_hash, choice)
        )
        bits = sum(map(_bits, read))
        summary = (
            f"{len(read):,} tokens, {bits / size_bytes(text):.2f} bits per byte: {BITS_PER_BYTE}. "
            "Press one to see what else was likely."
        )
        return read, [(shown(token.text), red(token)) for token in read], summary, None

    @on_page
    def choose(event: gr.SelectData, read: list[TokenProbability]):
        if not isinstance(event.index, int) or not 0 <= event.index < len(read):
            raise PromptError("that token is not there any more; look at the text again")
        token = read[event.index]
        said = (
            f"Token {event.index + 1}, `{visible(token.text)}`, was {_percent(token.probability)} likely "
            f"({_bits(token):.1f} bits)."
        )
        likely = [(other, chance) for other, chance in token.alternatives if chance >= LEAST]
        return said, {visible(other): chance for other, chance in likely}

    def wire(begin) -> None:
        """Connects `look` to an event. begin: `run.click`, or another event's `.then`."""
        begin(
            look,
            [text, scope],
            [tokens, view, said, best],
            show_progress="minimal",
            concurrency_limit=None,
            api_visibility="private",
        )

    wire(run.click)
    view.select(
        choose,
        tokens,
        [said, best],
        concurrency_limit=None,
        show_progress="hidden",
        api_visibility="private",
    )
    loaded = writing.look.click(
        lambda text, choice: (text, choice, gr.update(selected=TAB)),
        [writing.text, writing.scope],
        [text, scope, tabs],
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    )
    wire(loaded.then)
    return scope


def check_viewed(text: str, limits: Limits) -> str:
    """Returns a text for the token view. Raises PromptError if it is empty or too long."""
    if (size := size_bytes(check_prompt(text, limits))) > limits.viewed_bytes:
        raise PromptError(
            f"the text has {size:,} bytes and at most {limits.viewed_bytes:,} can be looked at; shorten it"
        )
    return text


def visible(text: str) -> str:
    """A token as shown alone: white space is replaced by signs."""
    return text.translate(VISIBLE) or "·"


def shown(text: str) -> str:
    """A token as shown among others: only line breaks, and tokens of white space, get signs."""
    return text.replace("\n", "↵") if text.strip() else visible(text)


def _bits(token: TokenProbability) -> float:
    return -math.log2(max(token.probability, 1e-30))


def red(token: TokenProbability) -> float:
    """The opacity of a token's red, 0 to DEEPEST_RED, by its bits."""
    return round(min(_bits(token) / DEEPEST_BITS, 1) * DEEPEST_RED, 3)


def _percent(chance: float) -> str:
    return f"{100 * chance:.1f} %" if chance >= 0.001 else "less than 0.1 %"
