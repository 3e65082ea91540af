"""Where a page listens: addresses by IPv4 and IPv6, ports that are taken, and what is no address here."""

import socket

import httpx
import pytest

from palm_demo.errors import ServingError
from palm_demo.ui.boundary.listening import bind, no_port, url_host
from palm_demo.ui.loading_page import opening
from tests.ports import free_port


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
            return True
    except OSError:
        return False


def test_a_port_that_is_taken_is_none():
    port = free_port()
    with bind("127.0.0.1", port) as first:
        first.listen()
        assert bind("127.0.0.1", port) is None


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid", "[2001:db8::1]"])
def test_what_is_no_address_of_this_machine_is_told_as_one(host):
    with pytest.raises(ServingError, match=r"no address of this machine; name one with --host"):
        bind(host, free_port())


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_the_loading_page_listens_on_ipv6_where_there_is_any(host):
    port = free_port()
    if not has_ipv6():
        with pytest.raises(ServingError, match="no address of this machine"), opening("A page", host, port):
            pass
        return
    with opening("A page", host, port):
        assert "A page" in httpx.get(f"http://{url_host(host)}:{port}/").text


def test_addresses_of_ipv6_have_brackets_in_a_url():
    assert [url_host(host) for host in ("::1", "[::1]", "127.0.0.1")] == ["[::1]", "[::1]", "127.0.0.1"]


def test_the_ports_that_were_tried_are_told():
    assert "port 80 on 127.0.0.1 is taken" in str(no_port("127.0.0.1", [80]))
    assert "no port from 7860 to 7959 is free" in str(no_port("127.0.0.1", range(7860, 7960)))
