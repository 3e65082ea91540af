"""The guard of a page that is served: which requests reach the page, and how its answers are headed."""

import socket

import httpx
import pytest

from palm_demo.internals import http_protocol
from palm_demo.ui.boundary import timeouts
from tests.ui.boundary import watched


def nested(levels: int) -> list:
    value: list = []
    for _ in range(levels):
        value = [value]
    return value


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
        ("cancel", {"session_hash": "a", "fn_index": nested(900), "event_id": "x"}),
        ("queue/join", {"data": [], "fn_index": 0, "session_hash": "a", "event_data": nested(300)}),
        ("queue/join", {"data": [nested(900)], "fn_index": 0, "session_hash": "a"}),
        ("call/v2/who_wrote", {"text": nested(900)}),
    ],
)
def test_nonsense_is_the_clients_fault_and_leaves_no_traceback(visitor, path, body, caplog, capfd):
    answer = visitor.post(f"gradio_api/{path}", json=body)
    assert 400 <= answer.status_code < 500, answer.text
    out, err = capfd.readouterr()
    assert "Traceback" not in answer.text + caplog.text + out + err


def test_the_page_is_served_whatever_stands_behind_its_address(visitor, capfd):
    for query in ("page=x", "deep_link=../../x", "page=x&deep_link=%00&tab=palm", "__theme=<script>", "&&=="):
        for path in ("", "config"):
            assert visitor.get(f"{path}?{query}").status_code == 200
    long = "multipart/form-data; boundary=" + "a" * 3000
    answer = visitor.post("gradio_api/upload", content=b"", headers={"content-type": long})
    assert answer.status_code == 400 and "send files" in answer.text
    assert visitor.get(f"static/{'a' * 5000}").status_code == 404
    assert "Traceback" not in "".join(capfd.readouterr())


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


@pytest.mark.parametrize(
    "path", ["", "config", "healthz", "theme.css", "gradio_api/info", "gradio_api/nothing"]
)
def test_every_answer_says_what_a_browser_may_do_with_it(visitor, path):
    headers = visitor.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "strict-origin-when-cross-origin"
    policy = headers["content-security-policy"]
    assert "frame-ancestors 'self'" in policy and "huggingface" not in policy


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
