"""Addresses and ports on which a page can listen, by IPv4 and IPv6."""

import errno
import socket
from collections.abc import Sequence

from palm_demo.errors import ServingError, shown


def bare(host: str) -> str:
    """A host without the brackets that an IPv6 address has in a URL."""
    return host.strip("[]")


def url_host(host: str) -> str:
    """A host as it stands in a URL: an IPv6 address in brackets."""
    return f"[{bare(host)}]" if ":" in host else host


def bind(host: str, port: int) -> socket.socket | None:
    """A socket bound to a port; None if the port is taken or may not be used.

    Raises ServingError for a host that is no address of this machine.
    """
    host = bare(host)
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            raise ServingError(
                f"the page cannot listen on {shown(host)}, which is no address of this machine; name one "
                "with --host or GRADIO_SERVER_NAME, such as 127.0.0.1, or 0.0.0.0 for all of them"
            ) from error
        return None
    return bound


def no_port(host: str, ports: Sequence[int]) -> ServingError:
    """The error if none of some ports can be used."""
    if len(ports) > 1:
        return ServingError(
            f"no port from {ports[0]} to {ports[-1]} is free on {host}; name another with --port or PORT"
        )
    return ServingError(
        f"port {ports[0]} on {host} is taken or may not be used; name another with --port or PORT"
    )
