"""What the PaLM tab shows is in words that a newcomer knows."""

import re
from types import SimpleNamespace

import gradio as gr
import pytest

from palm_demo.settings import load_settings
from palm_demo.ui.deep_links import SettingsLinks
from palm_demo.ui.palm import palm_tab
from palm_demo.ui.palm.complete import VOICE
from palm_demo.ui.palm.voices import VOICES
from palm_demo.ui.streaming import Stops

JARGON = re.compile(r"\b(scopes?|adapters?|base)\b", re.IGNORECASE)


@pytest.fixture
def shown() -> list[str]:
    """Labels, explanations and texts of all of the tab's components."""
    session = SimpleNamespace(scopes=[*VOICES])
    with gr.Blocks() as page, gr.Tabs(), gr.Tab("PaLM", id="palm"):
        palm_tab(session, load_settings().limits, Stops(), SettingsLinks())
    texts = []
    for one in page.blocks.values():
        texts += [getattr(one, name, None) for name in ("label", "info", "placeholder", "title")]
        choices = getattr(one, "choices", None) or []
        texts += [name for name, _ in choices]
        if isinstance(one, gr.Button | gr.HTML | gr.Markdown):
            texts.append(str(one.value))
    return [text for text in texts if isinstance(text, str)]


def test_no_word_of_the_trade_stands_unexplained(shown):
    assert VOICE in shown
    assert [text for text in shown if JARGON.search(text)] == []


def test_a_seed_is_explained_and_authors_have_their_names(shown):
    seeds = [place for place, text in enumerate(shown) if text == "Seed"]
    assert seeds and all("same" in shown[place + 1] for place in seeds)
    assert {voice.author for voice in VOICES.values()} <= {*shown}
    assert not {*VOICES} & {*shown}
