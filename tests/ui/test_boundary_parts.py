"""The parts of the trust boundary that need no server: addresses, visitors, files, quotas, timeouts."""

import asyncio
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import pytest

from palm_demo.errors import ArgumentError, BusyError, MediaError
from palm_demo.settings import load_settings
from palm_demo.ui.boundary import timeouts
from palm_demo.ui.boundary.files import SHOWN, Files, without_files
from palm_demo.ui.boundary.network import Network
from palm_demo.ui.boundary.requests import OneAtATimePerAddress
from palm_demo.ui.boundary.responses import PublicApp
from palm_demo.ui.boundary.upload_quotas import CountedUpload, UploadQuotas
from palm_demo.ui.boundary.visitors import CALLER, Visitors, nobody_at

VARIABLES = ("PALM_DEMO_PROXIES", "PALM_DEMO_HOSTS", "SPACE_ID", "SPACE_HOST")


@pytest.fixture(autouse=True)
def unnamed(monkeypatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def asked(peer: str = "127.0.0.1", scheme: str = "http", **headers: str) -> dict:
    named = {"host": "localhost:7860"} | {name.replace("_", "-"): value for name, value in headers.items()}
    pairs = [(name.encode(), value.encode()) for name, value in named.items() if value]
    return {"type": "http", "client": (peer, 1), "scheme": scheme, "headers": pairs}


def test_forwarded_addresses_are_believed_of_a_named_proxy_alone(monkeypatch):
    forwarded = {"x_forwarded_for": "203.0.113.9, 10.0.0.7"}
    assert Network.of("0.0.0.0").address(asked("10.0.0.8", **forwarded)) == "10.0.0.8"
    monkeypatch.setenv("PALM_DEMO_PROXIES", "10.0.0.0/8")
    network = Network.of("0.0.0.0")
    assert network.address(asked("10.0.0.8", **forwarded)) == "203.0.113.9"
    assert network.address(asked("198.51.100.4", **forwarded)) == "198.51.100.4"


def test_what_a_client_forwards_itself_does_not_count(monkeypatch):
    monkeypatch.setenv("PALM_DEMO_PROXIES", "10.0.0.8")
    network = Network.of("0.0.0.0")
    assert network.address(asked("10.0.0.8", x_forwarded_for="1.1.1.1, 203.0.113.9")) == "203.0.113.9"
    assert network.address(asked("10.0.0.8", x_forwarded_for="nonsense")) == "10.0.0.8"
    assert not network.is_secure(asked("203.0.113.9", x_forwarded_proto="https"))
    assert network.is_secure(asked("10.0.0.8", x_forwarded_proto="https"))


def test_a_space_believes_the_hubs_own_network(monkeypatch):
    monkeypatch.setenv("SPACE_ID", "someone/palm-demo")
    network = Network.of("0.0.0.0")
    assert network.address(asked("10.16.3.2", x_forwarded_for="203.0.113.9")) == "203.0.113.9"
    assert network.address(asked("10.16.3.2", x_forwarded_for="10.9.9.9, 203.0.113.9")) == "203.0.113.9"


def test_a_household_of_ipv6_is_one_address():
    network = Network.of("::")
    ours = {network.address(asked(f"2001:db8:1:2::{last}")) for last in (1, 2, "ffff")}
    assert ours == {"2001:db8:1:2::/64"}
    assert network.address(asked("::ffff:203.0.113.9")) == "203.0.113.9"


def test_a_proxy_that_is_no_address_is_told(monkeypatch):
    monkeypatch.setenv("PALM_DEMO_PROXIES", "nginx")
    with pytest.raises(ArgumentError, match="names 'nginx'"):
        Network.of("127.0.0.1")


@pytest.mark.parametrize(
    ("headers", "answered"),
    [
        ({}, True),
        ({"host": "127.0.0.1:7860"}, True),
        ({"host": "[::1]:7860"}, True),
        ({"origin": "http://localhost:7860"}, True),
        ({"origin": "http://localhost:7860", "sec_fetch_site": "same-origin"}, True),
        ({"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}, True),
        ({"host": "evil.example"}, False),
        ({"host": "127.0.0.1.evil.example"}, False),
        ({"host": ""}, False),
        ({"origin": "https://evil.example"}, False),
        ({"origin": "http://localhost:3000"}, False),
        ({"origin": "null"}, False),
        ({"sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors"}, False),
        ({"sec_fetch_site": "same-site", "sec_fetch_mode": "cors"}, False),
    ],
)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_the_loopback_answers_its_own_hosts_and_origins(headers, answered, host):
    assert (Network.of(host).refusal(asked(**headers)) is None) == answered


def test_an_owner_can_name_hosts_that_reach_the_loopback(monkeypatch):
    monkeypatch.setenv("PALM_DEMO_HOSTS", "demo.example, other.example")
    network = Network.of("127.0.0.1")
    assert network.refusal(asked(host="demo.example", origin="https://demo.example")) is None
    assert network.refusal(asked(host="demo.example", origin="https://evil.example"))
    assert Network.of("0.0.0.0").refusal(asked(host="anything")) is None


def cookie_of(visitors: Visitors, visitor, scope: dict) -> str:
    return visitors.set_cookie(visitor, scope).decode().partition(";")[0]


@pytest.fixture
def visitors() -> Visitors:
    return Visitors(Network.of("0.0.0.0"))


def test_a_cookie_is_a_visitor_and_a_forged_one_is_none(visitors):
    first = visitors.of(asked())
    assert not first.known and first.name == nobody_at("127.0.0.1")
    cookie = cookie_of(visitors, first, asked())
    again = visitors.of(asked(cookie=cookie))
    assert again.known and again.name == first.new
    for forged in (
        f"{cookie}0",
        cookie.replace(first.new, "v-other"),
        Visitors(visitors.network).cookie + "=x.y",
    ):
        assert not visitors.of(asked(cookie=forged)).known


def test_cookies_are_out_of_reach_of_scripts_and_of_other_sites(visitors, monkeypatch):
    plain = visitors.set_cookie(visitors.of(asked()), asked()).decode()
    assert "HttpOnly" in plain and "SameSite=Lax" in plain and "Secure" not in plain
    assert "SameSite=Lax; Secure" in visitors.set_cookie(visitors.of(asked()), asked(scheme="https")).decode()
    monkeypatch.setenv("SPACE_ID", "someone/palm-demo")
    framed = Visitors(Network.of("0.0.0.0"))
    scope = asked("10.0.0.2", x_forwarded_proto="https")
    assert "SameSite=None; Secure; Partitioned" in framed.set_cookie(framed.of(scope), scope).decode()


def test_another_sites_page_does_not_act_as_who_looks_at_it(visitors):
    cookie = cookie_of(visitors, visitors.of(asked()), asked())
    assert visitors.of(asked(cookie=cookie, origin="http://localhost:7860")).known
    assert not visitors.of(asked(cookie=cookie, origin="https://evil.example")).known


def test_a_session_called_the_same_by_two_visitors_is_two(visitors):
    me, you = (
        visitors.of(asked(cookie=cookie_of(visitors, visitors.of(asked()), asked()))) for _ in range(2)
    )
    assert me.session("abc") != you.session("abc")
    assert me.owns(me.session("abc")) and not you.owns(me.session("abc"))
    nobody = visitors.of(asked())
    assert not nobody.owns(me.session("abc")) and nobody.session("abc") != me.session("abc")


def test_a_newcomers_session_goes_with_the_cookie_that_the_answer_brings(visitors):
    newcomer = visitors.of(asked())
    entered = visitors.enter(newcomer, "abc")
    without = visitors.find(visitors.of(asked()), "abc")
    assert without.session("abc") == entered.session("abc")  # who keeps no cookies goes on
    elsewhere = visitors.find(visitors.of(asked("203.0.113.9")), "abc")
    assert elsewhere.session("abc") != entered.session("abc")
    known = visitors.of(asked(cookie=cookie_of(visitors, entered, asked())))
    assert visitors.find(known, "abc").session("abc") == entered.session("abc")
    late = visitors.find(visitors.of(asked()), "abc")
    assert late.session("abc") != entered.session("abc")  # the cookie has come back: nobody else


def test_only_the_page_itself_calls_for_another(visitors):
    me = visitors.of(asked(cookie=cookie_of(visitors, visitors.of(asked()), asked())))
    header = visitors.call_for(me).decode()
    called = visitors.of(asked(**{CALLER.decode(): header}))
    assert called.name == me.name and not called.known
    for forged in ("x", header[:-1], Visitors(visitors.network).call_for(me).decode()):
        assert visitors.of(asked(**{CALLER.decode(): forged})).name == nobody_at("127.0.0.1")


@pytest.fixture
def files(tmp_path) -> Files:
    (tmp_path / "up").mkdir()
    return Files(tmp_path / "up", most_bytes=1000)


def a_file(files: Files, name: str, owner=None, size_bytes: int = 10) -> str:
    (files.folder / name).write_bytes(b"x" * size_bytes)
    if owner is not None:
        files.grant(files.folder / name, [owner.name])
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
        files.grant(files.folder / name, [me.name])
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


@pytest.fixture
def clock() -> list[float]:
    return [0.0]


@pytest.fixture
def shares(clock, tmp_path) -> UploadQuotas:
    limits = replace(load_settings().limits, uploads_per_minute=10, upload_mb_per_minute=1, uploads_kept_mb=2)
    return UploadQuotas(limits, tmp_path, clock=lambda: clock[0])


def test_files_and_bytes_are_counted_by_address_for_a_minute(shares, clock):
    shares.spend("a", 10, 100)
    with pytest.raises(BusyError, match="more than 10 uploads in a minute"):
        shares.spend("a", 1, 1)
    shares.spend("b", 1, 999_000)
    clock[0] = 30.0
    with pytest.raises(BusyError, match="more than 1 MB of uploads"):
        shares.spend("b", 0, 2000)
    clock[0] = 61.0
    shares.spend("a", 10, 100)
    shares.spend("b", 0, 2000)


def test_the_page_keeps_so_many_bytes_and_no_more(shares, clock, tmp_path):
    shares.check_room("a")
    (tmp_path / "large").write_bytes(b"x" * 2_100_000)
    clock[0] = 6.0
    with pytest.raises(BusyError, match="2 MB of files and 2 fit"):
        shares.check_room("a")
    (tmp_path / "large").unlink()
    clock[0] = 12.0
    shares.check_room("a")


def test_of_what_the_page_keeps_one_address_has_a_share_alone(shares, clock):
    """Uploads, and what is made for it: scenes, archives, copies that browsers show."""
    for _ in range(6):
        shares.keeps("a", 100_000)
        clock[0] += 120
    with pytest.raises(BusyError, match="1 MB of files that came from your address"):
        shares.check_room("a")
    shares.check_room("b")
    clock[0] += 2 * 3600
    shares.check_room("a")


@pytest.mark.parametrize("piece", [1, 7, 100_000])
def test_files_are_counted_while_they_come(piece):
    part = b'--edge\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\nwords -edge\r\n'
    body = part * 5 + b"--edge--\r\n"
    counted = CountedUpload("multipart/form-data; boundary=edge", load_settings().limits)
    ended = [counted.add(body[place : place + piece]) for place in range(0, len(body), piece)]
    assert sum(ended) == 5 and counted.size_bytes == len(body)


@pytest.mark.parametrize(
    "kind", ["", "application/json", "multipart/form-data", "multipart/form-data; boundary="]
)
def test_what_is_no_form_is_no_upload(kind):
    with pytest.raises(MediaError, match="multipart/form-data"):
        CountedUpload(kind, load_settings().limits)


def run_apart(coroutine):
    """In a thread of its own: the browser of other tests keeps an event loop running in this one."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(asyncio.run, coroutine).result()


def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(timeouts, "BODY_SECONDS", 0.05)

    async def never():
        await asyncio.Event().wait()

    with pytest.raises(timeouts.ClientTimeout):
        run_apart(timeouts.receive_in_time(never)())


def test_a_client_may_listen_as_long_as_it_likes(monkeypatch):
    monkeypatch.setattr(timeouts, "BODY_SECONDS", 0.0)
    messages = [{"type": "http.disconnect"}, {"type": "http.request", "body": b"", "more_body": False}]

    async def ask() -> list[str]:
        async def receive():
            return messages.pop()

        receive = timeouts.receive_in_time(receive)
        return [(await receive())["type"] for _ in range(2)]

    assert run_apart(ask()) == ["http.request", "http.disconnect"]


def test_an_answer_that_nobody_takes_is_not_held_for_ever(monkeypatch):
    monkeypatch.setattr(timeouts, "RECEIVE_SECONDS", 0.05)

    async def stuck(message):
        await asyncio.Event().wait()

    with pytest.raises(timeouts.ClientTimeout):
        run_apart(timeouts.send_in_time(stuck)({"type": "http.response.body"}))


def test_the_loading_page_answers_its_own_hosts_with_headers():
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"soon"})

    def answered(**headers: str) -> dict:
        sent = []

        async def send(message):
            sent.append(message)

        scope = {**asked(**headers), "method": "GET", "path": "/"}
        run_apart(PublicApp(app, Network.of("127.0.0.1"))(scope, None, send))
        return sent[0]

    assert answered()["status"] == 200
    assert dict(answered()["headers"])[b"x-content-type-options"] == b"nosniff"
    assert answered(host="evil.example")["status"] == 403


def test_pages_are_made_one_after_another_for_an_address_and_slow_takers_hold_up_nobody():
    at_once, most, taken = Counter(), Counter(), []

    async def app(scope, receive, send):
        address = scope["address"]
        at_once[address] += 1
        most[address] = max(most[address], at_once[address])
        await asyncio.sleep(0)
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"page"})
        at_once[address] -= 1

    async def main() -> None:
        gate, go = OneAtATimePerAddress(app), asyncio.Event()

        def asked(address: str, slow: bool = False) -> SimpleNamespace:
            async def send(message) -> None:
                if slow:
                    await go.wait()
                taken.append((address, message["type"]))

            visitor = SimpleNamespace(address=address)
            return SimpleNamespace(visitor=visitor, scope={"address": address}, receive=None, send=send)

        slow = asyncio.create_task(gate(asked("a", slow=True)))
        await asyncio.gather(*(gate(asked(address)) for address in "aaabb"))
        assert len(taken) == 10
        go.set()
        await slow

    run_apart(main())
    assert most == {"a": 1, "b": 1} and len(taken) == 12
