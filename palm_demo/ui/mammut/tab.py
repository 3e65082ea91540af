"""Builds the MaMMUT tab from its parts."""

from pathlib import Path

import gradio as gr

from palm_demo.inference.beam_search import beam_search
from palm_demo.models import MaMMUT
from palm_demo.models.resampler import AttentionPool
from palm_demo.session import Session
from palm_demo.settings import Limits
from palm_demo.ui.components import Paper
from palm_demo.ui.deep_links import SettingsLinks
from palm_demo.ui.mammut.comparing import comparing
from palm_demo.ui.mammut.contributing import Contributions, contributing
from palm_demo.ui.mammut.describing import describing
from palm_demo.ui.mammut.finding import finding, search_box
from palm_demo.ui.mammut.many import describing_many
from palm_demo.ui.mammut.rebuilding import rebuilding, why_closed
from palm_demo.ui.mammut.wall import Wall
from palm_demo.ui.streaming import Stops

TAB = "mammut"
PAPER = Paper(
    "MaMMUT: A Simple Architecture for Joint Learning for MultiModal Tasks",
    "Kuo et al., 2023",
    "https://arxiv.org/abs/2303.16839",
)
CODE = (MaMMUT, AttentionPool, beam_search)


def mammut_tab(
    session: Session,
    limits: Limits,
    contributions: Contributions,
    stops: Stops,
    links: SettingsLinks,
    folder: Path,
) -> None:
    """Builds the tab inside the current Blocks. folder: for the files of examples."""
    computed = {"concurrency_limit": None, "api_visibility": "private"}  # the session has the queue
    searched = why_closed(session) is None
    box = search_box(limits, links, searched)
    with gr.Row(elem_id="mammut-desk"):
        described = describing(session, limits, stops, TAB, computed, folder, searched)
        with gr.Column(elem_id="mammut-found", min_width=260):
            with gr.Column(visible=searched, elem_id="mammut-wall") as shown:
                wall = Wall(session)
            if not searched:
                rebuilding(session, stops, wall, [box.whole, described.similar, shown])
    picked = finding(session, limits, stops, box, wall, described, computed)
    describing_many(session, limits, stops)
    comparing(session, limits, wall.found, computed)
    contributing(session, contributions, stops, wall, picked, computed)
