"""What the Spacefile says about limits and environment, typed."""

import os
from dataclasses import dataclass, fields
from pathlib import Path

import yaml

from palm_demo.generation import BatchLimits
from palm_demo.media import MediaLimits

SPACEFILE = Path(__file__).resolve().parents[1] / "Spacefile"


@dataclass(frozen=True)
class Limits:
    """What one visitor may ask for; every field stands in the Spacefile with its unit."""

    media: int
    megapixels: float
    video_seconds: float
    upload_mb: float
    uploads_per_minute: int
    prompt_bytes: int
    new_tokens: int
    labels: int
    hits: int
    viewed_bytes: int
    lesson_bytes: int
    teaching_seconds: int
    teaching_rank: int
    teachers: int
    own_scopes: int
    own_scopes_of_all: int
    own_scope_minutes: int
    rows: int
    waiting: int
    queue: int
    concurrency: int

    @property
    def of_media(self) -> MediaLimits:
        """The part that whoever decodes pictures and videos needs."""
        return MediaLimits(int(self.megapixels * 1_000_000), self.video_seconds)

    @property
    def of_batch(self) -> BatchLimits:
        """The part that whoever writes many texts at once needs."""
        return BatchLimits(self.rows, self.waiting)

    @property
    def upload_bytes(self) -> int:
        return int(self.upload_mb * 1_000_000)


@dataclass(frozen=True)
class GalleryRules:
    """visitors: whether they may add pictures, which all other visitors see then. pictures: how many the
    gallery may have for a visitor to add one more."""

    visitors: bool
    pictures: int


@dataclass(frozen=True)
class Settings:
    """repository: the address of the code, where the Spacefile has one, without a slash at the end."""

    title: str
    repository: str | None
    environment: dict[str, str]
    limits: Limits
    gallery: GalleryRules

    def apply_environment(self) -> None:
        """Sets the variables that are not set yet: whoever starts the page has the last word."""
        for name, value in self.environment.items():
            os.environ.setdefault(name, value)


def load_settings(path: Path = SPACEFILE) -> Settings:
    """The settings of a Spacefile.

    Raises ValueError when it is of another version, a limit is missing, unknown or not above 0, or the
    repository is no address.
    """
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if content.get("version") != 1:
        raise ValueError(f"{path.name} has version {content.get('version')!r}; this code reads version 1")
    return Settings(
        title=content["space"]["title"],
        repository=_repository(path.name, content["space"].get("repository")),
        environment={name: str(value) for name, value in content["env"]["variables"].items()},
        limits=_read_limits(path.name, content["limits"]),
        gallery=_read_gallery(path.name, content["gallery"]),
    )


def _repository(name: str, address: object) -> str | None:
    if address is None:
        return None
    if not isinstance(address, str) or not address.startswith("https://"):
        raise ValueError(f"the repository of {name} is {address!r}; give an address with https://, or none")
    return address.rstrip("/")


def _read_limits(name: str, section: dict) -> Limits:
    known = {field.name for field in fields(Limits)}
    missing, unknown = sorted(known - set(section)), sorted(set(section) - known)
    if missing or unknown:
        raise ValueError(
            f"the limits of {name} lack {', '.join(missing) or 'nothing'} and have unknown "
            f"{', '.join(unknown) or 'none'}; name each of {', '.join(sorted(known))} once"
        )
    for limit, value in section.items():
        if not isinstance(value, (int, float)) or isinstance(value, bool) or value <= 0:
            raise ValueError(f"the limit {limit} of {name} is {value!r}; give a number above 0")
    return Limits(**section)


def _read_gallery(name: str, section: dict) -> GalleryRules:
    known = [field.name for field in fields(GalleryRules)]
    if sorted(section) != sorted(known):
        raise ValueError(f"gallery of {name} has {', '.join(section)}; name each of {', '.join(known)} once")
    rules = GalleryRules(**section)
    if not isinstance(rules.visitors, bool):
        raise ValueError(f"visitors in gallery of {name} is {rules.visitors!r}; write true or false")
    if type(rules.pictures) is not int or rules.pictures < 1:
        raise ValueError(f"pictures in gallery of {name} is {rules.pictures!r}; give a whole number above 0")
    return rules
