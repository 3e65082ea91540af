"""Addresses of clients: which peers are trusted proxies, and what counts as one address."""

import ipaddress
import os
from collections.abc import Iterable
from functools import lru_cache

from palm_demo.errors import ArgumentError

PROXIES = "PALM_DEMO_PROXIES"
"""The environment variable with the proxies whose X-Forwarded headers are trusted: addresses or networks,
separated by commas."""
HUB_PROXIES = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "fd00::/8", "::1/128")
"""Proxies of a Space: the Hub forwards requests from inside its own network."""
UNKNOWN = "unknown"

Net = ipaddress.IPv4Network | ipaddress.IPv6Network
IP = ipaddress.IPv4Address | ipaddress.IPv6Address


def split_names(text: str) -> list[str]:
    """The names in a text with commas between, in small letters."""
    return [part.strip().lower() for part in text.split(",") if part.strip()]


def trusted_proxies() -> tuple[Net, ...]:
    """The proxies that the environment names and, on a Space, the Hub's.

    Raises ArgumentError for a name that is no address or network.
    """
    on_space = bool(os.environ.get("SPACE_ID"))
    return _networks((*split_names(os.environ.get(PROXIES, "")), *(HUB_PROXIES if on_space else ())))


def is_in(peer: str, networks: Iterable[Net]) -> bool:
    """Whether an address is in one of the networks. False for what is no address."""
    parsed = parsed_address(peer)
    return parsed is not None and any(parsed in network for network in networks)


def one_address(peer: str) -> str:
    """What counts as one address: of an IPv6 address the network of 64 bits, which usually belongs to one
    household or machine. UNKNOWN for what is no address."""
    parsed = parsed_address(peer)
    if parsed is None:
        return UNKNOWN
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


def parsed_address(address: str) -> IP | None:
    """An address, parsed; None if it is none."""
    try:
        parsed = ipaddress.ip_address(address.strip("[]"))
    except ValueError:
        return None
    return getattr(parsed, "ipv4_mapped", None) or parsed


@lru_cache(maxsize=1)  # it is asked for at each connection
def _networks(named: tuple[str, ...]) -> tuple[Net, ...]:
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
