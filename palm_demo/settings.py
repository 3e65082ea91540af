"""The Spacefile's settings, typed: how the Space is described and run, and the limits for visitors.

`ServeOptions` are the settings that may change from start to start: options of `serve` and environment
variables.
"""

import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Strict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from palm_demo.errors import ArgumentError
from palm_demo.inference.settings import BatchLimits
from palm_demo.installation import GALLERY_VARIABLE, PROFILE_VARIABLE, SPACEFILE
from palm_demo.validation import (
    SECTION,
    Amount,
    Count,
    Flag,
    Many,
    String,
    Text,
    Version,
    described,
    matches,
    rule,
)
from palm_demo.yaml_files import read_yaml

if TYPE_CHECKING:  # it brings torch, which a command's --help does not need
    from palm_demo.media import MediaLimits

WRITERS, OTHER_THREADS = 3, 16
"""Models that write texts, and threads beside those in which texts are written or wait."""

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
    """How the Hub shows the Space.

    Attributes:
        id: NAME or OWNER/NAME.
        repository: the address of the code, to which the page links the lines that it cites.
    """

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
    """What the Space runs on, except for the machine."""

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
    """The Space's machine.

    Attributes:
        suggested: to those who duplicate the Space.
        request: what `deploy` requests.
        sleep_seconds: without a visitor until it sleeps; -1 for never.
    """

    suggested: Text
    request: Text
    sleep_seconds: Seconds


@dataclass(frozen=True, config=SECTION)
class Hub:
    """Models of the Hub.

    Attributes:
        models: repositories that the Space's page lists.
        preload: repositories to download while the Space is built, each optionally followed by files
            with commas between.
    """

    models: Many[Text]
    preload: Many[Text]


@dataclass(frozen=True, config=SECTION)
class Environment:
    """Environment variables of the Space.

    Attributes:
        variables: visible to everybody.
        secrets: names only; `deploy` takes the values from its environment.
    """

    variables: dict[VariableName, String]
    secrets: Many[VariableName]


@dataclass(frozen=True, config=SECTION)
class Files:
    """The Space's files.

    Attributes:
        allow: patterns of the files that make up the Space; * matches / too.
        max_mb: the largest file, in millions of bytes.
    """

    allow: Many[Text]
    max_mb: Amount


@dataclass(frozen=True, config=SECTION)
class Limits:
    """Limits for visitors. The Spacefile explains each with its unit."""

    media: Count
    megapixels: Amount
    megapixels_read: Amount
    video_seconds: Amount
    decoded_frames: Count
    decoded_gigapixels: Amount
    decoding_seconds: Amount
    requests_of_one: Count
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
        """The limits on decoding pictures and videos."""
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
        """The limits of each model's batch."""
        return BatchLimits(self.rows, self.waiting, self.rows_of_one, self.waiting_of_one, self.queue)

    @property
    def threads(self) -> int:
        """Threads for everyone who is served at once: each text that is written or waits has one, with
        each of the models."""
        return WRITERS * (self.rows + self.waiting) + self.queue + OTHER_THREADS

    @property
    def upload_bytes(self) -> int:
        return int(self.upload_mb * 1_000_000)


@dataclass(frozen=True, config=SECTION)
class GalleryRules:
    """Who may fill the gallery.

    Attributes:
        visitors: whether visitors may add pictures, which all others then see.
        pictures: the size of the gallery from which on visitors may not add more.
    """

    visitors: Flag
    pictures: Count


@dataclass(frozen=True, config=SECTION)
class Settings:
    """All settings of a Spacefile, by section."""

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
        """Sets the environment variables that are not set yet, so whoever starts the page can override
        them."""
        for name, value in self.env.variables.items():
            os.environ.setdefault(name, value)


class FromOutside:
    """The help of an option, and the environment variables that set it, the first before others."""

    def __init__(self, help: str, *variables: str):
        self.help, self.variables = help, variables


Port = Annotated[int, rule(lambda port: 1 <= port <= 65535, "give 1 to 65535")]


@dataclass(frozen=True, config=SECTION)
class ServeOptions:
    """Options of `serve` with their defaults.

    Fields with a variable may also be set in the environment, or in the Spacefile under env.variables.

    Attributes:
        port: None for the first free one from 7860 on.
        gallery: None for the place of the profile's own.
        replicas, cpus: processes of the engine "ray", and cores of each.
    """

    profile: Annotated[
        Text, FromOutside("Which weights: tiny, small, hub, or a YAML file.", PROFILE_VARIABLE)
    ] = "tiny"
    gallery: Annotated[
        Text | None,
        FromOutside(
            "A folder or s3://…; by default the gallery that the profile's page has.", GALLERY_VARIABLE
        ),
    ] = None
    host: Annotated[Text, FromOutside("Address at which the page listens.", "GRADIO_SERVER_NAME")] = (
        "127.0.0.1"
    )
    port: Annotated[
        Port | None,
        FromOutside("Its port; by default the first free one from 7860 on.", "PORT", "GRADIO_SERVER_PORT"),
    ] = None
    mcp: Annotated[bool, FromOutside("Offers the endpoints as tools of assistants.", "PALM_DEMO_MCP")] = False
    engine: Annotated[Literal["local", "ray"], FromOutside("ray: the models on replicas of their own.")] = (
        "local"
    )
    replicas: Annotated[Count, FromOutside("Processes of --engine ray that answer.")] = 2
    cpus: Annotated[Count, FromOutside("Cores of each of them.")] = 1

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ, **given: object) -> "ServeOptions":
        """The options from `given`, then the environment, then the defaults.

        given: by field; None counts as not given. Raises ArgumentError with every mistake, by its
        option or variable.
        """
        values, places = {}, {}
        for field in fields(cls):
            for variable in cls.outside(field.name).variables:
                if environment.get(variable) and field.name not in values:
                    values[field.name], places[field.name] = environment[variable], variable
            if given.get(field.name) is not None:
                values[field.name], places[field.name] = str(given[field.name]), f"--{field.name}"
        try:
            return TypeAdapter(cls).validate_strings(values)
        except ValidationError as error:
            mistakes = [(places[str(one["loc"][0])], *described(one, cls)) for one in error.errors()]
            raise ArgumentError(
                "\n".join(f"{place} {wrong.partition(' ')[2]}; {remedy}" for place, wrong, remedy in mistakes)
            ) from error

    @classmethod
    def apply(cls, **given: object) -> "ServeOptions":
        """Reads the options and sets the variables of those that were given.

        Code that reads the variables later, in this process or a child, then sees them. Raises
        ArgumentError as `read` does.
        """
        options = cls.read(**given)
        for name, value in given.items():
            if value is not None and (variables := cls.outside(name).variables):
                os.environ[variables[0]] = str(value)
        return options

    @classmethod
    def outside(cls, field: str) -> FromOutside:
        """The help and the variables of a field."""
        metadata = cls.__pydantic_fields__[field].metadata
        return next(one for one in metadata if isinstance(one, FromOutside))


def load_settings(path: Path = SPACEFILE) -> Settings:
    """Reads a Spacefile. Raises FileError with every mistake in it, its line and its remedy."""
    return read_yaml(path, Settings)
