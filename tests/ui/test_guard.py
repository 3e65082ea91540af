"""The guard of a page that is served: what visitors can reach of each other and of the server."""

import errno
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from gradio.route_utils import GradioUploadFile

from palm_demo.errors import LeftError
from palm_demo.internals import http_protocol
from palm_demo.internals.gradio_files import upload_folder
from palm_demo.settings import load_settings
from palm_demo.ui.boundary import timeouts
from palm_demo.ui.boundary.files import SHOWN
from tests.ui.boundary import watched

JSON = {"content-type": "application/json"}


@pytest.fixture
def visitor(address) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, timeout=60) as client:
        client.get("config")
        yield client


@pytest.fixture
def other(address) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, timeout=60) as client:
        client.get("config")
        yield client


@pytest.fixture(scope="module")
def config(address) -> dict:
    return httpx.get(f"{address}config").json()


def number_of(config: dict, name: str) -> int:
    return next(event["id"] for event in config["dependencies"] if event["api_name"] == name)


def join(client: httpx.Client, config: dict, session: str, name: str, *data) -> httpx.Response:
    body = {"data": data, "fn_index": number_of(config, name), "session_hash": session}
    return client.post("gradio_api/queue/join", json=body)


def write(client: httpx.Client, config: dict, session: str, tokens: int = 200) -> str:
    """Has a text written; the id of its event."""
    settings = [None, tokens, 0.7, 0, 0.9, 1.1, [], 7, 0.0]
    answer = join(client, config, session, "generate", "It was a dark night, and", *settings)
    assert answer.status_code == 200, answer.text
    return answer.json()["event_id"]


def heard(client: httpx.Client, session: str) -> list[dict]:
    with client.stream("GET", "gradio_api/queue/data", params={"session_hash": session}) as lines:
        assert lines.status_code == 200
        return [json.loads(line.removeprefix("data: ")) for line in lines.iter_lines() if line]


def ended_well(messages: list[dict]) -> bool:
    ended = [message for message in messages if message["msg"] == "process_completed"]
    return len(ended) == 1 and ended[0]["success"] and bool(ended[0]["output"]["data"][0])


@pytest.mark.slow
def test_anothers_session_is_neither_heard_nor_stopped(visitor, other, config, address):
    event = write(visitor, config, "victim")
    number = number_of(config, "generate")
    with httpx.Client(base_url=address) as nobody:
        for stranger in (other, nobody):
            listening = stranger.get("gradio_api/queue/data", params={"session_hash": "victim"})
            assert listening.status_code == 404
            assert stranger.get(f"gradio_api/call/generate/{event}").status_code == 404
            for session in ("victim", "own"):
                body = {"session_hash": session, "fn_index": number, "event_id": event}
                assert stranger.post("gradio_api/cancel", json=body).status_code == 404
            with stranger.stream("GET", "gradio_api/heartbeat/victim") as beating:
                assert beating.status_code == 200
            deep = stranger.get("gradio_api/deep_link", params={"session_hash": "victim"})
            assert deep.status_code == 404
    assert ended_well(heard(visitor, "victim"))


@pytest.mark.parametrize("road", ["call", "queue"])
def test_what_is_computed_for_who_leaves_ends(road, visitor, config, session, monkeypatch):
    """A long scoring, of which the client stops to wait for the answer."""
    ended, who_wrote = [], session.who_wrote

    def noting(*told):
        begun.set()
        try:
            return who_wrote(*told)
        except Exception as error:
            ended.append(type(error))
            raise
        finally:
            over.set()

    begun, over = threading.Event(), threading.Event()
    monkeypatch.setattr(session, "who_wrote", noting)
    text = "It was a dark night, and the old man went down to the sea. " * 250
    if road == "call":
        event = visitor.post("gradio_api/call/who_wrote", json={"data": [text]}).json()["event_id"]
        stream = ("gradio_api/call/who_wrote/" + event, {})
    else:
        assert join(visitor, config, "leaver", "who_wrote", text).status_code == 200
        stream = ("gradio_api/queue/data", {"session_hash": "leaver"})
    with visitor.stream("GET", stream[0], params=stream[1]) as listening:
        assert listening.status_code == 200 and begun.wait(60)
    assert over.wait(60) and ended == [LeftError]
    assert session.turns.inside == 0


