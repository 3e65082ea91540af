"""How a page is reached: clients' addresses behind proxies, and the hosts and origins that are accepted."""

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

from palm_demo.internals.client_addresses import (
    UNKNOWN,
    Net,
    is_in,
    one_address,
    parsed_address,
    split_names,
    trusted_proxies,
)

HOSTS = "PALM_DEMO_HOSTS"
"""The environment variable with further host names of a page on the loopback, separated by commas."""
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


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
        hosts = [name for key in (HOSTS, "SPACE_HOST") for name in split_names(os.environ.get(key, ""))]
        loopback = host.strip("[]").lower() in LOOPBACK_NAMES
        return cls(loopback, trusted_proxies(), frozenset(hosts), space)

    def address(self, scope: Scope) -> str:
        """The address of the client: that of the peer or, behind trusted proxies, the last forwarded address
        that is not a proxy's. See `one_address` for IPv6."""
        peer = (scope.get("client") or (UNKNOWN, 0))[0]
        for hop in reversed(_forwarded_for(scope)):
            if not is_in(peer, self.proxies) or parsed_address(hop) is None:
                break
            peer = hop
        return one_address(peer)

    def is_local(self, scope: Scope) -> bool:
        """Whether the client is on this machine, at a page that nobody else can reach: neither by its
        address, nor through a proxy or as another host."""
        peer = (scope.get("client") or (UNKNOWN, 0))[0]
        alone = self.loopback and not self.space and not self.hosts and not self.proxies
        return alone and is_in(peer, LOOPBACK) and not _forwarded_for(scope)

    def is_secure(self, scope: Scope) -> bool:
        """Whether the browser uses https, with this server or with a trusted proxy."""
        peer = (scope.get("client") or (UNKNOWN, 0))[0]
        forwarded = Headers(scope=scope).get("x-forwarded-proto", "") if is_in(peer, self.proxies) else ""
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


def _forwarded_for(scope: Scope) -> Sequence[str]:
    forwarded = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
    return split_names(",".join(forwarded))


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
