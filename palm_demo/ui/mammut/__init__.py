"""The MaMMUT tab: captions, search in a gallery, and comparison of texts with pictures."""

from palm_demo.ui.mammut.tab import CODE, PAPER, mammut_tab

__all__ = ["CODE", "PAPER", "mammut_tab"]