def test_a_visitor_cancels_an_event_of_their_own(visitor, config):
    event = write(visitor, config, "mine")
    body = {"session_hash": "mine", "fn_index": number_of(config, "generate"), "event_id": event}
    assert visitor.post("gradio_api/cancel", json=body).status_code == 200


def test_who_keeps_no_cookies_is_answered_all_the_same(address, config):
    with httpx.Client(base_url=address) as first:
        write(first, config, "no-cookies", 3)
    with httpx.Client(base_url=address) as again:
        assert ended_well(heard(again, "no-cookies"))
    body = {"data": ["The night was", None, 3, 0.0, 0, 0.9, 1.1, [], 7]}
    started = httpx.post(f"{address}gradio_api/call/generate", json=body).json()["event_id"]
    assert "event: complete" in httpx.get(f"{address}gradio_api/call/generate/{started}").text


def test_who_first_comes_by_a_call_gets_a_cookie_that_alone_opens_its_session(address, config):
    with httpx.Client(base_url=address) as newcomer:
        write(newcomer, config, "newcomer", 3)
        assert len(newcomer.cookies) == 1
        assert ended_well(heard(newcomer, "newcomer"))
        write(newcomer, config, "newcomer", 3)
        stranger = httpx.get(f"{address}gradio_api/queue/data", params={"session_hash": "newcomer"})
        assert stranger.status_code == 404


@pytest.mark.parametrize("name", ["/etc/passwd", "a b", "", "x" * 65, 7, None, ["a"], "../x", "a\0b"])
def test_a_session_has_a_plain_name(visitor, config, name):
    assert join(visitor, config, name, "scopes").status_code == 422


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "dev/reload"),
        ("POST", "process_recording"),
        ("GET", "startup-events"),
        ("GET", "deep_link"),
        ("POST", "component_server"),
        ("GET", "openapi.json"),
        ("GET", "queue/status"),
        ("GET", "token"),
        ("GET", "user"),
        ("GET", "login_check"),
        ("GET", "proxy=https://a.hf.space/x"),
        ("GET", "file=http://127.0.0.1:9/x"),
        ("GET", "file=https://example.com/x"),
        ("GET", "file/etc/passwd"),
        ("GET", "stream/a/b/1/playlist.m3u8"),
        ("POST", "stream/abc"),
        ("POST", "stream/abc/close"),
        ("GET", "custom_component/a/client/b/c"),
        ("GET", "profiling/traces"),
        ("GET", "vibe-code"),
        ("POST", "vibe-edit"),
        ("GET", "mcp/sse"),
        ("PUT", "queue/join"),
        ("POST", "run/upload/extra"),
        ("OPTIONS", "queue/join"),
        ("GET", "../monitoring"),
        ("GET", "../monitoring/summary"),
        ("POST", "../login"),
        ("GET", "../pwa_icon"),
        ("GET", "../static/../../../etc/passwd"),
        ("GET", "../assets/%2e%2e/%2e%2e/%2e%2e/etc/passwd"),
        ("GET", "../static/%00"),
        ("GET", "call/generate/abc"),
        ("GET", "call/upload/abc"),
        ("GET", "queue/data?session_hash=abc"),
        ("GET", "upload_progress"),
    ],
)
def test_what_the_page_does_not_use_is_not_served(visitor, method, path, caplog):
    with watched() as seen:
        answer = visitor.request(method, f"gradio_api/{path}", json={} if method == "POST" else None)
    assert 400 <= answer.status_code < 500 and "Traceback" not in answer.text + caplog.text
    assert not [one for one in seen if one.startswith("socket.") and "127.0.0.1" not in one]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("queue/join", {"data": [], "fn_index": -1, "session_hash": "a"}),
        ("queue/join", {"data": [], "fn_index": 10**9, "session_hash": "a"}),
        ("queue/join", {"data": [], "fn_index": True, "session_hash": "a"}),
        ("queue/join", {"data": {}, "fn_index": 0, "session_hash": "a"}),
        ("queue/join", {"session_hash": "a", "fn_index": 0}),
        ("queue/join", []),
        ("queue/join", "x"),
        ("run/predict", {"data": [], "fn_index": -1}),
        ("run/upload", {"data": []}),
        ("run/who_wrote", {"data": ["words"]}),
        ("api/who_wrote", {"data": ["words"]}),
        ("run/scopes", {"data": [1, 2, 3]}),
        ("call/upload", {"data": []}),
        ("call/on_search", {"data": []}),
        ("call/v2/nothing", {}),
        ("call/v2/caption", {"unknown": 1}),
        ("cancel", {"session_hash": "a", "fn_index": 0, "event_id": "x"}),
        ("cancel", {"session_hash": "a", "fn_index": "x", "event_id": None}),
        ("cancel", {}),
        ("reset", []),
    ],
)
def test_nonsense_is_the_clients_fault_and_leaves_no_traceback(visitor, path, body, caplog, capfd):
    answer = visitor.post(f"gradio_api/{path}", json=body)
    assert 400 <= answer.status_code < 500, answer.text
    out, err = capfd.readouterr()
    assert "Traceback" not in answer.text + caplog.text + out + err


