"""Scopes as if they had been trained."""

from palm_demo.models import PaLM


def learn(palm: PaLM, name: str, rank: int, std: float = 0.2) -> None:
    """Adds a scope of random weights, whose effect shows."""
    for weight in palm.add_scope(name, rank).parameters():
        weight.data.normal_(std=std)


def with_two_scopes(palm: PaLM) -> PaLM:
    learn(palm, "carroll", rank=2)
    learn(palm, "doyle", rank=5)
    return palm
