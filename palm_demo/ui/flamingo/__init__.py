"""The Flamingo tab: questions about pictures and videos, few-shot examples, a scene maker, attention maps."""

from palm_demo.ui.flamingo.tab import CODE, FILLED_BY, PAPER, flamingo_tab

__all__ = ["CODE", "FILLED_BY", "PAPER", "flamingo_tab"]
