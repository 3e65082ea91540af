"""Builds the Flamingo tab: a chat about pictures and videos, and the tools for its prompts."""

from pathlib import Path
from random import Random

import gradio as gr

from palm_demo.errors import MediaError, PalmDemoError
from palm_demo.inference.attention_maps import AttentionMaps, compute_attention_maps
from palm_demo.inference.prompts import PromptForm
from palm_demo.internals.gradio_files import file_data, new_folder
from palm_demo.models.cross_attention import GatedCrossAttention
from palm_demo.models.resampler import PerceiverResampler
from palm_demo.models.tokenizers import MEDIA
from palm_demo.session import ANSWERED, Session
from palm_demo.settings import Limits
from palm_demo.ui.choices import chips, choices
from palm_demo.ui.components import Paper, sampling_controls, sampling_settings, shared_sampling
from palm_demo.ui.deep_links import SettingsLinks
from palm_demo.ui.flamingo import suggestions
from palm_demo.ui.flamingo.asked_media import AskedMedia, AskedMedium
from palm_demo.ui.flamingo.attention import AttentionView
from palm_demo.ui.flamingo.conversation import (
    TAB,
    Conversation,
    Exchange,
    names,
    verdict,
)
from palm_demo.ui.flamingo.few_shot import QUIET, WARNING, Shot, ShotBuilder, ShotSet
from palm_demo.ui.flamingo.own_media import own_media, paths_of, value_of, without
from palm_demo.ui.flamingo.samples import Sample, question_samples
from palm_demo.ui.flamingo.saving import SaveButton
from palm_demo.ui.flamingo.scenes import DrawnScene, SceneMaker, check_drawn
from palm_demo.ui.flamingo.second_opinion import is_quick, suggested_questions
from palm_demo.ui.flamingo.taught_words import names_to_choose
from palm_demo.ui.messages import on_page, sentence, warn
from palm_demo.ui.streaming import Stops, Stream, StreamingTab
from palm_demo.ui.uploads import check_media, check_prompt

PAPER = Paper(
    "Flamingo: a Visual Language Model for Few-Shot Learning",
    "Alayrac et al., 2022",
    "https://arxiv.org/abs/2204.14198",
)
CODE = (GatedCrossAttention, PerceiverResampler, compute_attention_maps)
SUGGESTING = "flamingo-suggesting"
"""The name of the suggestions in `Stops`. Those about earlier pictures are not shown."""
FILLED_BY = {
    "flamingo-samples": "flamingo-chat",
    "flamingo-run": "flamingo-chat",
    "flamingo-question": "flamingo-chat",
    "flamingo-chips": "flamingo-chat",
    "flamingo-taught": "flamingo-taught-answer",
    "flamingo-look": "flamingo-maps",
    "scene-draw": "scene-made",
    "scene-surprise": "scene-made",
}
"""elem_id of a button -> elem_id of the component that it fills."""


