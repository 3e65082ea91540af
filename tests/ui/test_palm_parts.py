"""The PaLM tab's parts that need no browser: visitors' scopes, interleaved streams, words and colours."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import pytest

from palm_demo.checkpoints import load_adapter, save_adapter
from palm_demo.errors import BusyError, CheckpointError, FinetuningError, PromptError, ScopeError
from palm_demo.inference.scoring import TokenProbability
from palm_demo.installation import ASSETS
from palm_demo.settings import load_settings
from palm_demo.ui.palm.voices import PLAIN, VOICES, shown_name


@pytest.fixture
def clock():
    return [0.0]


@pytest.fixture
def own(new_palm, clock, tmp_path, monkeypatch):
    """A store of visitors' scopes on a tiny PaLM with one scope for everybody."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    from palm_demo.ui.palm.user_adapters import UserAdapters

    palm = new_palm()
    palm.add_scope("doyle", 2)
    session = SimpleNamespace(
        palm=SimpleNamespace(model=palm),
        scopes=["doyle"],
        save_adapter=lambda adapter, path: save_adapter(path, palm, adapter),
    )
    limits = replace(load_settings().limits, user_adapters=2, user_adapters_of_all=3, user_adapter_minutes=1)
    limits = replace(limits, user_adapters_of_address=2)
    return UserAdapters(session, limits, clock=lambda: clock[0])


def adapter_of(own, rank: int = 2):
    return own.session.palm.model.new_adapter(rank)


def keep(own, visitor: str, name: str, adapter) -> None:
    with own.place(visitor, name) as place:
        place.keep(adapter)


def test_a_scope_is_seen_by_its_owner_alone(own):
    mine = adapter_of(own)
    keep(own, "me", "letters", mine)
    assert own.names("me") == ["letters"] and own.names("you") == []
    assert own.choices("me")[-1] == ("letters (yours)", "own/letters")
    assert [value for _, value in own.choices("you")] == ["base", "doyle"]
    assert own.scope("me", "own/letters") is mine
    with pytest.raises(ScopeError, match="you have no voice 'letters'"):
        own.scope("you", "own/letters")


def test_voices_are_shown_by_their_authors_names_and_ones_own_by_their_own(own):
    keep(own, "me", "poe", adapter_of(own))
    assert own.choices("me") == [
        (PLAIN, "base"),
        ("Arthur Conan Doyle", "doyle"),
        ("poe (yours)", "own/poe"),
    ]
    assert shown_name("nobody-known") == "nobody-known"


def test_every_voice_that_comes_along_has_a_name_and_a_beginning():
    assert [*VOICES] == sorted(path.stem for path in (ASSETS / "weights" / "scopes").glob("*.safetensors"))


def test_a_choice_is_the_base_a_name_or_an_adapter(own):
    assert own.scope("me", "base") is None
    assert own.scope("me", "doyle") == "doyle"
    for unknown in ("verne", "own/", "letters", ""):
        with pytest.raises(ScopeError):
            own.scope("me", unknown)


def test_choices_are_mixed_by_their_strengths(own):
    mine = adapter_of(own)
    keep(own, "me", "letters", mine)
    assert own.mix("me", [("base", 1), ("base", 0.5)]) is None
    assert own.mix("me", [("doyle", 1), ("base", 0.5)]) == "doyle"
    assert own.mix("me", [("base", 1), ("own/letters", 1)]) is mine
    assert own.mix("me", [("doyle", 0.7), ("base", 0.5)]) == {"doyle": 0.7}
    assert own.mix("me", [("doyle", 0.7), ("own/letters", -0.5)]) == {"doyle": 0.7, mine: -0.5}
    assert own.mix("me", [("doyle", 0.5), ("doyle", 0.25)]) == {"doyle": 0.75}
    with pytest.raises(ScopeError, match="you have no voice 'letters'"):
        own.mix("you", [("doyle", 1), ("own/letters", 1)])


def test_the_file_is_the_scope_and_goes_with_it(own):
    keep(own, "me", "letters", adapter_of(own, rank=3))
    file = own.find("me", "letters").file
    assert file.name == "letters.safetensors"
    assert load_adapter(file, own.session.palm.model).rank == 3
    own.remove("me", "letters")
    assert not file.exists() and own.names("me") == []


def test_a_better_one_takes_the_place_of_the_one_before(own):
    better = adapter_of(own)
    with own.place("me", "letters") as place:
        place.keep(adapter_of(own))
        before = own.find("me", "letters").file
        place.keep(better)
    assert own.scope("me", "own/letters") is better and not before.exists()


def test_all_of_a_visitor_is_forgotten_on_leaving(own):
    for name in ("one", "two"):
        keep(own, "me", name, adapter_of(own))
    keep(own, "you", "one", adapter_of(own))
    files = [own.find("me", name).file for name in ("one", "two")]
    own.leave("me")
    assert own.names("me") == [] and own.names("you") == ["one"]
    assert not any(file.exists() for file in files)


