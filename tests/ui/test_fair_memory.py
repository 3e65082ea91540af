"""What is remembered of many, and that one of them cannot push out what is another's."""

from types import SimpleNamespace

from palm_demo.internals.gradio_sessions import ForgettingStateHolder
from palm_demo.ui.boundary.fair_memory import FairMemory
from palm_demo.ui.boundary.gradio_insides import GuardedBlocks


def test_who_has_the_most_loses_the_oldest():
    memory = FairMemory(4)
    memory.remember("mine", "me", 1)
    for number in range(50):
        forgotten = memory.remember(f"theirs {number}", "them", number)
        assert forgotten == ([] if number < 3 else [f"theirs {number - 3}"])
        assert memory.get("mine") == 1 and memory.get(f"theirs {number}") == number
    assert len(memory) == 4


def test_what_is_used_again_is_the_newest():
    memory = FairMemory(3)
    for key in ("a", "b", "c", "a"):
        memory.remember(key, "me", key)
    assert memory.remember("d", "me", "d") == ["b"]
    assert "a" in memory and "b" not in memory and memory.get("b") is None


def test_many_are_forgotten_at_once_and_at_most_half_of_an_addresss():
    memory = FairMemory(10, at_once=100)
    for number in range(10):
        memory.remember(number, "me", None)
    assert memory.remember(10, "me", None) == [0, 1, 2, 3, 4, 5]
    assert len(memory) == 5


def test_what_was_forgotten_is_not_counted():
    memory = FairMemory(2)
    memory.remember("a", "me", None)
    memory.forget("a")
    memory.forget("never there")
    memory.remember("b", "me", None)
    memory.remember("c", "them", None)
    assert memory.remember("d", "them", None) == ["c"]


def test_one_address_with_very_many_sessions_ends_its_own_oldest():
    page, left = GuardedBlocks(analytics_enabled=False), []
    page.state_session_capacity = 10
    page.sessions, page.listeners = FairMemory(4), SimpleNamespace(leave=left.append)
    holder = ForgettingStateHolder()
    holder.set_blocks(page)
    for session, address in (("mine", "me"), *((f"theirs {number}", "them") for number in range(50))):
        assert holder[session] is not None
        page._remember(session, address)
    assert (
        [*holder.session_data] == [*holder.time_last_used] == ["mine", "theirs 47", "theirs 48", "theirs 49"]
    )
    assert left == [f"theirs {number}" for number in range(47)]