def flamingo_tab(
    session: Session, limits: Limits, stops: Stops, links: SettingsLinks, folder: Path
) -> AskedMedia:
    """Builds the tab inside the current Blocks, and returns the media that its visitors ask about.

    folder: for the files of examples.
    """
    form = session.flamingo.form
    first_samples = question_samples(folder, form, Random())
    first = _first_answer(session, first_samples[0])
    exchange, first_verdict = None, ""
    if first is not None:
        exchange, first_verdict = first[0], verdict(first_samples[0].answers, first[0].answer)
    with gr.Row(elem_id="flamingo-try"):
        tiles = choices(_tiles(first_samples), "Examples: one press asks", "flamingo-samples", "tiles")
        redraw = gr.Button("Draw others", size="sm", scale=0, min_width=110, elem_id="flamingo-redraw")
    samples, pressed = gr.State(first_samples), gr.State(None)
    subject = gr.State([] if exchange is None else exchange.media)
    with gr.Row(elem_id="flamingo-desk"):
        with gr.Column(elem_id="flamingo-talk", min_width=280):
            conversation = Conversation(session, limits, stops, exchange, first_verdict)
        with (
            gr.Column(elem_id="flamingo-turn", min_width=280),
            gr.Tabs(elem_id="flamingo-ways", overflow_behavior="wrap") as ways,
        ):
            with gr.Tab("Ask", id="ask"), gr.Column(elem_id="flamingo-box"):
                media = own_media("flamingo-media", "flamingo-box", "flamingo-run")
                text = _question_box(session, limits)
                chosen = choices(
                    chips(first_samples[0].chips), "Questions to press", "flamingo-chips", "chips"
                )
                suggested = gr.HTML([], html_template="", apply_default_css=False, visible="hidden")
                with gr.Row():
                    run = gr.Button("Ask", variant="primary", min_width=90, elem_id="flamingo-run")
                    stop = gr.Button(
                        "Stop", variant="stop", interactive=False, min_width=80, elem_id="flamingo-stop"
                    )
                    clear = gr.Button("Start over", min_width=90, elem_id="flamingo-clear")
                earlier = gr.Checkbox(
                    False, label="Let Flamingo read the earlier questions too", elem_id="flamingo-earlier"
                )
                sampling = sampling_controls(TAB, limits, ANSWERED)
                conversation.details()
                with gr.Row():
                    SaveButton(conversation.turns)
                    links.button({"earlier": earlier, **shared_sampling(sampling)})
            with gr.Tab("Teach by example", id="teach"):
                builder = ShotBuilder(session, limits)
            with gr.Tab("Make a scene", id="scene"):
                maker = SceneMaker(session)
        with gr.Column(elem_id="flamingo-look-column", min_width=280):
            attention = AttentionView(session, conversation.media, stops, conversation.last, first)
    box = [media, text, subject]

    def check_ask(files: list | None, words: str, about: list, turns: list, earlier: bool, *_) -> None:
        conversation.whole_prompt(turns, earlier, whole_question(files, words, about, limits, form))

    def ask(
        request: gr.Request,
        cancelled: Stream,
        files: list | None,
        words: str,
        about: list,
        turns: list,
        earlier: bool,
        *settings,
    ):
        question = whole_question(files, words, about, limits, form)
        visitor, asked = request.session_hash, sampling_settings(*settings)
        replies = conversation.reply(visitor, cancelled, turns, earlier, question, asked, words=words)
        # the box is emptied once, so that the next question begins anew
        box_updates = ([], "", question[1] or about)
        for update, looking in attention.beside(visitor, replies):
            yield *update, *looking, *box_updates
            box_updates = (gr.skip(),) * 3

    def check_sample(sample: Sample, turns: list, earlier: bool, *_) -> None:
        conversation.whole_prompt(turns, earlier, (sample.prompt, list(sample.media)))

    def ask_sample(
        request: gr.Request, cancelled: Stream, sample: Sample, turns: list, earlier: bool, *settings
    ):
        visitor, question = request.session_hash, (sample.prompt, list(sample.media))
        asked = sampling_settings(*settings)
        replies = conversation.reply(visitor, cancelled, turns, earlier, question, asked, sample.answers)
        for update, looking in attention.beside(visitor, replies):
            yield *update, *looking

    def check_after(turns: list, preset: ShotSet | None, shots: list | None, *_) -> None:
        builder.prompt(shots)

    def ask_after(
        request: gr.Request,
        cancelled: Stream,
        turns: list,
        preset: ShotSet | None,
        shots: list | None,
        *settings,
    ):
        question, answers = builder.prompt(shots), builder.answers(preset, shots)
        visitor, asked = request.session_hash, sampling_settings(*settings)
        asked |= {"choices": names_to_choose(question[0])}
        replies = conversation.reply(visitor, cancelled, turns, False, question, asked, answers)
        for update, looking in attention.beside(visitor, replies):
            rest = builder.said(update), question[1][-1:] or gr.skip(), chips(suggestions.ANYTHING)
            yield *update, *looking, *rest

    def press(request: gr.Request, event: gr.SelectData, samples: list[Sample]):
        stops.drop(request.session_hash, SUGGESTING)
        sample = samples[event.index]
        return sample, list(sample.media), chips(sample.chips)

    def take(event: gr.SelectData):
        return form.caption.strip() if event.value == suggestions.CAPTION else str(event.value)

    @on_page
    def draw_others():
        with session.turns.computation() as computation, computation.turn():
            fresh = question_samples(new_folder(), form, Random())
        return fresh, _tiles(fresh)

    @on_page
    def suggest(request: gr.Request, files: list | None):
        if not files:
            return [], gr.skip()
        visitor, asked, paths = request.session_hash, conversation.media, paths_of(files)
        work = stops.arm(visitor, SUGGESTING)
        try:
            questions = chips(suggested_questions(session, asked, visitor, paths))
        except MediaError as error:
            warn(sentence(str(error)))
            return [], without([path for path in paths if not asked.can_read(visitor, path)])
        return questions if stops.wanted(visitor, SUGGESTING, work) else [], gr.skip()

    def start_over(request: gr.Request):
        for work in (TAB, SUGGESTING):
            stops.drop(request.session_hash, work)
        without = attention.begun(request.session_hash, None)
        return [], "", [], *conversation.emptied(), *without, "", chips(suggestions.ANYTHING)

    @on_page
    def use(drawn: DrawnScene | None, files: list | None, words: str):
        path, _, question = check_drawn(drawn)
        paths = check_media([*paths_of(files), path], limits)
        return value_of(paths), words or question, gr.update(selected="ask")

    @on_page
    def teach(drawn: DrawnScene | None, shots: list | None):
        path, caption, _ = check_drawn(drawn)
        shot = Shot(f"{form.caption}{caption}", (path,))
        return builder.put(shots, shot), gr.update(selected="teach")

    tab = StreamingTab(TAB, stops, [run, builder.run], [stop, builder.stop])
    inputs = [*box, conversation.turns, earlier, *sampling]
    answered = [*conversation.outputs, *attention.outputs]
    tab.wire(run.click, ask, inputs, [*answered, *box], check_ask)
    tab.wire(text.submit, ask, inputs, [*answered, *box], check_ask)
    tab.wire(chosen.select(take, None, text, **QUIET).then, ask, inputs, [*answered, *box], check_ask)
    pressed_tile = tiles.select(press, samples, [pressed, subject, chosen], **QUIET)
    of_sample = [pressed, conversation.turns, earlier, *sampling]
    tab.wire(pressed_tile.then, ask_sample, of_sample, answered, check_sample)
    redraw.click(draw_others, None, [samples, tiles], show_progress="minimal", api_visibility="private")
    looked_at = media.change(suggest, media, [suggested, media], concurrency_limit=None, **WARNING)
    shown = [chosen, suggested]
    looked_at.then(None, [media, suggested, chosen], shown, js=IF_STILL_THERE, api_visibility="private")
    built = [conversation.turns, builder.preset, builder.shots, *sampling]
    tab.wire(builder.run.click, ask_after, built, [*answered, builder.answer, subject, chosen], check_after)
    emptied = [*box, *answered, builder.answer, chosen]
    gr.on([clear.click, conversation.chat.clear], start_over, None, emptied, **QUIET)
    clear.click(None, js=UNMARK, api_visibility="private")
    maker.use.click(use, [maker.drawn, media, text], [media, text, ways], **WARNING)
    maker.teach.click(teach, [maker.drawn, builder.shots], [builder.shots, ways], **WARNING)
    return conversation.media


