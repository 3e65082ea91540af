"""Which files a visitor may name and see."""

import json
import os
from dataclasses import replace

import pytest

from palm_demo.errors import MediaError
from palm_demo.ui.boundary.fair_memory import FairMemory
from palm_demo.ui.boundary.files import SHOWN, Files, check_extent, without_files
from palm_demo.ui.boundary.network import Network
from palm_demo.ui.boundary.requests import PageRequest
from palm_demo.ui.boundary.visitors import Visitors
from tests.ui.boundary import asked, cookie_of


@pytest.fixture
def visitors(unnamed) -> Visitors:
    return Visitors(Network.of("0.0.0.0"))


@pytest.fixture
def files(tmp_path) -> Files:
    (tmp_path / "up").mkdir()
    return Files(tmp_path / "up", most_bytes=1000)


def a_file(files: Files, name: str, owner=None, size_bytes: int = 10) -> str:
    (files.folder / name).write_bytes(b"x" * size_bytes)
    if owner is not None:
        files.grant(files.folder / name, owner)
    return f"{SHOWN}/{name}"


@pytest.fixture
def people(visitors):
    return [
        visitors.of(asked(peer, cookie=cookie_of(visitors, visitors.of(asked()), asked())))
        for peer in ("203.0.113.1", "203.0.113.2")
    ]


def test_a_file_is_its_visitors_and_comes_with_nothing_else(files, people):
    me, you = people
    sent = {
        "path": a_file(files, "a.png", me),
        "orig_name": "a.png",
        "size": 7,
        "is_stream": True,
        "url": None,
    }
    admitted = files.admit([{"files": [sent]}], me)[0]["files"][0]
    assert admitted["path"] == str(files.folder / "a.png") and set(admitted) == {"path", "orig_name", "meta"}
    files.check([[admitted]], me)
    for other in (you, None):
        with pytest.raises(MediaError, match="upload it first"):
            files.check([[admitted]], other)
    with pytest.raises(MediaError, match="upload it first"):
        files.admit([sent], you)


def test_paths_of_windows_are_hidden_and_named_by_either_separator(tmp_path):
    there = "C:\\Users\\me\\gradio"
    sent = json.loads(Files(there, 1000).hide(json.dumps([f"{there}\\a\\b.png", there]).encode()))
    assert sent == [f"{SHOWN}\\a\\b.png", SHOWN]
    files = Files(tmp_path, 1000, separator="\\")
    for shown in (sent[0], f"{SHOWN}/a/b.png", f"{SHOWN}/a\\b.png"):
        assert files.real(shown) == tmp_path / "a" / "b.png"
        assert files.shown(files.real(shown)) == f"{SHOWN}/a/b.png"
    for other in (f"{SHOWN}\\..\\b.png", "\\etc\\passwd", f"{SHOWN}\\", SHOWN):
        with pytest.raises(MediaError, match="upload it first"):
            files.real(other)


@pytest.mark.parametrize("url", ["https://e.example/a.png", "/file=/etc/passwd", 7])
def test_an_address_of_something_else_is_refused(files, people, url):
    path = a_file(files, "a.png", people[0])
    with pytest.raises(MediaError, match="no links"):
        files.admit({"path": path, "url": url}, people[0])


@pytest.mark.parametrize("url", ["blob:http://localhost/1", "data:image/svg+xml,%3Csvg/%3E"])
def test_an_address_in_the_browser_counts_for_nothing_beside_a_path(files, people, url):
    path = a_file(files, "a.svg", people[0])
    admitted = files.admit({"path": path, "url": url}, people[0])
    assert admitted["path"].endswith("a.svg") and "url" not in admitted
    with pytest.raises(MediaError):
        files.admit({"path": None, "url": url}, people[0])


def test_this_pages_own_address_of_a_file_is_the_file(files, people):
    path = a_file(files, "ä b.png", people[0])
    url = "http://localhost:7860/gradio_api/file=" + path.replace("ä", "%C3%A4").replace(" ", "%20")
    assert files.admit({"path": path, "url": url}, people[0])["path"].endswith("ä b.png")


