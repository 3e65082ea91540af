"""The page's parts that need no server: prompts, stops and messages."""

import pytest

from palm_demo.inference.prompts import OURS
from palm_demo.ui import streaming
from palm_demo.ui.flamingo.conversation import labelled
from palm_demo.ui.mammut.wall import listed
from palm_demo.ui.messages import sentence
from palm_demo.ui.streaming import Stops


@pytest.mark.parametrize(
    ("typed", "media", "prompt"),
    [
        ("Is there a cat?", 1, "<media> question: is there a cat? answer:"),
        ("Is there a cat?", 2, "<media> <media> question: is there a cat? answer:"),
        ("<media> Is there a cat?", 1, "<media> question: is there a cat? answer:"),
        ("<media> is a dax. <media> is a", 2, "<media> is a dax. <media> is a"),
        ("<media> caption:", 1, "<media> caption:"),
        ("caption:", 1, "<media> caption:"),
        ("once upon", 0, "once upon"),
        ("Describe this picture.", 1, "<media> caption:"),
        ("Do you see a cat?", 1, "<media> question: is there a cat? answer:"),
    ],
)
def test_prompt_is_put_together_as_flamingo_learned_it(typed, media, prompt):
    assert OURS.completed(typed, media) == prompt


def test_marks_have_the_names_of_their_media(media):
    files = [media / "red.png", media / "short.mp4"]
    assert labelled("<media> and <media> end", files) == [
        ("<media>", "picture 1"),
        (" and ", None),
        ("<media>", "video 2"),
        (" end", None),
    ]


def test_stop_reaches_the_stream_of_its_visitor_and_tab_alone():
    stops = Stops()
    mine, other_tab, other = stops.arm("me", "palm"), stops.arm("me", "flamingo"), stops.arm("you", "palm")
    stops.stop("me", "palm")
    assert mine.is_set() and not other_tab.is_set() and not other.is_set()


def test_stop_before_the_stream_begins_is_kept():
    stops = Stops()
    stops.arm("me", "palm")
    stops.stop("me", "palm")
    with stops.running("me", "palm") as event:
        assert event.is_set()


def test_new_stream_stops_the_earlier_one_and_outlives_its_end():
    stops = Stops()
    with stops.running("me", "palm") as earlier:
        later = stops.arm("me", "palm")
        assert earlier.is_set()
    with stops.running("me", "palm") as event:
        assert event is later


def test_leaving_stops_all_of_a_visitor():
    stops = Stops()
    events = [stops.arm("me", "palm"), stops.arm("me", "flamingo")]
    stops.leave("me")
    assert all(event.is_set() for event in events)


def test_what_is_kept_of_pictures_that_are_shown_has_no_pixels(session):
    kept = listed(session.gallery.sample(3, 7))
    assert len(kept) == 3 and all(isinstance(value, str) for one in kept for value in one)


def test_streams_that_never_begin_are_remembered_no_longer_than_others_need_to_begin(monkeypatch):
    monkeypatch.setattr(streaming, "REMEMBERED", 3)
    stops = Stops()
    last = [stops.arm(f"visitor {number}", "palm") for number in range(9)][-1]
    stops.stop("visitor 8", "palm")
    assert last.is_set() and len(stops._streams) == 3


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("the prompt is empty", "The prompt is empty."),
        ("ZeroGPU cannot be reached", "ZeroGPU cannot be reached."),
        ("captions.csv is gone", "captions.csv is gone."),
    ],
)
def test_a_message_begins_with_a_capital_and_names_keep_theirs(message, shown):
    assert sentence(message) == shown
