"""A session whose models are in other processes has every verb."""

from palm_demo.serving.session_proxy import SessionProxy
from palm_demo.session import Session
from tests.test_arguments import VERBS

MADE_OF_OTHERS = ["answer", "generate", "search"]
"""Verbs that call other verbs of the session."""
OF_EACH_KIND = ["load_adapter", "save_adapter"]
"""Verbs that Ray's and ZeroGPU's sessions answer in their own way."""


def test_a_session_in_other_processes_answers_every_verb():
    inherited = [name for name in VERBS if getattr(SessionProxy, name) is getattr(Session, name)]
    assert inherited == sorted([*MADE_OF_OTHERS, *OF_EACH_KIND])
