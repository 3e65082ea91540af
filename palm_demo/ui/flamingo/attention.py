"""Shows attention maps: for a word of an answer, heat maps over the pictures and videos of its prompt."""

import base64
import html
import io
from collections.abc import Iterable, Iterator, Sequence

import gradio as gr
import numpy as np
from PIL import Image

from palm_demo.errors import PromptError
from palm_demo.inference.attention_maps import AttentionMaps, MediumAttention
from palm_demo.session import Session
from palm_demo.ui.flamingo.asked_media import AskedMedia
from palm_demo.ui.flamingo.conversation import KEPT_SECONDS, Exchange, names
from palm_demo.ui.messages import on_page
from palm_demo.ui.streaming import Stops

SIDE = 160
"""Width and height of a shown picture in pixels, more than the vision tower reads."""

GLOW = np.array([(87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)], dtype=np.float32)
"""The colours of the heat map, from no attention to the most.

They are four points of the upper part of the inferno scale (van der Walt and Smith 2015), which grows lighter
all the way, so it can be read without seeing colours.
"""


def glowing(frame: Image.Image, heat: np.ndarray) -> Image.Image:
    """The frame in light grays with a heat map over it.

    heat: (rows, columns), 0 to 1.
    """
    size = (SIDE, SIDE)
    gray = np.asarray(frame.convert("L").resize(size, Image.Resampling.BICUBIC), dtype=np.float32)
    spread = Image.fromarray(heat.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
    heat = np.asarray(spread).clip(0, 1)
    points = np.linspace(0, 1, len(GLOW))
    glow = np.stack([np.interp(heat, points, channel) for channel in GLOW.T], axis=-1)
    cover = 0.85 * heat[..., None] ** 0.7
    mixed = (gray[..., None] * 0.6 + 80) * (1 - cover) + glow * cover
    return Image.fromarray(mixed.astype(np.uint8))


def still(title: str, picture: Image.Image) -> str:
    """HTML of a picture under its heading."""
    return _section("strip", title, _figure(picture, title, ""))


def film(title: str, frames: Sequence[tuple[Image.Image, str]]) -> str:
    """HTML of a video's frames in a row under its heading.

    frames: (frame, caption).
    """
    figures = (_figure(frame, f"{title}, {caption}", caption) for frame, caption in frames)
    return _section("strip film", title, "".join(figures))


def _section(kind: str, title: str, shown: str) -> str:
    return f"<section class='{kind}'><h3>{html.escape(title)}</h3><div>{shown}</div></section>"


def _figure(picture: Image.Image, words: str, caption: str) -> str:
    return (
        f"<figure><img src='{_data_uri(picture)}' alt='{html.escape(words)}' width='{SIDE}' height='{SIDE}'>"
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def table(heads: Sequence[str], rows: Iterable[Sequence[str | float]]) -> str:
    """HTML of a table, in which numbers from -1 to 1 are shown as bars with their figures."""
    top = "".join(f"<th scope='col'>{html.escape(head)}</th>" for head in heads)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<div class='bars'><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"


def _cell(value: str | float) -> str:
    if isinstance(value, str):
        return f"<td>{html.escape(value)}</td>"
    return f"<td><span class='bar' style='width:{3 * abs(value):.2f}em'></span>{value:.2f}</td>"


def _data_uri(picture: Image.Image) -> str:
    with io.BytesIO() as file:
        picture.save(file, "WEBP", quality=80)
        return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


TAB = "flamingo-look"
"""The name of the maps' computation in `Stops`."""
EVERY_LAYER = -1
HEADING = "<h2 class='heading'>What it looked at</h2>"
MEANING = "Bright is where Flamingo looked for this word of its answer. Press another."
GONE = "there is no answer to look into any more; ask again"
GATES = (
    "What is seen reaches the language model through two gates at each layer, which training "
    "opened: 0 is shut, 1 wide open. Beside them, how the word shared its attention at that layer."
)


class AttentionView:
    """A section of the page with the attention maps of the last answer. Hidden if there were no media.

    The maps need a second pass over media, prompt and answer, so they are computed on request.

    Attributes:
        outputs: the components and states that a new answer updates.

    Args:
        session: computes them.
        media: the media that visitors ask about.
        stops: of the page's streams. A new answer drops maps of an earlier one that are being computed.
        exchange: the state with the last question and answer.
        first: the question and answer that the page shows at first, and their maps.
    """

    def __init__(
        self,
        session: Session,
        media: AskedMedia,
        stops: Stops,
        exchange: gr.State,
        first: tuple[Exchange, AttentionMaps] | None,
    ):
        self.session, self.media, self.stops, self.first = session, media, stops, first
        html_of_maps, html_of_gates, choices, chosen = "", "", [], None
        if first is not None:
            choices, chosen = _choices(first[1])
            html_of_maps, html_of_gates = self._show(*first, chosen, EVERY_LAYER)
        maps = gr.State(None, time_to_live=KEPT_SECONDS)
        with gr.Column(visible=first is not None, elem_id="flamingo-looking", min_width=280) as section:
            gr.HTML(HEADING, elem_classes="hint")
            look = gr.Button(
                "Show where it looked", visible=first is None, size="sm", elem_id="flamingo-look"
            )
            with gr.Column(visible=first is not None) as results:
                gr.HTML(MEANING, elem_classes="hint")
                word = gr.Radio(
                    choices,
                    value=chosen,
                    label="Word of the answer",
                    container=False,
                    show_label=False,
                    elem_id="flamingo-words",
                )
                heat_maps = gr.HTML(html_of_maps, elem_id="flamingo-maps", elem_classes="tight")
                with gr.Accordion("Layer by layer", open=False, elem_id="flamingo-gates"):
                    layer = gr.Dropdown(
                        _layers(None if first is None else first[1]),
                        value=EVERY_LAYER,
                        label="Shown above",
                        elem_id="flamingo-layer",
                    )
                    gr.HTML(GATES, elem_classes="hint")
                    gates = gr.HTML(html_of_gates, elem_classes="tight")
        self.outputs = [maps, section, look, results]
        look.click(
            on_page(self._compute),
            exchange,
            [maps, look, results, word, layer, heat_maps, gates],
            show_progress="minimal",
            show_progress_on=look,
            concurrency_limit=None,
            api_visibility="private",
        )
        gr.on(
            [word.input, layer.input],
            on_page(self._show),
            [exchange, maps, word, layer],
            [heat_maps, gates],
            show_progress="hidden",
            trigger_mode="always_last",
            api_visibility="private",
        )

    def begun(self, visitor: str, exchange: Exchange | None) -> tuple:
        """The updates of `outputs` for a new last exchange, or none: its button if it has media, no maps."""
        self.stops.drop(visitor, TAB)
        is_about_media = bool(exchange and exchange.media and exchange.answer.strip())
        return (
            None,
            gr.update(visible=is_about_media),
            gr.update(visible=True),
            gr.update(visible=False),
        )

    def beside(self, visitor: str, replies: Iterable[tuple]) -> Iterator[tuple[tuple, tuple]]:
        """Each update of `Conversation.reply` with those of `outputs`, which hide it until it is answered.

        They come with the answer, so that those of an earlier answer can never come after it.
        """
        shown: object = ()
        for update in replies:
            _, _, last, *_ = update
            changes, shown = last != shown, last
            yield update, self.begun(visitor, last) if changes else (gr.skip(),) * len(self.outputs)

    def _compute(self, request: gr.Request, exchange: Exchange | None):
        if exchange is None:
            raise PromptError(GONE)
        with self.stops.running(request.session_hash, TAB) as cancelled:
            media = [medium.decoded for medium in self.media.of(request.session_hash, exchange.media)]
            maps = self.session.attention_maps(exchange.prompt, media, exchange.answer)
            if not self.stops.wanted(request.session_hash, TAB, cancelled):
                return gr.skip()
        choices, first = _choices(maps)
        return (
            maps,
            gr.update(visible=False),
            gr.update(visible=True),
            gr.update(choices=choices, value=first),
            gr.update(choices=_layers(maps), value=EVERY_LAYER),
            *self._show(exchange, maps, first, EVERY_LAYER),
        )

    def _show(
        self, exchange: Exchange | None, maps: AttentionMaps | None, word: int, layer: int
    ) -> tuple[str, str]:
        """HTML of the heat maps for a word, and of the table of gates."""
        if maps is None and self.first is not None and exchange == self.first[0]:
            maps = self.first[1]
        if exchange is None or maps is None:
            raise PromptError(GONE)
        _, tokens = words(maps.tokens)[word]
        heat_maps = _heat_maps(maps, tokens, None if layer == EVERY_LAYER else layer)
        peak = _peak(heat_maps)
        media_names = names(exchange.media)
        media = [
            _medium_html(f"{name}: {heat_map.sum():.0%}", medium, heat_map, peak)
            for name, medium, heat_map in zip(media_names, maps.media, heat_maps, strict=True)
        ]
        rows = [
            (
                f"after block {gate.layer + 1}",
                gate.attention,
                gate.feed_forward,
                *np.mean([maps.media_shares(token, gate.layer) for token in tokens], axis=0).tolist(),
            )
            for gate in maps.gates
        ]
        return f"<div class='strips'>{''.join(media)}</div>", table(
            ["layer", "attention gate", "feed-forward gate", *media_names], rows
        )


def _choices(maps: AttentionMaps) -> tuple[list[tuple[str, int]], int]:
    """(word, index) for each word of an answer, and the index of the word with the highest peak."""
    answer = words(maps.tokens)
    brightest = max(range(len(answer)), key=lambda index: _peak(_heat_maps(maps, answer[index][1])))
    return [(word, index) for index, (word, _) in enumerate(answer)], brightest


def _layers(maps: AttentionMaps | None) -> list[tuple[str, int]]:
    """(label, value) of the choices of layers."""
    gates = () if maps is None else maps.gates
    every = ("all layers, each as open as its gate", EVERY_LAYER)
    return [every, *((f"after block {gate.layer + 1}", gate.layer) for gate in gates)]


def words(tokens: Sequence[str]) -> list[tuple[str, range]]:
    """(word, indices of its tokens). A token that begins with a space begins a word."""
    begins = [index for index, token in enumerate(tokens) if not index or token[:1].isspace()]
    ends = [*begins[1:], len(tokens)]
    return [
        ("".join(tokens[begin:end]).strip() or "␣", range(begin, end))
        for begin, end in zip(begins, ends, strict=True)
    ]


def _heat_maps(maps: AttentionMaps, tokens: Iterable[int], layer: int | None = None) -> list[np.ndarray]:
    """For each medium the mean map of some tokens, (frames, rows, columns)."""
    return [
        np.mean([maps.map(token, medium, layer) for token in tokens], axis=0)
        for medium in range(len(maps.media))
    ]


def _peak(heat_maps: Iterable[np.ndarray]) -> float:
    return max(float(heat_map.max()) for heat_map in heat_maps)


def _medium_html(title: str, medium: MediumAttention, heat_map: np.ndarray, peak: float) -> str:
    """HTML of a medium with its heat map.

    Args:
        heat_map: (frames, rows, columns).
        peak: the value with the brightest colour.
    """
    frames = [
        glowing(frame, of_frame / peak) for frame, of_frame in zip(medium.frames, heat_map, strict=True)
    ]
    if len(frames) == 1:
        return still(title, frames[0])
    captions = [f"frame {number}: {of_frame.sum():.0%}" for number, of_frame in enumerate(heat_map, 1)]
    return film(title, list(zip(frames, captions, strict=True)))
