"""What the Spacefile says, typed: how the Space is described and run, and what a visitor may ask for."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from palm_demo.inference.settings import BatchLimits
from palm_demo.installation import SPACEFILE
from palm_demo.media import MediaLimits
from palm_demo.typed_yaml import Amount, Count, Rule, Text, like, one_of, read_typed

WRITERS, OTHER_THREADS = 3, 16
COLORS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")


def _keys(of: Callable[[str], bool], remedy: str) -> Rule:
    return Rule(lambda values: all(map(of, values)), remedy)


def _is_variable(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) is not None


Variables = _keys(_is_variable, "name them with letters, digits and _, not beginning with a digit")
Address = like(r"https://\S+[^\s/]", "give an address with https:// and no / at its end")
Seconds = Rule(lambda value: value > 0 or value == -1, "give seconds, or -1 for never")


@dataclass(frozen=True)
class Space:
    """How the Hub shows the Space. id: its name, or its owner's and its name with a slash between.
    repository: the address of the code, to which the page links the lines that it cites."""

    id: Annotated[str, like(r"[\w.-]+(/[\w.-]+)?", "write NAME or OWNER/NAME")]
    title: Text
    emoji: Text
    color_from: Annotated[str, one_of(*COLORS)]
    color_to: Annotated[str, one_of(*COLORS)]
    license: Text
    short_description: Annotated[Text, Rule(lambda text: len(text) <= 60, "write 60 characters or fewer")]
    repository: Annotated[str, Address] | None = None


@dataclass(frozen=True)
class Runtime:
    """What the Space runs on, but for the machine."""

    sdk: Annotated[str, one_of("gradio")]
    sdk_version: Annotated[str, like(r"\d+\.\d+\.\d+", "give a release of gradio such as 6.31.0")]
    python: Annotated[str, like(r"3\.\d+(\.\d+)?", "give a version such as 3.12")]
    app_file: Text
    startup_timeout: Annotated[str, like(r"[1-9]\d*[smh]", "give seconds, minutes or hours such as 30m")]

    @property
    def startup_seconds(self) -> int:
        return int(self.startup_timeout[:-1]) * {"s": 1, "m": 60, "h": 3600}[self.startup_timeout[-1]]


@dataclass(frozen=True)
class Hardware:
    """The machine. suggested: to those who duplicate the Space. request: what `deploy` asks for.
    sleep_seconds: without a visitor until it sleeps, -1 for never."""

    suggested: Text
    request: Text
    sleep_seconds: Annotated[int, Seconds]


@dataclass(frozen=True)
class Hub:
    """models: repositories that the Space's page lists. preload: repositories, or a repository and files
    of it with commas between, that are downloaded while the Space is built."""

    models: tuple[Text, ...]
    preload: tuple[Text, ...]


@dataclass(frozen=True)
class Environment:
    """variables: seen by everybody. secrets: names alone; `deploy` takes the values from its environment."""

    variables: Annotated[dict[str, str], Variables]
    secrets: Annotated[tuple[str, ...], Variables]


@dataclass(frozen=True)
class Files:
    """allow: which files make up the Space; * matches / too. max_mb: of one file, in millions of bytes."""

    allow: tuple[Text, ...]
    max_mb: Amount


@dataclass(frozen=True)
class Limits:
    """What one visitor may ask for; every field stands in the Spacefile with its unit."""

    media: Count
    megapixels: Amount
    megapixels_read: Amount
    video_seconds: Amount
    decoded_frames: Count
    decoded_gigapixels: Amount
    decoding_seconds: Amount
    upload_mb: Amount
    uploads_per_minute: Count
    upload_mb_per_minute: Amount
    uploads_kept_mb: Amount
    prompt_bytes: Count
    new_tokens: Count
    labels: Count
    hits: Count
    viewed_bytes: Count
    lesson_bytes: Count
    teaching_seconds: Count
    teaching_rank: Count
    teachers: Count
    own_scopes: Count
    own_scopes_of_address: Count
    own_scopes_of_all: Count
    own_scope_minutes: Count
    rows: Count
    rows_of_one: Count
    waiting: Count
    waiting_of_one: Count
    queue: Count

    @property
    def of_media(self) -> MediaLimits:
        """The part that whoever decodes pictures and videos needs."""
        return MediaLimits(
            pixels=int(self.megapixels * 1_000_000),
            video_seconds=self.video_seconds,
            read_pixels=int(self.megapixels_read * 1_000_000),
            decoded_frames=self.decoded_frames,
            decoded_pixels=int(self.decoded_gigapixels * 1_000_000_000),
            decoding_seconds=self.decoding_seconds,
        )

    @property
    def of_batch(self) -> BatchLimits:
        """The part that whoever writes many texts at once needs."""
        return BatchLimits(self.rows, self.waiting, self.rows_of_one, self.waiting_of_one, self.queue)

    @property
    def threads(self) -> int:
        """For all who are served at once: whoever reads a text or waits for one has a thread, with each of
        the models that write."""
        return WRITERS * (self.rows + self.waiting) + self.queue + OTHER_THREADS

    @property
    def upload_bytes(self) -> int:
        return int(self.upload_mb * 1_000_000)


@dataclass(frozen=True)
class GalleryRules:
    """visitors: whether they may add pictures, which all other visitors see then. pictures: how many the
    gallery may have for a visitor to add one more."""

    visitors: bool
    pictures: Count


@dataclass(frozen=True)
class Settings:
    """All of a Spacefile, section by section."""

    version: Annotated[int, one_of(1)]
    space: Space
    runtime: Runtime
    hardware: Hardware
    hub: Hub
    env: Environment
    files: Files
    limits: Limits
    gallery: GalleryRules

    def apply_environment(self) -> None:
        """Sets the variables that are not set yet: whoever starts the page has the last word."""
        for name, value in self.env.variables.items():
            os.environ.setdefault(name, value)


def load_settings(path: Path = SPACEFILE) -> Settings:
    """The settings of a Spacefile. Raises FileError with every mistake in it, its line and its remedy."""
    return read_typed(path, Settings)
