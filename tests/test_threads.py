"""Which thread computes."""

import threading

import pytest

from palm_demo.threads import apart


def test_what_runs_apart_has_a_thread_of_its_own_that_ends_with_it():
    ran = []

    @apart
    def which(answer: int) -> int:
        """Documented."""
        ran.append(threading.current_thread())
        return answer

    assert [which(1), which(answer=2)] == [1, 2]
    assert len({threading.main_thread(), *ran}) == 3
    assert not any(thread.is_alive() for thread in ran)
    assert (which.__name__, which.__doc__) == ("which", "Documented.")


def test_what_goes_wrong_apart_is_raised_here():
    @apart
    def fail():
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        fail()


@pytest.mark.parametrize("verb", ["generate", "bits_per_byte", "embed_texts"])
def test_a_session_computes_in_no_thread_of_its_callers(session, verb):
    seen = []

    def see(*_):
        seen.append(threading.current_thread())

    decoder = session.mammut.decoder if verb == "embed_texts" else session.palm.decoder
    watch = decoder.register_forward_hook(see)
    try:
        getattr(session, verb)(["a cat"] if verb == "embed_texts" else "Once upon a time")
    finally:
        watch.remove()
    assert seen
    assert threading.current_thread() not in seen
