"""The PaLM tab: its sub-tabs write, compare, look at tokens, guess authors, and fine-tune."""

from palm_demo.ui.palm.tab import CODE, FILLED_BY, PAPER, palm_tab

__all__ = ["CODE", "FILLED_BY", "PAPER", "palm_tab"]
