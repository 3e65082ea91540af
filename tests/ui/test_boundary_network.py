"""Addresses, proxies, hosts and origins: who asks, and whom the loopback answers."""

import pytest

from palm_demo.errors import ArgumentError
from palm_demo.ui.boundary.network import Network
from palm_demo.ui.boundary.visitors import Visitors
from tests.ui.boundary import asked

pytestmark = pytest.mark.usefixtures("unnamed")


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
        ({"origin": "http://["}, False),
        ({"host": "[::1"}, False),
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


@pytest.mark.parametrize(
    ("host", "peer", "headers", "variables", "local"),
    [
        ("127.0.0.1", "127.0.0.1", {}, {}, True),
        ("[::1]", "::1", {}, {}, True),
        ("0.0.0.0", "127.0.0.1", {}, {}, False),
        ("127.0.0.1", "10.0.0.2", {}, {}, False),
        ("127.0.0.1", "127.0.0.1", {"x_forwarded_for": "127.0.0.1"}, {}, False),
        ("127.0.0.1", "127.0.0.1", {}, {"PALM_DEMO_HOSTS": "demo.example"}, False),
        ("127.0.0.1", "127.0.0.1", {}, {"PALM_DEMO_PROXIES": "127.0.0.1"}, False),
        ("127.0.0.1", "127.0.0.1", {}, {"SPACE_ID": "me/demo"}, False),
    ],
)
def test_whoever_runs_the_page_is_on_this_machine_and_came_by_no_proxy(
    monkeypatch, host, peer, headers, variables, local
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    scope = asked(peer, **headers)
    visitors = Visitors(Network.of(host))
    assert visitors.of(scope).local is local
    foreign = asked(peer, **headers, origin="https://evil.example")
    assert not visitors.of(foreign).local