def test_a_scope_is_forgotten_with_age(own, clock):
    keep(own, "me", "letters", adapter_of(own))
    file, clock[0] = own.find("me", "letters").file, 61.0
    with pytest.raises(ScopeError, match="after 1 minutes"):
        own.scope("me", "own/letters")
    assert not file.exists()


def test_the_file_of_a_scope_is_kept_as_long_as_the_scope(own, clock):
    for name in ("one", "two"):
        keep(own, "me", name, adapter_of(own))
    one, two = (str(own.find("me", name).file) for name in ("one", "two"))
    assert own.files == {one, two}
    own.remove("me", "one")
    assert own.files == {two}
    clock[0] = 61.0
    assert own.names("me") == [] and own.files == set()


@pytest.mark.parametrize("name", ["", "  ", "a b", "../up", "own/letters", None, 7, "a" * 65])
def test_a_bad_name_is_refused(own, name):
    with pytest.raises(ScopeError, match="is not allowed"):
        own.check_room("me", name)


def test_there_is_room_for_so_many_and_no_more(own):
    assert own.check_room("me", " letters ") == "letters"
    keep(own, "me", "one", adapter_of(own))
    with pytest.raises(ScopeError, match="already have a voice 'one'"):
        own.check_room("me", "one")
    keep(own, "me", "two", adapter_of(own))
    with pytest.raises(ScopeError, match="you have 2 voices and 2 fit"):
        own.check_room("me", "three")
    keep(own, "you", "one", adapter_of(own))
    with pytest.raises(BusyError, match="keeps 3 voices"):
        own.check_room("her", "one", "elsewhere")


def test_one_address_keeps_so_many_scopes_and_no_more(own):
    for visitor in ("me", "you"):
        with own.place(visitor, "one", "here") as place:
            place.keep(adapter_of(own))
    with pytest.raises(BusyError, match="keeps 2 voices of visitors from your address"):
        own.check_room("her", "one", "here")
    assert own.check_room("her", "one", "there") == "one"
    own.leave("you")
    assert own.check_room("her", "one", "here") == "one"
    with own.place("you", "one", "here"), pytest.raises(BusyError), own.place("her", "one", "here"):
        pass
    assert own.check_room("her", "one", "here") == "one"


def test_nothing_is_kept_for_who_is_not_known(own):
    with pytest.raises(ScopeError, match="keeps no cookie"):
        own.check_room(None, "one")


def interleave(*arguments):
    from palm_demo.ui.palm.compare import interleave

    return interleave(*arguments)


def test_merged_streams_say_all_that_each_says_in_its_order():
    streams = [iter("abc"), iter(()), iter("12345")]
    come = [said for some in interleave(streams, threading.Event()) for said in some]
    assert [delta for place, delta in come if place == 0] == list("abc")
    assert [delta for place, delta in come if place == 2] == list("12345")
    assert len(come) == 8


def endless(cancelled: threading.Event, ended: threading.Event):
    while not cancelled.is_set():
        yield "on "
    ended.set()


def test_an_error_of_one_stream_ends_all():
    def wrong():
        yield "so far"
        raise PromptError("it went wrong")

    cancelled, ended = threading.Event(), threading.Event()
    with pytest.raises(PromptError, match="it went wrong"):
        list(interleave([endless(cancelled, ended), wrong()], cancelled))
    assert ended.is_set()


def test_closing_ends_all_streams():
    cancelled, ended = threading.Event(), threading.Event()
    streams = interleave([endless(cancelled, ended)], cancelled)
    next(streams)
    streams.close()
    assert cancelled.is_set() and ended.is_set()


@pytest.mark.parametrize(
    ("bits", "said"),
    [
        ({PLAIN: 2.0, "doyle": 1.5, "poe": 1.9}, "by doyle: 100 in 100"),
        ({PLAIN: 1.4, "doyle": 1.5, "poe": 1.9}, "none of them"),
        ({PLAIN: 2.0, "mine (yours)": 1.9}, "more like mine"),
        ({PLAIN: 2.0}, "no voice to tell apart"),
        ({PLAIN: 4.3, "doyle": 4.1, "poe": 4.2}, "Unlike all of them"),
    ],
)
def test_the_best_guess_is_said_in_words(bits, said):
    from palm_demo.ui.palm.authors import verdict

    assert said in verdict(bits, "word " * 200)
    short = verdict(bits, "a few words")
    assert ("means little" in short) == ("doyle:" in short or "more like" in short)


def test_the_less_likely_a_token_the_redder_and_never_too_red_to_read():
    from palm_demo.ui.palm.tokens import red

    chances = (1.0, 0.9, 0.5, 0.01, 1e-9, 0.0)
    reds = [red(TokenProbability("x", chance, ())) for chance in chances]
    assert reds == sorted(reds) and reds[0] == 0 and reds[-1] == 0.6


