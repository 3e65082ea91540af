"""The PaLM tab: one sub-tab for each thing that can be done with a text."""

from palm_demo.ui.palm.tab import CODE, HEARD, PAPER, palm_tab

__all__ = ["CODE", "HEARD", "PAPER", "palm_tab"]