@pytest.mark.slow
def test_values_that_fit_no_event_leave_no_traceback(visitor, config, capfd):
    """Of the events without a queue each is sent values that its handler does not expect."""
    quick = [event for event in config["dependencies"] if not event["queue"] and event["backend_fn"]]
    assert quick
    for event in quick:
        for value in (999, "words", [], {"a": 1}, None, -1):
            body = {"data": [value] * len(event["inputs"]), "fn_index": event["id"], "session_hash": "a"}
            answer = visitor.post("gradio_api/run/predict", json=body)
            assert answer.status_code < 500, (event["api_name"], value, answer.text)
    out, err = capfd.readouterr()
    assert "Traceback" not in out + err


def test_bodies_are_bounded_before_they_are_read_as_json(visitor):
    answer = visitor.post("gradio_api/run/upload", content=b'{"data": ["' + b"x" * 1_100_000)
    assert answer.status_code == 413
    for body in (b"[" * 200_000, b"{", b"\xff", b""):
        answer = visitor.post(
            "gradio_api/queue/join", content=body, headers={"content-type": "application/json"}
        )
        assert answer.status_code in (400, 422)


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


@pytest.mark.parametrize(
    "path", ["", "config", "healthz", "theme.css", "gradio_api/info", "gradio_api/nothing"]
)
def test_every_answer_says_what_a_browser_may_do_with_it(visitor, path):
    headers = visitor.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "strict-origin-when-cross-origin"
    policy = headers["content-security-policy"]
    assert "frame-ancestors 'self'" in policy and "huggingface" not in policy


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


@pytest.mark.parametrize(
    "headers",
    [{"host": "evil.example"}, {"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}],
)
def test_the_loopback_answers_no_other_site(visitor, headers):
    for path in ("", "config", "healthz", "gradio_api/info"):
        assert visitor.get(path, headers=headers).status_code == 403


def test_a_request_that_never_ends_is_closed(address, monkeypatch):
    """Half a request, and a body of which one byte comes: the server ends both by itself."""
    monkeypatch.setattr(http_protocol, "HEADER_SECONDS", 0.2)
    monkeypatch.setattr(timeouts, "BODY_SECONDS", 0.2)
    port = httpx.URL(address).port
    halves = (
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
        b"POST /gradio_api/queue/join HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90\r\n\r\n{",
        b"POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90\r\n"
        b"Content-Type: multipart/form-data; boundary=edge\r\n\r\n--",
        b"",
    )
    for half in halves:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            connection.sendall(half)
            told = b""
            while piece := connection.recv(1000):
                told += piece
                if b"\r\n\r\n" in told and b"408" in told:
                    break
            assert not told or b" 408 " in told


def test_a_connection_that_was_used_may_be_used_again(address):
    assert http_protocol.KEEP_ALIVE_SECONDS == 75
    with httpx.Client(base_url=address) as client:
        assert {client.get("healthz").status_code for _ in range(3)} == {200}
