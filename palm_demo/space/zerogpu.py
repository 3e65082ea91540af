"""Whether a Space can run on ZeroGPU, which has fewer versions than other machines."""

from collections.abc import Iterator

from packaging.requirements import Requirement

from palm_demo.space.checkout import Checkout
from palm_demo.space.requirements import required
from palm_demo.typed_yaml import Finding

ZERO = "zero-a10g"
"""What the Hub calls it, after GPUs that it had once."""

PYTHONS = ("3.12", "3.12.12", "3.10", "3.10.13")
TORCHES = ("2.8.0", "2.9.1", "2.10.0", "2.11.0")
"""Those that it has (huggingface.co/docs/hub/spaces-zerogpu); of torch it takes the newest that may be."""


def zerogpu_findings(checkout: Checkout) -> Iterator[Finding]:
    """Its Pythons and torches; `spaces` the Hub installs itself, as it does gradio."""
    settings = checkout.settings
    if settings.hardware.request != ZERO:
        return
    if settings.runtime.python not in PYTHONS:
        yield Finding(
            checkout.line_of("runtime.python"),
            f"runtime.python is {settings.runtime.python}, which ZeroGPU does not have",
            f"write {PYTHONS[0]}",
        )
    for place, requirement in required(checkout):
        yield from _torch(place, requirement)
        if requirement.name == "spaces":
            yield Finding(
                place, "it wants spaces, of which ZeroGPU brings the version that it needs", "take it out"
            )


def _torch(place: str, requirement: Requirement) -> Iterator[Finding]:
    if requirement.name == "torch" and not [*requirement.specifier.filter(TORCHES)]:
        yield Finding(
            place, f"it wants {requirement}, and ZeroGPU has {', '.join(TORCHES)}", "let one of these in"
        )
