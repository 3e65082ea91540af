"""The MaMMUT tab: pictures described, found, compared with texts, and kept."""

from palm_demo.ui.mammut.tab import CODE, PAPER, mammut_tab

__all__ = ["CODE", "PAPER", "mammut_tab"]
