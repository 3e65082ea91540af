"""PaLM's named endpoints beyond `generate`: how well it predicts a text."""

import gradio as gr

from palm_demo.session import Session
from palm_demo.settings import Limits
from palm_demo.ui.messages import in_api
from palm_demo.ui.palm.tokens import check_viewed
from palm_demo.ui.uploads import check_prompt


def add_palm_endpoints(session: Session, limits: Limits) -> None:
    """Adds bits_per_byte, who_wrote and token_probabilities to the current Blocks."""

    def bits_per_byte(text: str, scope: str | dict[str, float] | None = None) -> float:
        """How well PaLM predicts a text, in a scope, a mix of scopes with their strengths or by the base
        model: bits over its UTF-8 bytes, lower is better."""
        with in_api():
            return session.bits_per_byte(check_prompt(text, limits), scope)

    def who_wrote(text: str) -> dict:
        """Scope -> probability that its author wrote the text, if one of them did."""
        with in_api():
            return session.who_wrote(check_prompt(text, limits))

    def token_probabilities(text: str, scope: str | dict[str, float] | None = None) -> list[dict]:
        """Each token of a text: its text, its probability after those before it, and the five likeliest
        alternatives as pairs of text and probability."""
        with in_api():
            tokens = session.token_probabilities(check_viewed(text, limits), scope)
            return [
                {
                    "text": token.text,
                    "probability": token.probability,
                    "alternatives": [list(other) for other in token.alternatives],
                }
                for token in tokens
            ]

    for endpoint in (bits_per_byte, who_wrote, token_probabilities):
        gr.api(endpoint, concurrency_limit=None)
