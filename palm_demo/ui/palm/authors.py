"""The sub-tab "Who wrote this?": bits per byte of a text under the base model and each scope."""

import html

import gradio as gr
import pandas

from palm_demo.inference.scoring import author_probabilities, size_bytes
from palm_demo.session import Session
from palm_demo.settings import Limits
from palm_demo.ui.palm.complete import NO_VOICES
from palm_demo.ui.palm.user_adapters import UserAdapters
from palm_demo.ui.palm.voices import PLAIN
from palm_demo.ui.streaming import Stops, Stream, StreamingTab, run_and_stop
from palm_demo.ui.uploads import check_prompt

TAB = "palm-authors"
FEW_BYTES = 400
"""The length of a text below which the guess means little."""

UNLIKE = 2.7
"""Bits per byte above which a text is unlike all scopes.

Of 80 pages of novels and plays none had more than 2.2 by its likeliest scope. Program code, chats and German
have 3 to 7.
"""

EXAMPLES = (
    (
        "A detective story",
        "“You see, Watson,” he explained in the early hours of the morning, as we sat over a glass of whisky "
        "in Baker Street, “it was perfectly obvious from the first that the only possible object of this "
        "business must be to get this not over-bright pawnbroker out of the way for a number of hours every "
        "day. It was a curious way of managing it, but, really, it would be difficult to suggest a better.”",
    ),
    (
        "A play",
        "KING.\nCome hither, gentle cousin; what ill news\nHath made thy cheek so pale? Speak, I command.\n\n"
        "CLIFFORD.\nMy gracious liege, the rebels are in arms,\nAnd every hour their multitude doth grow.\n\n"
        "KING.\nThen sound the trumpets, and let all men know\nThat England’s king doth ride to meet his "
        "foes;\nAnd he that hath no stomach to this fight\nMay take his horse and so depart in peace.\n",
    ),
    (
        "A tea party",
        "“Have some wine,” the March Hare said in an encouraging tone.\n\nAlice looked all round the "
        "table, but there was nothing on it but tea. “I don’t see any wine,” she remarked.\n\n“There isn’t "
        "any,” said the March Hare.\n\n“Then it wasn’t very civil of you to offer it,” said Alice "
        "angrily.\n\n“It wasn’t very civil of you to sit down without being invited,” said the March Hare.",
    ),
)
COLORS = {"the best guess": "#0f766e", "the others": "#94a3b8"}


def authors_tab(session: Session, limits: Limits, stops: Stops, own: UserAdapters) -> None:
    """Builds the sub-tab inside the current Blocks."""
    text = gr.Textbox(
        label="A text by somebody",
        info="A page or so is best; a single line is too little to tell" if session.scopes else NO_VOICES,
        lines=6,
        max_lines=14,
        placeholder="Paste a text, or press an example below.",
        elem_id=f"{TAB}-text",
    )
    run, stop = run_and_stop(TAB, "Who wrote this?")
    shown = gr.Dataset(
        components=[text],
        samples=[[example] for _, example in EXAMPLES],
        sample_labels=[title for title, _ in EXAMPLES],
        label="Examples: one press asks",
        type="index",
        elem_id=f"{TAB}-samples",
    )
    said = gr.HTML(elem_id=f"{TAB}-said", elem_classes="said")
    bars = gr.BarPlot(
        x="voice",
        y="bits per byte",
        color="what",
        color_map=COLORS,
        title="The lower, the likelier: how much the text surprises PaLM in each author's manner",
        x_title=" ",
        y_title="bits per byte",
        colors_in_legend=[],
        x_label_angle=-90,
        height=340,
        buttons=[],
        elem_id=f"{TAB}-bars",
    )

    def check(text: str) -> None:
        check_prompt(text, limits)

    def stream(request: gr.Request, cancelled: Stream, text: str):
        visitor = request.session_hash
        text, bits = check_prompt(text, limits), {}
        for name, choice in own.choices(visitor):
            if cancelled.is_set():
                yield gr.skip(), "Stopped."
                return
            bits[name] = session.bits_per_byte(text, own.scope(visitor, choice))
            yield _bars(bits), f"Reading as {html.escape(name)} …"
        yield _bars(bits), html.escape(verdict(bits, text))

    tab = StreamingTab(TAB, stops, [run], [stop])
    tab.wire(run.click, stream, [text], [bars, said], check)
    loaded = shown.click(
        lambda index: EXAMPLES[index][1],
        shown,
        text,
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    )
    tab.wire(loaded.then, stream, [text], [bars, said], check)


def verdict(bits: dict[str, float], text: str) -> str:
    """The guess as a sentence. bits: bits per byte by what the page calls a scope, with plain PaLM's."""
    scopes = {name: of_scope for name, of_scope in bits.items() if name != PLAIN}
    if not scopes:
        return "There is no voice to tell apart; teach one."
    chances = author_probabilities(scopes, text)
    best = max(chances, key=chances.get)
    if bits[best] > UNLIKE:
        return (
            f"Unlike all of them: its letters surprise PaLM by {bits[best]:.1f} bits each, those of their "
            "books by about 2."
        )
    if bits[best] >= bits[PLAIN]:
        return "Probably none of them: plain PaLM finds this text likelier than it does in any voice."
    few = " From so short a text that means little." if size_bytes(text) < FEW_BYTES else ""
    if len(scopes) == 1:
        return f"It looks more like {best} than like the rest of what PaLM read.{few}"
    return f"If it is by one of these, then by {best}: {100 * chances[best]:.0f} in 100.{few}"


def _bars(bits: dict[str, float]):
    """The plot of the scopes so far. Its axis begins just below the shortest bar."""
    best = min(bits, key=bits.get)
    table = pandas.DataFrame(
        {
            "voice": list(bits),
            "bits per byte": [round(of_scope, 4) for of_scope in bits.values()],
            "what": ["the best guess" if name == best else "the others" for name in bits],
        }
    )
    low = 0.95 * min(bits.values())
    return gr.BarPlot(value=table, y_lim=[low, max(1.02 * max(bits.values()), low + 0.1)], sort=list(bits))
