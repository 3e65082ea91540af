"""The chat with Flamingo, without a server: what is done for each update, and what once."""

from types import SimpleNamespace

import gradio as gr
import pytest
from gradio.context import LocalContext

from palm_demo.errors import BusyError, MediaError, PromptError
from palm_demo.inference.prompts import OURS
from palm_demo.media import frames, pictures
from palm_demo.session import Description, Session
from palm_demo.settings import load_settings
from palm_demo.ui.deep_links import SettingsLinks
from palm_demo.ui.flamingo import asked_media
from palm_demo.ui.flamingo.attention import AttentionView
from palm_demo.ui.flamingo.conversation import TAB, Conversation, Exchange
from palm_demo.ui.flamingo.second_opinion import suggested_questions
from palm_demo.ui.flamingo.tab import flamingo_tab, whole_question
from palm_demo.ui.photographs import example_photos
from palm_demo.ui.streaming import Stops
from tests.clients import as_client
from tests.media_files import red_over_blue, video

TOKENS = 12
REQUEST = SimpleNamespace(session_hash="visitor")
SAMPLING = (TOKENS, 2.0, 0, 1.0, 0.0, 1.0, 5, "")


@pytest.fixture
def conversation(session: Session, tmp_path, monkeypatch) -> Conversation:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    with gr.Blocks():
        return Conversation(session, load_settings().limits, Stops())


def counted(monkeypatch, place, name: str) -> list:
    """Calls of a function from now on."""
    calls, function = [], getattr(place, name)

    def count(*arguments, **settings):
        calls.append(arguments)
        return function(*arguments, **settings)

    monkeypatch.setattr(place, name, count)
    return calls


def in_event(updates) -> list:
    """All updates of a handler, which are made as when a visitor asks."""
    token = LocalContext.in_event_listener.set(True)
    try:
        return [*updates]
    finally:
        LocalContext.in_event_listener.reset(token)


def reply(
    conversation: Conversation,
    turns: list,
    media: list,
    earlier: bool = False,
    visitor: str = "visitor",
    text: str = "in words: ",
) -> list[tuple]:
    prompt = text + "<media> " * len(media)
    settings = {"max_new_tokens": TOKENS, "temperature": 2.0, "seed": 5}
    with conversation.stops.running(visitor, TAB) as stream:
        return in_event(conversation.reply(visitor, stream, turns, earlier, (prompt, media), settings))


def test_media_are_opened_and_made_ready_once_however_many_updates_there_are(
    conversation, tmp_path, monkeypatch
):
    red_over_blue().save(tmp_path / "a.tif")
    media = [str(video(tmp_path / "a.avi", 16, side=64)), str(tmp_path / "a.tif")]
    converted = counted(monkeypatch, asked_media, "as_shown")
    decoded = counted(monkeypatch, frames, "open_video")
    components = counted(monkeypatch, gr.Image, "postprocess")
    first = reply(conversation, [], media)
    assert len(first) > 3
    assert len(converted) == 2 and len(components) == 2
    assert len(decoded) == 1
    turns = first[-1][1]
    second = reply(conversation, turns, media[1:])
    assert len(second) > 3 and len(second[-1][1]) == 2
    assert len(converted) == 2 and len(components) == 2 and len(decoded) == 1


def test_what_is_uploaded_is_decoded_once_and_passes_the_tower_once(conversation, tmp_path, monkeypatch):
    """For suggestions, two questions, their warnings, and where Flamingo looked. Twice for two visitors."""
    session = conversation.session
    red_over_blue().save(tmp_path / "a.png")
    media = [str(video(tmp_path / "a.mp4", 16, side=64, codec="libx264")), str(tmp_path / "a.png")]
    decoded = counted(monkeypatch, frames, "open_video"), counted(monkeypatch, pictures, "_decode")
    scored = counted(monkeypatch, session, "ood_score")
    passed = []
    hook = session.flamingo.model.encoder.tower.register_forward_hook(
        lambda tower, given, _: passed.append(len(given[0]))
    )
    with gr.Blocks():
        view = AttentionView(session, conversation.media, conversation.stops, gr.State(), None)

    def visit(name: str) -> tuple:
        request = SimpleNamespace(session_hash=name)
        with as_client(name):
            asked = suggested_questions(session, conversation.media, name, media)
            first = reply(conversation, [], media, visitor=name)[-1]
            second = reply(conversation, first[1], media, visitor=name)[-1]
            maps = view._compute(request, second[2])[0]
        return asked, [turn.answer for turn in second[1]], [medium.maps.tolist() for medium in maps.media]

    said = visit("ann")
    assert [*map(len, decoded)] == [1, 1] and sum(passed) == 9 and len(scored) == 4
    assert visit("bob") == said
    hook.remove()
    assert [*map(len, decoded)] == [2, 2] and sum(passed) == 18


