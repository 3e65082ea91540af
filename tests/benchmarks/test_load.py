"""The load campaign in its short form: the page bears it."""

import pytest

from benchmarks.load.__main__ import SHORT, Result, measure, shown
from benchmarks.load.visitors import Seen


@pytest.mark.slow
def test_visitors_are_answered_and_leave_nothing_behind():
    results = measure(SHORT)
    print(shown(results))
    assert [one.unexplained for one in results] == [0] * len(results)
    assert all(one.samples[-1].state.at_rest for one in results), "a text or a computation went on"
    for one in results:
        assert sum(seen.requests for seen in one.seen) > 0
    before, after = results[0].samples[-1].state.threads, results[-1].samples[-1].state.threads
    assert after <= before + 32, f"threads did not come back: {before} and then {after}"
    beside = results[-1].seen[0]
    assert not beside.errors and {"ten_tokens", "search"} <= set(beside.seconds)


def test_visitors_are_compared_by_what_each_verb_usually_takes():
    writer, searcher = Seen({"write": [8.0, 8.0]}), Seen({"search": [0.5]})
    both = Seen({"write": [8.0], "search": [0.5]})
    assert Result("", [writer, searcher, both], [], 0.0).slowest_to_fastest == 1
    slow = Seen({"search": [1.5]})
    assert Result("", [searcher, searcher, slow], [], 0.0).slowest_to_fastest == 3
