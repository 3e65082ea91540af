"""Which thread computes."""

import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from palm_demo.concurrency import locked_cached_property, run_in_thread

VISITORS = 6


def test_what_runs_apart_has_a_thread_of_its_own_that_ends_with_it():
    ran = []

    @run_in_thread
    def which(answer: int) -> int:
        """Documented."""
        ran.append(threading.current_thread())
        return answer

    assert [which(1), which(answer=2)] == [1, 2]
    assert len({threading.main_thread(), *ran}) == 3
    assert not any(thread.is_alive() for thread in ran)
    assert (which.__name__, which.__doc__) == ("which", "Documented.")


def test_what_goes_wrong_apart_is_raised_here():
    @run_in_thread
    def fail():
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        fail()


@pytest.mark.parametrize("verb", ["generate", "bits_per_byte", "embed_texts"])
def test_a_session_computes_in_no_thread_of_its_callers(session, verb):
    seen = []

    def see(*_):
        seen.append(threading.current_thread())

    decoder = session.mammut.model.decoder if verb == "embed_texts" else session.palm.model.decoder
    watch = decoder.register_forward_hook(see)
    try:
        getattr(session, verb)(["a cat"] if verb == "embed_texts" else "Once upon a time")
    finally:
        watch.remove()
    assert seen
    assert threading.current_thread() not in seen


# what is made once


class Slow:
    """Something that takes as long as it takes for others to ask."""

    def __init__(self):
        self.made, self.asked = [], threading.Event()

    @locked_cached_property
    def thing(self) -> object:
        """Documented."""
        self.made.append(threading.current_thread())
        self.asked.wait(0.05)
        return object()

    @locked_cached_property
    def other(self) -> object:
        return self.thing, self.third

    @locked_cached_property
    def third(self) -> int:
        return 3


class Plain:
    def __init__(self, fails: int):
        self.fails = fails

    @locked_cached_property
    def thing(self) -> int:
        self.fails -= 1
        if self.fails >= 0:
            raise OSError("not yet")
        return 7


def at_once(ask) -> list:
    """What each of six threads gets that ask at the same time."""
    barrier = threading.Barrier(VISITORS)

    def visit(_) -> object:
        barrier.wait()
        return ask()

    with ThreadPoolExecutor(VISITORS) as visitors:
        return list(visitors.map(visit, range(VISITORS)))


def test_what_six_threads_ask_for_at_once_is_made_once():
    slow = Slow()
    things = at_once(lambda: slow.thing)
    assert len(slow.made) == 1 and len(set(map(id, things))) == 1
    assert slow.thing is things[0] and Slow.thing.__doc__ == "Documented."


def test_each_object_has_its_own():
    one, other = Slow(), Slow()
    assert one.thing is not other.thing and len(one.made) == len(other.made) == 1


def test_one_property_may_ask_for_others():
    slow = Slow()
    assert len(set(map(id, at_once(lambda: slow.other)))) == 1
    assert slow.other == (slow.thing, 3)


def test_what_failed_is_tried_again_by_the_next():
    plain = Plain(fails=1)
    with pytest.raises(OSError, match="not yet"):
        plain.thing  # noqa: B018
    assert plain.thing == 7


def test_an_object_is_copied_and_pickled_with_what_was_made():
    plain = Plain(fails=0)
    assert plain.thing == 7
    for again in (copy.deepcopy(plain), pickle.loads(pickle.dumps(plain))):
        assert vars(again) == vars(plain) and again.thing == 7
    plain.fails = 1
    del vars(plain)["thing"]
    with pytest.raises(OSError, match="not yet"):
        plain.thing  # noqa: B018


def test_six_first_searches_at_once_build_one_gallery(session, monkeypatch):
    from palm_demo.session import session as module

    opened = []
    monkeypatch.setattr(module, "open_or_begin", lambda *_: opened.append(1) or object())
    fresh = module.Session(session.models, session.media_limits)
    galleries = at_once(lambda: fresh.gallery)
    assert len(opened) == 1 and len(set(map(id, galleries))) == 1


def test_nothing_uses_the_property_without_a_lock(assets):
    modules = (assets.parent / "palm_demo").rglob("*.py")
    assert not [str(path) for path in modules if "import cached_property" in path.read_text("utf-8")]
