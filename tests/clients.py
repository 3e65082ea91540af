"""Clients, as a server names them for each request."""

from collections.abc import Iterator
from contextlib import contextmanager

from palm_demo.concurrency import client


@contextmanager
def as_client(who: str | None) -> Iterator[None]:
    """Everything computed in the `with` belongs to this client."""
    token = client.set(who)
    try:
        yield
    finally:
        client.reset(token)