def test_each_update_shows_the_media_in_the_places_of_their_marks(conversation, tmp_path):
    path = video(tmp_path / "a.mp4", 8, side=64, codec="libx264")
    red_over_blue().save(tmp_path / "a.png")
    for update in reply(conversation, [], [str(path), str(tmp_path / "a.png")]):
        asked, _ = update[0]
        kinds = [part if isinstance(part, str) else part.component for part in asked["content"]]
        assert kinds == ["in words:", "video", "image"]
        assert [part.props["label"] for part in asked["content"][1:]] == ["video 1", "picture 2"]
        shown = conversation.chat.postprocess(update[0]).root[0]
        assert [part.type for part in shown.content] == ["text", "component", "component"]


def test_earlier_turns_are_read_again_and_shown_as_they_were(conversation, tmp_path):
    red_over_blue().save(tmp_path / "a.png")
    turns = reply(conversation, [], [str(tmp_path / "a.png")])[-1][1]
    *_, last = reply(conversation, turns, [str(tmp_path / "a.png")], earlier=True)
    assert last[2].media == [str(tmp_path / "a.png")] * 2
    assert last[0][0]["content"][-1] is turns[0].shown[0]


def test_an_answer_shows_nothing_more_after_its_visitor_starts_over(conversation):
    settings = {"max_new_tokens": TOKENS, "temperature": 2.0, "seed": 5}
    with conversation.stops.running("visitor", TAB) as stream:
        updates = conversation.reply("visitor", stream, [], False, ("once upon", []), settings)
        next(updates)
        conversation.stops.drop("visitor", TAB)
        assert [*updates] == []


def test_maps_of_an_earlier_answer_are_not_shown_under_a_new_one(session):
    stops, exchange = Stops(), Exchange("<media> this is a", ["a.png"], "cat")
    with gr.Blocks():
        view = AttentionView(session, SimpleNamespace(of=lambda *_: []), stops, gr.State(), None)

    def answered_meanwhile(*question):
        view.begun(REQUEST.session_hash, Exchange("<media> this is a", ["b.png"], "dog"))

    view.session = SimpleNamespace(attention_maps=answered_meanwhile)
    assert view._compute(REQUEST, exchange) == gr.skip()


def test_the_section_of_maps_is_hidden_with_the_first_word_and_shown_with_the_last(conversation, tmp_path):
    red_over_blue().save(tmp_path / "a.png")
    with gr.Blocks():
        view = AttentionView(conversation.session, conversation.media, conversation.stops, gr.State(), None)
    updates = reply(conversation, [], [str(tmp_path / "a.png")])
    shown = [looking[1].get("visible") for _, looking in view.beside("visitor", updates)]
    assert shown == [False, *[None] * (len(updates) - 2), True]


