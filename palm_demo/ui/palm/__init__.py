"""The PaLM tab: its sub-tabs write, compare, look at tokens, guess authors, and fine-tune."""

from palm_demo.ui.palm.tab import CODE, HEARD, PAPER, palm_tab

__all__ = ["CODE", "HEARD", "PAPER", "palm_tab"]
