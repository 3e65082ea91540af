"""What the Spacefile says, typed: how the Space is described and run, and what a visitor may ask for."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Strict
from pydantic.dataclasses import dataclass

from palm_demo.inference.settings import BatchLimits
from palm_demo.installation import SPACEFILE
from palm_demo.validation import SECTION, Amount, Count, Flag, Many, String, Text, Version, matches, rule
from palm_demo.yaml_files import read_yaml

if TYPE_CHECKING:  # it brings torch, which a command's --help does not need
    from palm_demo.media import MediaLimits

WRITERS, OTHER_THREADS = 3, 16

Color = Literal["red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"]
VariableName = Annotated[
    String,
    matches(r"[A-Za-z_][A-Za-z0-9_]*", "name it with letters, digits and _, not beginning with a digit"),
]
Address = Annotated[
    String, matches(r"https://\S+[^\s/]", "give an address with https:// and no / at its end")
]
Seconds = Annotated[
    int, Strict(), rule(lambda value: value > 0 or value == -1, "give seconds, or -1 for never")
]


@dataclass(frozen=True, config=SECTION)
class Space:
    """How the Hub shows the Space. id: its name, or its owner's and its name with a slash between.
    repository: the address of the code, to which the page links the lines that it cites."""

    id: Annotated[String, matches(r"[\w.-]+(/[\w.-]+)?", "write NAME or OWNER/NAME")]
    title: Text
    emoji: Text
    color_from: Color
    color_to: Color
    license: Text
    short_description: Annotated[Text, rule(lambda text: len(text) <= 60, "write 60 characters or fewer")]
    repository: Address | None = None


@dataclass(frozen=True, config=SECTION)
class Runtime:
    """What the Space runs on, but for the machine."""

    sdk: Literal["gradio"]
    sdk_version: Annotated[String, matches(r"\d+\.\d+\.\d+", "give a release of gradio such as 6.31.0")]
    python: Annotated[String, matches(r"3\.\d+(\.\d+)?", "give a version such as 3.12")]
    app_file: Text
    startup_timeout: Annotated[
        String, matches(r"[1-9]\d*[smh]", "give seconds, minutes or hours such as 30m")
    ]

    @property
    def startup_timeout_seconds(self) -> int:
        return int(self.startup_timeout[:-1]) * {"s": 1, "m": 60, "h": 3600}[self.startup_timeout[-1]]


@dataclass(frozen=True, config=SECTION)
class Hardware:
    """The machine. suggested: to those who duplicate the Space. request: what `deploy` asks for.
    sleep_seconds: without a visitor until it sleeps, -1 for never."""

    suggested: Text
    request: Text
    sleep_seconds: Seconds


@dataclass(frozen=True, config=SECTION)
class Hub:
    """models: repositories that the Space's page lists. preload: repositories, or a repository and files
    of it with commas between, that are downloaded while the Space is built."""

    models: Many[Text]
    preload: Many[Text]


@dataclass(frozen=True, config=SECTION)
class Environment:
    """variables: seen by everybody. secrets: names alone; `deploy` takes the values from its environment."""

    variables: dict[VariableName, String]
    secrets: Many[VariableName]


@dataclass(frozen=True, config=SECTION)
class Files:
    """allow: which files make up the Space; * matches / too. max_mb: of one file, in millions of bytes."""

    allow: Many[Text]
    max_mb: Amount


@dataclass(frozen=True, config=SECTION)
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
    finetuning_bytes: Count
    finetuning_seconds: Count
    adapter_rank: Count
    finetunings_at_once: Count
    user_adapters: Count
    user_adapters_of_address: Count
    user_adapters_of_all: Count
    user_adapter_minutes: Count
    rows: Count
    rows_of_one: Count
    waiting: Count
    waiting_of_one: Count
    queue: Count

    @property
    def media_limits(self) -> "MediaLimits":
        """The part that whoever decodes pictures and videos needs."""
        from palm_demo.media import MediaLimits

        return MediaLimits(
            pixels=int(self.megapixels * 1_000_000),
            video_seconds=self.video_seconds,
            read_pixels=int(self.megapixels_read * 1_000_000),
            decoded_frames=self.decoded_frames,
            decoded_pixels=int(self.decoded_gigapixels * 1_000_000_000),
            decoding_seconds=self.decoding_seconds,
        )

    @property
    def batch_limits(self) -> BatchLimits:
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


@dataclass(frozen=True, config=SECTION)
class GalleryRules:
    """visitors: whether they may add pictures, which all other visitors see then. pictures: how many the
    gallery may have for a visitor to add one more."""

    visitors: Flag
    pictures: Count


@dataclass(frozen=True, config=SECTION)
class Settings:
    """All of a Spacefile, section by section."""

    version: Version
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
    return read_yaml(path, Settings)
