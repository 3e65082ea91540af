"""The Flamingo tab: asking, teaching by example, scenes to ask about, and what was looked at."""

from palm_demo.ui.flamingo.tab import CODE, HEARD, PAPER, flamingo_tab

__all__ = ["CODE", "HEARD", "PAPER", "flamingo_tab"]
