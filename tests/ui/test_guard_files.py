"""The guard of a page that is served: files that are uploaded and served."""

import errno
import json
import os
from pathlib import Path

import httpx
import pytest
from gradio.route_utils import GradioUploadFile

from palm_demo.internals.gradio_files import upload_folder
from palm_demo.settings import load_settings
from palm_demo.ui.boundary.files import SHOWN
from tests.ui.boundary import heard, write


@pytest.fixture
def uploaded(visitor, tmp_path) -> str:
    (tmp_path / "ten.txt").write_bytes(b"0123456789")
    with (tmp_path / "ten.txt").open("rb") as file:
        return visitor.post("gradio_api/upload", files={"files": file}).json()[0]


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ("bytes=0-3", 206), ("bytes=-3", 206), ("bytes=8-", 206), ("bytes=3-2", 400), ("bytes=1-2-3", 400),
        ("bytes=junk", 400), ("bytes=99-100", 416), ("bytes=0-1,3-4", 206), (f"bytes=0-{'9' * 400}", 206),
        ("x=1-2", 400),
    ],
)  # fmt: skip
def test_ranges_are_served_or_refused(visitor, uploaded, asked, status, capfd):
    answer = visitor.get(f"gradio_api/file={uploaded}", headers={"range": asked})
    assert answer.status_code in ({200, 206} if status == 206 else {200, 400, 416}), answer.text
    assert "Traceback" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("name", ["page.html", "drawing.svg", "words.txt", "data.json", "script.js", "x.xml"])
def test_what_a_browser_could_run_is_a_download(visitor, name):
    body = b"<script>alert(1)</script>"
    path = visitor.post("gradio_api/upload", files={"files": (name, body)}).json()[0]
    answer = visitor.get(f"gradio_api/file={path}")
    assert answer.content == body
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_no_answer_names_a_place_of_the_server(visitor, config, session, uploaded):
    places = {os.environ["GRADIO_TEMP_DIR"], str(Path(os.environ["GRADIO_TEMP_DIR"]).resolve()), os.getcwd()}
    places |= {str(Path.home()), "site-packages"}
    told = [visitor.get(path).text for path in ("", "config", "gradio_api/info/?all_endpoints=true")]
    body = {"data": ["cat", 1, None, "left", None, None, None, 3]}
    started = visitor.post("gradio_api/call/make_scene", json=body).json()["event_id"]
    told.append(visitor.get(f"gradio_api/call/make_scene/{started}").text)
    write(visitor, config, "places", 3)
    told.append(json.dumps(heard(visitor, "places")))
    for text in (*told, uploaded):
        assert not [place for place in places if place in text]
    assert SHOWN in uploaded and SHOWN in told[1] and SHOWN in told[3]


def test_uploads_are_counted_in_files(session, settings, serve):
    from dataclasses import replace

    few = replace(settings, limits=replace(load_settings().limits, uploads_per_minute=10))
    with httpx.Client(base_url=serve(session, few)) as client:
        many = [("files", (f"{number}.txt", b"x")) for number in range(11)]
        for headers in ({}, {"x-forwarded-for": "203.0.113.9"}):
            refused = client.post("gradio_api/upload", files=many, headers=headers)
            assert refused.status_code == 429 and "wait a moment" in refused.text
        assert not [*Path(os.environ["GRADIO_TEMP_DIR"]).glob("tmp*")], "what was refused is left behind"


@pytest.mark.parametrize(
    "files",
    [
        [("files", (None, "a field"))],
        [("other", ("a.txt", b"x"))],
        [("files", (None, "a")), ("files", ("b", b""))],
    ],
)
def test_a_form_without_a_file_is_no_server_error(visitor, files, capfd):
    answer = visitor.post("gradio_api/upload", files=files)
    assert answer.status_code in (200, 400)
    assert "Traceback" not in "".join(capfd.readouterr())


def test_an_upload_that_a_full_disk_ends_is_told_and_leaves_nothing(visitor, monkeypatch, capfd):
    async def half(file, data: bytes) -> None:
        file.file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    def there() -> set[Path]:
        return {*upload_folder().rglob("*")}

    before = there()
    with monkeypatch.context() as full:
        full.setattr(GradioUploadFile, "write", half)
        answer = visitor.post("gradio_api/upload", files={"files": ("a.png", b"x" * 100_000)})
    assert answer.status_code == 507 and "cannot keep files now" in answer.json()["error"]
    assert answer.headers["retry-after"] and there() == before
    assert "Traceback" not in "".join(capfd.readouterr())
    assert visitor.post("gradio_api/upload", files={"files": ("a.png", b"x")}).status_code == 200


def test_progress_of_an_upload_is_its_visitors_to_see(visitor, other):
    assert other.get("gradio_api/upload_progress", params={"upload_id": "../x"}).status_code == 400
    visitor.post("gradio_api/upload", params={"upload_id": "mine"}, files={"files": ("a.txt", b"x")})
    assert other.get("gradio_api/upload_progress", params={"upload_id": "mine"}).status_code == 404
