"""A Hub on the loopback: what huggingface_hub's client asks of the real one, kept in memory."""

from tests.hub.serving import serve
from tests.hub.state import OWNER, TOKEN, Hub, Refused
from tests.hub.taken import taken_for_the_hub

__all__ = ["OWNER", "TOKEN", "Hub", "Refused", "serve", "taken_for_the_hub"]