def test_a_question_after_examples_is_about_the_last_of_their_pictures(session, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    red_over_blue().save(tmp_path / "a.png")
    red_over_blue().save(tmp_path / "b.png")
    rows = [
        {"text": "this is a dax.", "files": [{"path": str(tmp_path / "a.png")}]},
        {"text": "this is a", "files": [{"path": str(tmp_path / "b.png")}]},
    ]
    with gr.Blocks() as page:
        flamingo_tab(session, load_settings().limits, Stops(), SettingsLinks(), tmp_path)
    (ask_after,) = {one.fn for one in page.fns.values() if getattr(one.fn, "__name__", "") == "ask_after"}
    *_, last = in_event(ask_after(REQUEST, [], None, rows, *SAMPLING))
    *_, said, subject, suggested = last
    assert subject == [str(tmp_path / "b.png")] and suggested
    assert said.startswith(f"<b>Flamingo says:</b> {last[0][-1]['content']}")


def test_questions_about_a_picture_and_a_video_are_about_what_the_video_shows(session, tmp_path, monkeypatch):
    red_over_blue().save(tmp_path / "a.png")
    moving = str(video(tmp_path / "b.mp4", 8, side=64, codec="libx264"))
    captions = {str(tmp_path / "a.png"): "a cat on a blue background", moving: "a dog on a red background"}
    media = SimpleNamespace(of=lambda _, paths: [SimpleNamespace(decoded=path) for path in paths])
    said = {path: Description(caption, {caption: 0.9}) for path, caption in captions.items()}
    monkeypatch.setattr(session, "describe", said.__getitem__)
    assert suggested_questions(session, media, "visitor", [*captions])[0] == "Which way does the dog move?"


def test_questions_do_not_name_what_mammut_only_guesses(session, monkeypatch):
    caption = "a ghost above a banjo on a white background"
    media = SimpleNamespace(of=lambda _, paths: [SimpleNamespace(decoded=path) for path in paths])
    for probability, named in ((0.9, True), (0.04, False)):
        said = Description(caption, {caption: probability})
        monkeypatch.setattr(session, "describe", lambda *_, said=said: said)
        asked = suggested_questions(session, media, "visitor", ["a.png"])
        assert asked[0] == "What is this?" and any("ghost" in question for question in asked) == named


@pytest.mark.parametrize("words", ["describe the picture", "hello", "what is this?", "<media> and?"])
def test_a_text_without_a_picture_is_about_the_last_one(words):
    prompt, media = whole_question([], words, ["a.png"], load_settings().limits, OURS)
    assert prompt.startswith("<media> ") and media == ["a.png"]


@pytest.mark.parametrize("words", ["describe the picture", "what is this?", "<media> and?"])
def test_a_question_before_any_picture_says_that_there_is_none(words):
    with pytest.raises(MediaError, match="there is no picture yet; add one"):
        whole_question([], words, [], load_settings().limits, OURS)


def test_the_chat_shows_what_was_typed(conversation, tmp_path, monkeypatch):
    red_over_blue().save(tmp_path / "a.png")
    monkeypatch.setattr(conversation.session, "stream_answer", lambda *_, **__: iter(["no"]))
    question = ("<media> question: is there a cat? answer:", [str(tmp_path / "a.png")])
    with conversation.stops.running("visitor", TAB) as stream:
        given = ("visitor", stream, [], False, question, {})
        *_, last = in_event(conversation.reply(*given, words=" Is this a cat? "))
    asked, _ = last[0]
    assert asked["content"][1:] == ["Is this a cat?"] and len(asked["content"]) == 2
    assert last[1][0].prompt == question[0]


WHAT = "<media> question: what is this? answer:"


def beneath(conversation: Conversation, prompt: str, media: list[str], said: str, monkeypatch) -> str:
    """What stands beneath an answer."""
    monkeypatch.setattr(conversation.session, "stream_answer", lambda *_, **__: iter([said]))
    with conversation.stops.running("visitor", TAB) as stream:
        *_, last = in_event(conversation.reply("visitor", stream, [], False, (prompt, media), {}))
    return last[-1]


@pytest.mark.parametrize(
    ("prompt", "caption", "answer", "said"),
    [
        (WHAT, "a photo of a koala", "a cat", "MaMMUT says: a koala (90% sure). Either may be wrong."),
        ("<media> caption:", "a photo of <b>", "a cat", "MaMMUT says: &lt;b&gt; (90% sure)."),
        (WHAT, "a photo of a koala", "a koala", ""),
        (WHAT, "a photo of a koala", "a photo of a koala.", ""),
        (
            WHAT,
            "a photo of a koala",
            "a miniant",
            "Flamingo may have made this word up. MaMMUT says: a k",
        ),
        (
            WHAT,
            "an ant on a red background",
            "a miniant",
            "Flamingo may have made this word up. MaMMUT says: an ant",
        ),
        (WHAT, "an ant on a red background", "a bird", ""),
        (WHAT, "an ant on a red background", "a photo of a cat", ""),
        (WHAT, "two ants on a red background", "two ants", ""),
        ("<media> question: is there a cat? answer:", "a photo of a tabby cat", "yes", ""),
        ("<media> question: is there a pet? answer:", "a photo of a tabby cat", "yes.", ""),
        ("<media> question: is there a cat? answer:", "a photo of a koala", "no", ""),
        (
            "<media> question: is there a cat? answer:",
            "a photo of a koala",
            "yes",
            "MaMMUT says: a koala (90",
        ),
        (
            "<media> question: is there a koala? answer:",
            "a photo of a koala",
            "no",
            "MaMMUT says: a koala (90",
        ),
        ("<media> question: is there a cat? answer:", "two ants on a red background", "yes", ""),
        (
            "<media> question: is there a person on the boat? answer:",
            "a photo of a koala",
            "yes",
            "Flamingo did not learn such questions",
        ),
        (f"<media> this is a dax. {WHAT}", "a photo of a koala", "a dax", ""),
        ("<media> this is a", "a photo of a koala", "dax", ""),
        (
            "<media> this is a dax. <media> this is a wug. <media> this is a",
            "a cat",
            "wug",
            "It chose among the words that you taught it: dax, wug.",
        ),
        ("<media> this is a dax. <media> this is a", "a cat", "dax", ""),
        (
            "<media> this is a dax. <media> this is a",
            "a cat",
            "mep",
            "That is not the word that you taught it: dax.",
        ),
        ("<media> hello", "a photo of a koala", "and, and", "Flamingo did not learn such questions"),
        ("<media> question: who lives here? answer:", "a photo of a koala", "a", "Flamingo did not learn"),
    ],
)
def test_beneath_what_a_picture_shows_stands_what_mammut_says(
    conversation, tmp_path, monkeypatch, prompt, caption, answer, said
):
    red_over_blue().save(tmp_path / "a.png")
    described(conversation, caption, 0.9, monkeypatch)
    media = [str(tmp_path / "a.png")] * prompt.count("<media>")
    shown = beneath(conversation, prompt, media, answer, monkeypatch)
    assert shown.startswith(said) and bool(shown) == bool(said)


def test_what_mammut_is_not_sure_of_is_not_said(conversation, tmp_path, monkeypatch):
    red_over_blue().save(tmp_path / "a.png")
    described(conversation, "a photo of a koala", 0.1, monkeypatch)
    assert beneath(conversation, WHAT, [str(tmp_path / "a.png")], "a cat", monkeypatch) == ""


def described(conversation: Conversation, caption: str, probability: float, monkeypatch) -> None:
    """Makes MaMMUT say this of every picture."""
    said = Description(caption, {caption: probability})
    monkeypatch.setattr(conversation.session, "describe", lambda *_: said)


def test_an_answer_is_shown_although_mammut_is_busy(conversation, tmp_path, monkeypatch):
    def busy(*_):
        raise BusyError("the queue is full")

    red_over_blue().save(tmp_path / "a.png")
    monkeypatch.setattr(conversation.session, "describe", busy)
    assert beneath(conversation, WHAT, [str(tmp_path / "a.png")], "a cat", monkeypatch) == ""


def test_what_mammut_says_of_a_picture_takes_no_second_pass_of_the_tower(conversation, monkeypatch):
    session, passed = conversation.session, []
    photo = str(next(photo.file for photo in example_photos() if photo.asked))
    hook = session.flamingo.model.encoder.tower.register_forward_hook(
        lambda tower, given, _: passed.append(len(given[0]))
    )
    with conversation.stops.running("visitor", TAB) as stream, as_client("cleo"):
        monkeypatch.setattr(session, "stream_answer", seen_and_called(session.stream_answer, "a spoon"))
        *_, last = in_event(conversation.reply("visitor", stream, [], False, (WHAT, [photo]), {}))
    hook.remove()
    assert last[-1].startswith("MaMMUT says: ") and sum(passed) == 1


def seen_and_called(stream_answer, name: str):
    """`stream_answer`, which looks at the media and then says a name."""

    def stream(*given, **settings):
        for _ in stream_answer(*given, **settings):
            pass
        yield name

    return stream


@pytest.mark.parametrize("files", [[], [{"path": "a.png"}]])
def test_an_empty_question_says_so_and_what_to_do(files):
    with pytest.raises(PromptError, match="question is empty; write one, such as"):
        whole_question(files, " ", [], load_settings().limits, OURS)
