"""How a page is reached: clients' addresses behind proxies, and the hosts and origins that are accepted."""

import ipaddress
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

from palm_demo.errors import ArgumentError

PROXIES = "PALM_DEMO_PROXIES"
"""The environment variable with the proxies whose X-Forwarded headers are trusted: addresses or networks,
separated by commas."""
HOSTS = "PALM_DEMO_HOSTS"
"""The environment variable with further host names of a page on the loopback, separated by commas."""
HUB_PROXIES = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "fd00::/8", "::1/128")
"""Proxies of a Space: the Hub forwards requests from inside its own network."""
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
UNKNOWN = "unknown"

Net = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Network:
    """How a page is reached.

    Attributes:
        loopback: whether only this machine can reach it.
        proxies: networks whose X-Forwarded headers are trusted.
        hosts: host names that are accepted in addition to those of the loopback.
        space: whether it is a Space, which the Hub shows in a frame.
    """

    loopback: bool
    proxies: tuple[Net, ...] = ()
    hosts: frozenset[str] = frozenset()
    space: bool = False

    @classmethod
    def of(cls, host: str) -> "Network":
        """The network of a page that listens on a host, from the environment.

        Raises ArgumentError for a proxy that is not an address or network.
        """
        space = bool(os.environ.get("SPACE_ID"))
        named = _split(os.environ.get(PROXIES, ""))
        hosts = [*_split(os.environ.get(HOSTS, "")), *_split(os.environ.get("SPACE_HOST", ""))]
        loopback = host.strip("[]").lower() in LOOPBACK_NAMES
        return cls(loopback, _networks([*named, *(HUB_PROXIES if space else ())]), frozenset(hosts), space)

    def address(self, scope: Scope) -> str:
        """The address of the client: that of the peer or, behind trusted proxies, the last forwarded address
        that is not a proxy's.

        Of an IPv6 address only the network of 64 bits, which usually belongs to one household or machine.
        """
        peer = (scope.get("client") or (UNKNOWN, 0))[0]
        for hop in reversed(_forwarded_for(scope)):
            if not self._is_proxy(peer) or _parsed(hop) is None:
                break
            peer = hop
        parsed = _parsed(peer)
        if parsed is None:
            return UNKNOWN
        if isinstance(parsed, ipaddress.IPv6Address):
            return str(ipaddress.ip_network((parsed, 64), strict=False))
        return str(parsed)

    def is_secure(self, scope: Scope) -> bool:
        """Whether the browser uses https, with this server or with a trusted proxy."""
        peer = (scope.get("client") or (UNKNOWN, 0))[0]
        forwarded = Headers(scope=scope).get("x-forwarded-proto", "") if self._is_proxy(peer) else ""
        return (forwarded.split(",")[0].strip() or scope.get("scheme", "http")) == "https"

    def refusal(self, scope: Scope) -> str | None:
        """The reason why a request is refused; None if it is accepted.

        A page on the loopback refuses requests for other hosts, and those from pages of other sites.
        """
        if not self.loopback:
            return None
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or _hostname(hosts[0].decode("latin-1")) not in LOOPBACK_NAMES | self.hosts:
            return f"This page is for this machine alone. Open it as localhost, or name the host in {HOSTS}."
        if self.is_foreign(scope):
            return "This page is for this machine alone and answers no page of another site."
        return None

    def is_foreign(self, scope: Scope) -> bool:
        """Whether the request comes from a page of another site."""
        headers = Headers(scope=scope)
        mode, site = headers.get("sec-fetch-mode"), headers.get("sec-fetch-site")
        if site in ("cross-site", "same-site") and mode != "navigate":
            return True
        origin = headers.get("origin")
        if origin is None or site == "same-origin":
            return False
        try:
            named = urlsplit(origin)
        except ValueError:  # such as http://[
            return True
        return named.netloc != headers.get("host") and named.hostname not in self.hosts

    def _is_proxy(self, peer: str) -> bool:
        parsed = _parsed(peer)
        return parsed is not None and any(parsed in network for network in self.proxies)


def _split(text: str) -> list[str]:
    return [part.strip().lower() for part in text.split(",") if part.strip()]


def _networks(named: Iterable[str]) -> tuple[Net, ...]:
    found = []
    for name in named:
        try:
            found.append(ipaddress.ip_network(name, strict=False))
        except ValueError:
            raise ArgumentError(
                f"{PROXIES} names {name!r}, which is no address; give addresses or networks such as "
                "10.0.0.1 or 10.0.0.0/8 with commas between"
            ) from None
    return tuple(found)


def _forwarded_for(scope: Scope) -> Sequence[str]:
    forwarded = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
    return _split(",".join(forwarded))


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        parsed = ipaddress.ip_address(address.strip("[]"))
    except ValueError:
        return None
    return getattr(parsed, "ipv4_mapped", None) or parsed


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
