"""The sub-tab "Teach a voice": fine-tunes a scope on a visitor's text, and shows the learning curve."""

from pathlib import Path

import gradio as gr
import pandas

from palm_demo.errors import CheckpointError, FinetuningError, ScopeError
from palm_demo.inference.lora_finetuning import FEWEST_TOKENS, Progress
from palm_demo.installation import ASSETS
from palm_demo.internals.gradio_files import keep_files
from palm_demo.session import Session
from palm_demo.settings import Limits
from palm_demo.text_limits import check_size
from palm_demo.ui.boundary.visitors import address_of, owner_of
from palm_demo.ui.deep_links import SettingsLinks
from palm_demo.ui.messages import on_page
from palm_demo.ui.palm.user_adapters import OWN, UserAdapters
from palm_demo.ui.palm.voices import BASE
from palm_demo.ui.streaming import Stops, Stream, StreamingTab


def finetuning_controls(limits: Limits) -> list:
    """Builds an accordion of controls, and returns them in the order of `finetuning_config`."""
    with gr.Accordion("Teaching settings", open=False, elem_id="palm-teaching-settings"):
        with gr.Row():
            seconds = gr.Slider(
                5,
                limits.finetuning_seconds,
                min(60, limits.finetuning_seconds),
                step=5,
                label="Seconds, at most",
                info="It ends earlier when nothing is gained any more",
            )
            rank = gr.Slider(
                1,
                limits.adapter_rank,
                min(16, limits.adapter_rank),
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
            seed = gr.Number(0, precision=0, label="Seed", info="The same number learns the same again")
    return [seconds, rank, rate, seed]


def finetuning_config(limits: Limits, seconds: float, rank: int, rate: float, seed: int | None) -> dict:
    """The keyword arguments of `Session.finetune`. Raises FinetuningError for more than the limits."""
    for name, value, most in (
        ("seconds", seconds, limits.finetuning_seconds),
        ("rank", rank, limits.adapter_rank),
    ):
        if value > most:
            raise FinetuningError(f"{name} is {value} and at most {most} are allowed here; ask for fewer")
    return {"seconds": seconds, "rank": int(rank), "learning_rate": rate, "seed": int(seed or 0)}


def check_training_text(text: str, limits: Limits) -> str:
    """Returns a text to learn from. Raises FinetuningError if it is too long, but not if it is too short."""
    if not isinstance(text, str):
        return ""
    check_size("the text", text, limits.finetuning_bytes, "give a part of it", FinetuningError)
    return text


def read_training_text(path: Path, limits: Limits) -> str:
    """The text of a file. Raises FinetuningError if it is too long or not in UTF-8."""
    if (size_bytes := path.stat().st_size) > limits.finetuning_bytes:
        raise FinetuningError(
            f"{path.name} has {size_bytes:,} bytes and at most {limits.finetuning_bytes:,} can be taught "
            "here; give a part of it"
        )
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise FinetuningError(
            f"{path.name} is no text in UTF-8; save it as UTF-8 and upload it again"
        ) from error


COLORS = {"this voice": "#0f766e", "plain PaLM": "#94a3b8"}


def curve_shown(elem_id: str) -> gr.LinePlot:
    """The component for the learning curve."""
    return gr.LinePlot(
        x="step",
        y="bits per byte",
        color="what",
        color_map=COLORS,
        title="How much the tenth that it never reads surprises it, in bits per byte: lower is better",
        height=280,
        buttons=[],
        elem_id=elem_id,
    )


def curve_of(evaluations: list[tuple[int, float]], base: float):
    """The update of `curve_shown`.

    Args:
        evaluations: (step, bits per byte of the held-out text).
        base: bits per byte of the base model.
    """
    steps, bits = zip(*evaluations, strict=True)
    table = pandas.DataFrame(
        {
            "step": [*steps, *steps],
            "bits per byte": [*bits, *[base] * len(steps)],
            "what": ["this voice"] * len(steps) + ["plain PaLM"] * len(steps),
        }
    )
    low, high = min(*bits, base), max(*bits, base)
    return gr.LinePlot(value=table, y_lim=[low - 0.02, high + 0.02])


def how_it_goes(progress: Progress) -> str:
    """The message during fine-tuning."""
    return (
        f"Step {progress.step}, {progress.seconds:.0f} seconds. Surprise, in bits per byte: "
        f"{progress.base:.3f} before, {progress.best:.3f} at best so far."
    )


def how_it_went(progress: Progress, name: str) -> str:
    """The message after fine-tuning. name: of the scope."""
    if progress.best >= progress.base:
        return (
            f"After {progress.step} steps nothing was gained, so there is no new voice. A longer text or "
            "more seconds may help."
        )
    gain = 100 * (1 - progress.best / progress.base)
    return (
        f"**{name}** is ready after {progress.step} steps and {progress.seconds:.0f} seconds. The tenth "
        f"that it never read surprises it {gain:.1f} % less: {progress.base:.3f} bits per byte became "
        f"{progress.best:.3f}."
    )


TAB = "palm-teaching"
QUIET = {"concurrency_limit": None, "show_progress": "hidden", "api_visibility": "private"}
"""Options of events without progress. They use the queue, because warnings need it."""

AS_FILE = {"preprocess": False}
"""Gives handlers the uploaded file. For its path gr.UploadButton would make an empty file each time."""

PROVERBS = ASSETS / "proverbs.txt"


def finetune_tab(
    session: Session,
    limits: Limits,
    stops: Stops,
    links: SettingsLinks,
    own: UserAdapters,
    pickers: list[gr.Dropdown],
    tabs: gr.Tabs,
    write: str,
) -> None:
    """Builds the sub-tab inside the current Blocks.

    Args:
        own: the visitors' own scopes.
        pickers: components in which scopes are chosen; the first is that of the sub-tab `write`.
        tabs: with all sub-tabs.
        write: the id of the sub-tab that writes.
    """
    with gr.Row():
        with gr.Column(scale=5, min_width=280):
            text = gr.Textbox(
                label="Text to learn from",
                info=f"At least two pages ({FEWEST_TOKENS:,} tokens), better twenty. The last tenth is not "
                "learned: it shows whether the rest has helped",
                lines=8,
                max_lines=12,
                max_length=limits.finetuning_bytes,
                placeholder="Paste letters, poems, a diary …, upload a file, or take the proverbs.",
                elem_id=f"{TAB}-text",
            )
            with gr.Row():
                file = gr.UploadButton(
                    "Upload a .txt file", file_types=[".txt"], size="sm", min_width=100, elem_id=f"{TAB}-file"
                )
                sample = gr.Button("Take 300 proverbs", size="sm", min_width=100, elem_id=f"{TAB}-sample")
            name = gr.Textbox(
                "mine",
                label="Name of the voice",
                info="Letters, digits, - and _",
                max_length=64,
                elem_id=f"{TAB}-name",
            )
            with gr.Row():
                run = gr.Button("Teach", variant="primary", elem_id=f"{TAB}-run")
                stop = gr.Button(
                    "Stop and keep the best", variant="stop", interactive=False, elem_id=f"{TAB}-stop"
                )
            settings = finetuning_controls(limits)
            links.button(dict(zip(("seconds", "rank", "rate", "seed"), settings, strict=True)))
        with gr.Column(scale=6, min_width=280):
            said = gr.Markdown(
                "While it learns, the curve shows how much the last tenth of the text, which it never reads, "
                "still surprises it.",
                elem_id=f"{TAB}-said",
            )
            curve = curve_shown(f"{TAB}-curve")
            gr.HTML("<h2 class='heading'>Your voices: seen by you alone, gone when you leave</h2>")
            mine = gr.Dropdown(
                [],
                label="Yours",
                info=(
                    f"Up to {limits.user_adapters}, for {limits.user_adapter_minutes} minutes; "
                    "download the file of one to keep it"
                ),
                interactive=True,
                elem_id=f"{TAB}-mine",
            )
            with gr.Row():
                use = gr.Button("Write with it", size="sm", min_width=100, elem_id=f"{TAB}-use")
                download = gr.DownloadButton(
                    "Download", interactive=False, size="sm", min_width=100, elem_id=f"{TAB}-download"
                )
                remove = gr.Button("Remove", size="sm", min_width=100, elem_id=f"{TAB}-remove")
                upload = gr.UploadButton(
                    "Upload a voice's file",
                    file_types=[".safetensors"],
                    size="sm",
                    min_width=100,
                    elem_id=f"{TAB}-upload",
                )

    keep_files(download, own.files)

    def scope_updates(visitor: str, chosen: str | None) -> list:
        """Updates of all components that list the visitor's scopes."""
        names, choices = own.names(visitor), own.choices(visitor)
        chosen = chosen if chosen in names else next(iter(names), None)
        path = str(own.find(visitor, chosen).file) if chosen else None
        return [
            gr.update(choices=names, value=chosen),
            gr.update(value=path, interactive=chosen is not None),
            *(gr.update(choices=choices[1:] if picker.multiselect else choices) for picker in pickers),
        ]

    def stream(request: gr.Request, cancelled: Stream, text: str, name: str, *settings):
        visitor, text = request.session_hash, check_training_text(text, limits)
        to_keep = own.place(owner_of(request), name, address_of(request))
        with to_keep as place:
            name = place.name
            curves, kept, unchanged = [], None, [gr.skip()] * (2 + len(pickers))
            for progress in session.finetune(
                text, cancelled=cancelled, **finetuning_config(limits, *settings)
            ):
                shown, drawn = unchanged, gr.skip()
                better = kept is not None and progress.adapter is not kept
                kept = progress.adapter  # the first one is untrained and changes nothing
                if better and stops.wanted(visitor, TAB, cancelled):
                    place.keep(kept)
                    shown = scope_updates(visitor, name)
                if progress.bits_per_byte is not None:
                    curves.append((progress.step, progress.bits_per_byte))
                    drawn = curve_of(curves, progress.base)
                yield [how_it_goes(progress), drawn, *shown]
            yield [how_it_went(progress, name), gr.skip(), *unchanged]

    @on_page
    def take_file(file: dict | None):
        path = _path(file)
        return read_training_text(path, limits), path.stem[:64]

    @on_page
    def take_scope(request: gr.Request, file: dict | None):
        visitor, path = request.session_hash, _path(file)
        with own.place(owner_of(request), path.stem, address_of(request)) as place:
            try:
                adapter = session.load_adapter(path, limits.adapter_rank)
            except CheckpointError as error:  # visitors see the name of the file, and know scopes as voices
                before, _, after = str(error).partition(str(path))
                raise CheckpointError(f"{before}{path.name}{after.replace('scope', 'voice')}") from error
            place.keep(adapter)
        return scope_updates(visitor, place.name)

    @on_page
    def drop(request: gr.Request, name: str | None, *picked: str | list[str]):
        own.remove(request.session_hash, _chosen(name))
        of_mine, of_download, *of_pickers = scope_updates(request.session_hash, None)
        left = [_without(OWN + name, choice) for choice in picked]
        return [
            of_mine,
            of_download,
            *({**update, "value": choice} for update, choice in zip(of_pickers, left, strict=True)),
        ]

    @on_page
    def choose(request: gr.Request, name: str | None):
        return scope_updates(request.session_hash, name)[1]

    @on_page
    def write_with(request: gr.Request, name: str | None):
        own.find(request.session_hash, _chosen(name))
        return OWN + name, gr.update(selected=write)

    shown = [mine, download, *pickers]
    tab = StreamingTab(TAB, stops, [run], [stop])
    concurrency = {"concurrency_id": "teaching", "concurrency_limit": limits.finetunings_at_once}
    tab.wire(run.click, stream, [text, name, *settings], [said, curve, *shown], **concurrency)
    sample.click(lambda: (PROVERBS.read_text(encoding="utf-8"), "proverbs"), None, [text, name], **QUIET)
    file.upload(take_file, file, [text, name], **QUIET, **AS_FILE)
    upload.upload(take_scope, upload, shown, **QUIET, **AS_FILE)
    mine.input(choose, mine, download, **QUIET)
    remove.click(drop, [mine, *pickers], shown, **QUIET)
    use.click(write_with, mine, [pickers[0], tabs], **QUIET)


def _path(file: dict | None) -> Path:
    if not file or not file.get("path"):
        raise FinetuningError("no file has come; choose one")
    return Path(file["path"])


def _chosen(name: str | None) -> str:
    if not name:
        raise ScopeError("there is no voice of yours yet; teach one or upload its file")
    return name


def _without(gone: str, picked: str | list[str]) -> str | list[str]:
    """What is picked after one choice was removed."""
    if isinstance(picked, list):
        return [choice for choice in picked if choice != gone]
    return BASE if picked == gone else picked
