"""Visitors, known by signed cookies, and their sessions."""

import pytest

from palm_demo.ui.boundary.network import Network
from palm_demo.ui.boundary.visitors import CALLER, Visitors, nobody_at
from tests.ui.boundary import asked, cookie_of


@pytest.fixture
def visitors(unnamed) -> Visitors:
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
