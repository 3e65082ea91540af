"""Ports for servers that need to know theirs before they listen."""

import os
import socket
from contextlib import suppress
from itertools import count

LOW, MANY = 20_000, 12_000
"""Below those that a system gives to whoever asks for any, and above those of Ray's workers: nobody else
takes one before the server does."""

_places = count(97 * os.getpid())  # tests run in several processes, whose numbers are close together


def free_port() -> int:
    """Another one each time."""
    for place in _places:
        port = LOW + place % MANY
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
