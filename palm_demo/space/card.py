"""The README's front matter, from which the Hub reads how to show and run a Space."""

from pathlib import Path

from huggingface_hub import SpaceCardData

from palm_demo.errors import SpaceError
from palm_demo.internals.hub_client import front_matter
from palm_demo.settings import Settings


def card_data(settings: Settings) -> SpaceCardData:
    """The Spacefile's settings by the Hub's names (huggingface.co/docs/hub/spaces-config-reference)."""
    space, runtime, hub = settings.space, settings.runtime, settings.hub
    return SpaceCardData(
        title=space.title,
        emoji=space.emoji,
        colorFrom=space.color_from,
        colorTo=space.color_to,
        sdk=runtime.sdk,
        sdk_version=runtime.sdk_version,
        python_version=runtime.python,
        app_file=runtime.app_file,
        short_description=space.short_description,
        license=space.license,
        models=list(hub.models) or None,
        preload_from_hub=[entry.strip() for entry in hub.preload] or None,
        suggested_hardware=settings.hardware.suggested,
        startup_duration_timeout=runtime.startup_timeout,
    )


def with_front_matter(readme: str, settings: Settings) -> str:
    """A README with the Spacefile's front matter. The rest stays as it is."""
    old = front_matter(readme)
    rest = readme[old.end() :] if old else f"\n{readme}"
    return f"---\n{card_data(settings).to_yaml().rstrip()}\n---\n{rest}"


def render(readme: Path, settings: Settings) -> bool:
    """Updates a README's front matter. Returns whether anything changed.

    Raises SpaceError if there is no README.
    """
    if not readme.is_file():
        raise SpaceError(f"there is no {readme.name} in {readme.parent}; write one")
    text = read_exactly(readme)
    wanted = with_front_matter(text, settings)
    if wanted == text:
        return False
    with readme.open("w", encoding="utf-8", newline="") as file:
        file.write(wanted)
    return True


def read_exactly(path: Path) -> str:
    """Reads a text with its line ends as they are in the file."""
    with path.open(encoding="utf-8", newline="") as file:
        return file.read()