def _first_answer(session: Session, sample: Sample) -> tuple[Exchange, AttentionMaps] | None:
    """The bundled Flamingo's answer to an example, and its attention maps, shown at first.

    None for other models, and if they fail.
    """
    if not is_quick(session):
        return None
    media = list(sample.media)
    try:
        opened = session.opened(media)
        answer = session.answer(sample.prompt, opened)
        maps = session.attention_maps(sample.prompt, opened, answer)
        asked = map(AskedMedium, media, opened)
        shown = [medium.shown(name) for medium, name in zip(asked, names(media), strict=True)]
        return Exchange(sample.prompt, media, answer, shown), maps
    except PalmDemoError:
        return None


def _tiles(samples: list[Sample]) -> list[dict]:
    return [{"text": sample.title, "image": file_data(sample.thumbnail)} for sample in samples]


IF_STILL_THERE = "(files, suggested, shown) => [files.length && suggested.length ? suggested : shown, []]"
"""Shows suggestions unless their pictures have left the box meanwhile."""
UNMARK = "() => { dispatchEvent(new Event('startover')); }"
NO_QUESTION = "the question is empty; write one, such as “What is this?”, or press one of those below it"
AS_PICTURES = " It learned pictures alone: of a video it is shown {shown}."


def _question_box(session: Session, limits: Limits) -> gr.Textbox:
    count = session.flamingo.pictures_of_video
    shown = "the frame in its middle" if count == 1 else f"{count}, one after the other"
    return gr.Textbox(
        label="Your question",
        placeholder="for example: what is to the left of the cat?",
        info="Enter asks, Shift + Enter begins a new line. Without a picture of its own, a question is about "
        f"the last one.{AS_PICTURES.format(shown=shown) if count else ''}",
        lines=1,
        max_lines=8,
        max_length=limits.prompt_bytes * 10,
        elem_id="flamingo-question",
    )


def whole_question(
    files: list | None, text: str, about: list[str], limits: Limits, form: PromptForm
) -> tuple[str, list[str]]:
    """The prompt and the media for the values of the question box.

    about: the media of the last question, which a text without media is about too.
    """
    text, media = check_prompt(text, limits, NO_QUESTION), check_media(paths_of(files), limits)
    media = media or list(about)
    if not media and (MEDIA in text or form.asks(text)):
        raise MediaError("there is no picture yet; add one, draw one, or press an example")
    return form.completed(text, len(media)), media
