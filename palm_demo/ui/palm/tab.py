"""Builds the PaLM tab: its sub-tabs, which share the visitor's own scopes."""

import gradio as gr

from palm_demo.inference.scoring import token_probabilities
from palm_demo.models.lora import LoRA
from palm_demo.models.transformer import ParallelBlock
from palm_demo.session import Session
from palm_demo.settings import Limits
from palm_demo.ui.components import Paper
from palm_demo.ui.deep_links import SettingsLinks
from palm_demo.ui.palm.authors import authors_tab
from palm_demo.ui.palm.compare import compare_tab
from palm_demo.ui.palm.complete import writing_tab
from palm_demo.ui.palm.finetune import finetune_tab
from palm_demo.ui.palm.tokens import tokens_tab
from palm_demo.ui.palm.user_adapters import UserAdapters
from palm_demo.ui.streaming import Stops

PAPER = Paper(
    "PaLM: Scaling Language Modeling with Pathways",
    "Chowdhery et al., 2022",
    "https://arxiv.org/abs/2204.02311",
)
CODE = (ParallelBlock, LoRA, token_probabilities)
WRITE = "palm-write"
FILLED_BY = {
    "palm-run": "palm-text",
    "palm-samples": "palm-text",
    "palm-columns-run": "palm-columns-texts",
    "palm-tokens-run": "palm-tokens-view",
    "palm-look": "palm-tokens-view",
    "palm-authors-run": "palm-authors-bars",
    "palm-authors-samples": "palm-authors-bars",
    "palm-teaching-run": "palm-teaching-said",
}
"""elem_id of a button -> elem_id of the component that it fills."""


def palm_tab(session: Session, limits: Limits, stops: Stops, links: SettingsLinks) -> UserAdapters:
    """Builds the tab inside the current Blocks. Returns the store of visitors' scopes."""
    own = UserAdapters(session, limits)
    with gr.Tabs(elem_id="palm-tabs", overflow_behavior="wrap") as tabs:
        with gr.Tab("Write", id=WRITE):
            writing = writing_tab(session, limits, stops, links, own)
        with gr.Tab("Side by side", id="palm-columns"):
            compared = compare_tab(session, limits, stops, links, own)
        with gr.Tab("Token view", id="palm-tokens"):
            tokens = tokens_tab(session, limits, links, own, writing, tabs)
        with gr.Tab("Who wrote this?", id="palm-authors"):
            authors_tab(session, limits, stops, own)
        with gr.Tab("Teach a voice", id="palm-teaching"):
            pickers = [writing.scope, compared, tokens, writing.second]
            finetune_tab(session, limits, stops, links, own, pickers, tabs, WRITE)
    return own
