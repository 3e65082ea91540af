"""Gradio's states of sessions with less memory, by internals of Gradio 6.31.

`tests/ui/test_small_sessions.py` fails if a later version of Gradio changes them.
"""

import sys
from collections import ChainMap
from datetime import datetime, timedelta
from types import SimpleNamespace

import gradio as gr
from gradio.state_holder import SessionState, StateHolder

CLEANUP_INTERVAL = timedelta(minutes=1)


class SmallSessionState(SessionState):
    """Gradio's state of a session, without the parts that this page does not need.

    Left out are the configuration of every block, which only Gradio's deep links use (600 kB, and 32 ms of
    the event loop when a visitor comes and leaves), and copies of the tables of blocks and events (27 kB).
    """

    def __init__(self, blocks: gr.Blocks):
        shared = blocks.default_config
        super().__init__(SimpleNamespace(default_config=shared, blocks={}))
        self.blocks_config.blocks = ChainMap({}, shared.blocks)  # updated blocks go into the first
        self.blocks_config.fns = shared.fns  # only gr.render would change them, which the page does not use

    def __setitem__(self, key: int, value: object) -> None:
        super().__setitem__(key, value)
        self.config_values.clear()

    def _update_config(self, key: int) -> None:
        """Does nothing, because no configuration is kept."""

    def _update_value_in_config(self, key: int, value: object) -> None:
        """Does nothing, because no configuration is kept."""


class ForgettingStateHolder(StateHolder):
    """Gradio's states of all sessions, from which old ones are removed.

    A session that is closed or has no values is removed after an hour without use. Gradio itself removes
    only the values.
    """

    def __init__(self):
        super().__init__()
        self._cleaned_up = datetime.min

    def remove(self, name: str) -> None:
        """Removes a session, if there is one."""
        with self.lock:
            self.session_data.pop(name, None)
            self.time_last_used.pop(name, None)

    def delete_all_expired_state(self) -> None:
        """Removes old sessions once a minute. Gradio calls this every second, in the event loop."""
        now = datetime.now()
        if now - self._cleaned_up < CLEANUP_INTERVAL:
            return
        self._cleaned_up = now
        super().delete_all_expired_state()
        with self.lock:
            for name, session in [*self.session_data.items()]:
                unused = now - self.time_last_used.get(name, now)
                kept = timedelta(seconds=session.STATE_TTL_WHEN_CLOSED)
                if unused > kept and (session.is_closed or not session.state_data):
                    del self.session_data[name]
                    self.time_last_used.pop(name, None)


def use_small_sessions() -> None:
    """Makes Gradio use SmallSessionState and ForgettingStateHolder. Must be called before a page is made."""
    for name in ("state_holder", "blocks", "route_utils", "mcp", "routes"):
        if (module := sys.modules.get(f"gradio.{name}")) is not None:
            module.SessionState, module.StateHolder = SmallSessionState, ForgettingStateHolder
