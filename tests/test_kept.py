"""The cache of what was made from visitors' texts and pictures."""

from palm_demo.kept import KEPT_SECONDS, Kept


def test_what_was_asked_for_last_stays():
    kept: Kept[str] = Kept(max_bytes=20)
    kept.put("a", "A", 10)
    kept.put("b", "B", 10)
    assert kept.get("a") == "A"
    kept.put("c", "C", 10)
    kept.put("too large", "D", 21)
    assert (kept.get("a"), kept.get("b"), kept.get("c"), kept.get("too large")) == ("A", None, "C", None)
    assert kept.size_bytes == 20


def test_what_nobody_asks_for_is_forgotten_after_a_time():
    now = [0.0]
    kept: Kept[str] = Kept(max_bytes=100, clock=lambda: now[0])
    kept.put("a", "A", 10)
    kept.put("b", "B", 10)
    now[0] = KEPT_SECONDS - 1
    assert kept.get("b") == "B"
    now[0] = KEPT_SECONDS + 1
    assert kept.get("c") is None
    assert (len(kept), kept.size_bytes) == (1, 10)
    assert kept.get("b") == "B"


def test_what_is_forgotten_makes_room():
    kept: Kept[str] = Kept(max_bytes=20)
    kept.put(("ann", 1), "A", 10)
    kept.put(("bob", 1), "B", 10)
    kept.forget(lambda key: key[0] == "ann")
    assert (kept.get(("ann", 1)), kept.get(("bob", 1)), kept.size_bytes) == (None, "B", 10)
    kept.put(("bob", 2), "C", 10)
    assert kept.get(("bob", 1)) == "B"