@pytest.mark.parametrize(
    ("text", "among", "alone"),
    [
        (" the", " the", "␣the"),
        ("\n", "↵", "↵"),
        (",\n", ",↵", ",↵"),
        (" ", "␣", "␣"),
        ("", "·", "·"),
        ("a", "a", "a"),
    ],
)
def test_every_token_can_be_seen(text, among, alone):
    from palm_demo.ui.palm.tokens import shown, visible

    assert shown(text) == among and visible(text) == alone


def test_lessons_are_checked(tmp_path):
    from palm_demo.ui.palm.finetune import check_training_text, finetuning_config, read_training_text

    limits = replace(load_settings().limits, finetuning_bytes=10, finetuning_seconds=60, adapter_rank=8)
    assert check_training_text("ten bytes!", limits) == "ten bytes!"
    with pytest.raises(FinetuningError, match="has 12 bytes and at most 10"):
        check_training_text("é" * 6, limits)
    (tmp_path / "long.txt").write_text("x" * 11)
    with pytest.raises(FinetuningError, match=r"long.txt has 11 bytes and at most 10"):
        read_training_text(tmp_path / "long.txt", limits)
    (tmp_path / "odd.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FinetuningError, match=r"odd.txt is no text in UTF-8; save it"):
        read_training_text(tmp_path / "odd.txt", limits)
    for settings, said in (((61, 4, 0.003, 0), "seconds is 61"), ((60, 9, 0.003, 0), "rank is 9")):
        with pytest.raises(FinetuningError, match=said):
            finetuning_config(limits, *settings)


# two at once


def test_a_place_is_taken_before_the_scope_is_made(own):
    with own.place("me", " one ") as first, own.place("me", "two") as second:
        assert (first.name, second.name) == ("one", "two")
        with pytest.raises(ScopeError, match="you have 2 voices and 2 fit"):
            own.check_room("me", "three")
        with pytest.raises(ScopeError, match="already have a voice 'one'"), own.place("me", "one"):
            pass
        with own.place("you", "one"), pytest.raises(BusyError, match="keeps 3 voices"):
            own.check_room("her", "one")
        first.keep(adapter_of(own))
        first.keep(adapter_of(own, rank=3))
    assert own.names("me") == ["one"]
    assert own.scope("me", "own/one").rank == 3
    assert own.check_room("me", "two") == "two"


def test_of_many_at_once_as_many_are_kept_as_fit(own, tmp_path):
    barrier = threading.Barrier(8)

    def upload(number: int) -> bool:
        barrier.wait()
        try:
            with own.place("me", f"mine{number % 4}") as place:
                place.keep(adapter_of(own))
        except ScopeError:
            return False
        return True

    with ThreadPoolExecutor(8) as visitors:
        kept = sum(visitors.map(upload, range(8)))
    assert kept == len(own.names("me")) == 2
    assert len(list(tmp_path.rglob("*.safetensors"))) == 2


def test_keeping_beyond_the_caps_is_refused_and_leaves_no_file(own, tmp_path):
    for name in ("one", "two"):
        keep(own, "me", name, adapter_of(own))
    with pytest.raises(ScopeError, match="you have 2 voices"):
        keep(own, "me", "three", adapter_of(own))
    keep(own, "you", "one", adapter_of(own))
    with pytest.raises(BusyError, match="keeps 3 voices"):
        keep(own, "her", "one", adapter_of(own))
    assert len(list(tmp_path.rglob("*.safetensors"))) == 3


def test_what_was_in_the_making_when_its_visitor_left_is_not_kept(own, tmp_path):
    with own.place("me", "one") as place:
        own.leave("me")
        with pytest.raises(ScopeError, match="a visit that is over"):
            place.keep(adapter_of(own))
        with own.place("me", "one") as again:
            with pytest.raises(ScopeError, match="a visit that is over"):
                place.keep(adapter_of(own))
            again.keep(adapter_of(own))
    assert own.names("me") == ["one"] and len(list(tmp_path.rglob("*.safetensors"))) == 1


def test_removing_what_went_with_its_visitor_is_refused(own, monkeypatch):
    keep(own, "me", "one", adapter_of(own))
    own.leave("me")
    with pytest.raises(ScopeError, match="you have no voice 'one'"):
        own.remove("me", "one")


def test_a_scope_with_absurd_weights_is_not_taken(own, tmp_path):
    absurd = adapter_of(own)
    for weight in absurd.parameters():
        weight.data.fill_(1e6)
    save_adapter(tmp_path / "odd.safetensors", own.session.palm.model, absurd)
    with pytest.raises(CheckpointError, match="times the weights"), own.place("me", "odd"):
        load_adapter(tmp_path / "odd.safetensors", own.session.palm.model)
    assert own.check_room("me", "odd") == "odd"