def test_what_is_not_a_regular_file_of_the_right_size_is_refused(files, people, tmp_path):
    me = people[0]
    with pytest.raises(MediaError, match="at most 1,000 fit"):
        files.admit({"path": a_file(files, "large.png", me, 1001)}, me)
    os.mkfifo(files.folder / "pipe.png")
    os.symlink(files.folder / "large.png", files.folder / "link.png")
    os.symlink(tmp_path, files.folder / "out")
    for name in ("pipe.png", "link.png", "out", "out/up/large.png", "gone.png", "."):
        files.grant(files.folder / name, me)
        with pytest.raises(MediaError):
            files.admit({"path": f"{SHOWN}/{name}"}, me)
        assert not files.may_see(files.folder / name, me)


def test_what_is_deeper_than_any_call_is_refused(files, people):
    deep = {"path": a_file(files, "a.png", people[0])}
    for _ in range(40):
        deep = [deep]
    with pytest.raises(MediaError, match="levels deep"):
        files.admit(deep, people[0])


def test_the_page_shows_files_to_everybody_or_to_one(files, people):
    me, you = people
    for name in ("all.png", "one.png"):
        a_file(files, name)
    files.share({"components": [{"value": [{"image": {"path": str(files.folder / "all.png")}}]}]})
    files.grant_outputs([{"path": str(files.folder / "one.png")}], me)
    seen = [[files.may_see(files.folder / name, who) for name in ("all.png", "one.png")] for who in people]
    assert seen == [[True, True], [True, False]]
    assert files.may_see(files.folder / "one.png", replace(you, name=me.name))


def test_who_is_given_very_many_files_makes_nobody_else_lose_one(files, people):
    me, you = people
    files._granted = FairMemory(20, at_once=5)
    for name in ("mine.png", "all.png", *(f"{place}.png" for place in range(100))):
        a_file(files, name)
    files.share({"path": str(files.folder / "all.png")})
    files.grant(files.folder / "mine.png", me)
    many = [files.folder / f"{place}.png" for place in range(100)]
    for place, path in enumerate(many):
        files.grant(path, replace(you, name=f"cookie {place % 7}"))
        assert files.may_see(path, replace(you, name=f"cookie {place % 7}")), "the newest is forgotten"
    assert files.may_see(files.folder / "mine.png", me)
    assert files.may_see(files.folder / "all.png", me)
    assert not files.may_see(many[0], replace(you, name="cookie 0"))
    assert len(files._granted) <= 20


def test_a_name_that_no_file_can_have_is_refused_without_looking(files, people):
    for name in ("\ud800.png", "a/\udfff", "a\0.png"):
        with pytest.raises(MediaError, match="upload it first"):
            files.admit({"path": f"{SHOWN}/{name}"}, people[0])


def test_events_that_tell_of_very_deep_values_are_refused():
    deep = [1]
    for _ in range(400):
        deep = [deep]
    with pytest.raises(MediaError, match="levels deep"):
        without_files(deep)


def test_events_tell_of_places_and_not_of_files():
    told = {"index": [0, 1], "value": {"image": {"path": "/x"}, "caption": "a cat"}, "selected": True}
    assert without_files(told) == {
        "index": [0, 1],
        "value": {"image": None, "caption": "a cat"},
        "selected": True,
    }


def test_the_upload_folder_is_named_by_no_answer(files):
    told = f'{{"path": "{files.folder}/a.png", "url": "/file={files.folder}/a.png"}}'
    assert str(files.folder).encode() not in files.hide(told.encode())
    assert files.hide(told.encode()).count(SHOWN.encode()) == 2


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([[]] * 50_001, "more than 50,000 values"),
        ({"a": [{"b": 1}] * 30_000}, "more than 50,000 values"),
        ([{"path": "a"}] * 1_001, "more than 1,000 files"),
        ({str(n): {"url": "a"} for n in range(1_001)}, "more than 1,000 files"),
    ],
)
def test_a_call_has_so_many_values_and_files(value, said):
    with pytest.raises(MediaError, match=said):
        check_extent(value)


def test_every_json_body_is_bounded_in_extent():
    with pytest.raises(MediaError, match="more than 50,000 values"):
        PageRequest.parsed(b'{"data": [' + b"[]," * 50_001 + b"[]]}")
    assert PageRequest.parsed(b'{"data": [' + b"[]," * 49_000 + b"[]]}")
