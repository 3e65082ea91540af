"""What the bundled weights are, said plainly: for the page and for whoever asks."""

from torch import nn

from palm_demo import world


def of_bundled(system: str) -> dict[str, str]:
    """name, trained_on, knows, licence."""
    nouns = len(world.concepts())
    pictures = f"scenes drawn from {nouns} kinds of things in {len(world.STYLES)} drawing styles"
    told = {
        "palm": {
            "name": "PaLM",
            "trained_on": "public-domain English books and sentences about the picture world",
            "knows": "how old novels sound; it continues a text, it does not chat or know facts",
        },
        "flamingo": {
            "name": "Flamingo",
            "trained_on": f"questions about {pictures}, still and moving",
            "knows": (
                "what a picture shows and where, which of several pictures shows a thing, background "
                "colours, how many things there are, which way a thing moves and whether it grows, new "
                "words for things it never saw, from one example each; drawings only, no photographs"
            ),
        },
        "mammut": {
            "name": "MaMMUT",
            "trained_on": pictures,
            "knows": f"{nouns} everyday things as drawings, one or two at a time; not photographs",
        },
    }[system]
    return {**told, "licence": "MIT, with this package"}


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
