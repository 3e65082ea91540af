"""What a profile says: for each of the three systems one or more choices, with files and what they take.

A profile is a YAML file that `read_yaml` reads into these classes; `hub.yaml` beside this file is one.
"""

import re
from collections.abc import Iterator
from dataclasses import fields, replace
from re import fullmatch
from typing import Annotated, Literal

from pydantic import AfterValidator, model_validator
from pydantic.dataclasses import dataclass

from palm_demo.validation import SECTION, Amount, Count, Many, String, Text, Version, matches, mistake, rule
from palm_demo.weight_files import WEIGHTS, is_pickle

PALM_CONTEXT, FLAMINGO_CONTEXT = 8192, 2048
"""Tokens that the released ones were trained for."""

CPU_LAYOUT = 0.15
"""What a weight takes beyond its own size, at most, where a CPU keeps its one copy in another layout."""

ITEM_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}


def _up_to(most: int) -> AfterValidator:
    return rule(lambda value: value <= most, f"give 1 to {most}")


@dataclass(frozen=True, config=SECTION)
class File:
    """A file of a repository on the Hub.

    revision: a branch, a tag or a commit. gb: its size in billions of bytes, of an index that of its shards;
    None where nobody has said, and then nothing is counted before the Hub tells. unverified: what of this
    entry nobody has seen on the Hub, such as the file's name or that a commit is the right one. otherwise:
    what is taken where the Hub does not have this one.
    """

    repo: Annotated[String, matches(r"[\w.-]+/[\w.-]+", "write OWNER/NAME")]
    file: Annotated[String, matches(r"[^/\s][^\s]*", "write a path within the repository")]
    revision: Text = "main"
    gb: Amount | None = None
    unverified: Many[Text] = ()
    otherwise: "File | None" = None

    @property
    def names(self) -> tuple["File", ...]:
        """The file and those that are taken in its place, in the order in which they are tried."""
        return (self, *(self.otherwise.names if self.otherwise else ()))

    @property
    def is_pickle(self) -> bool:
        """Whether the weights are written once more, as safetensors, before they are read."""
        return is_pickle(self.file)

    def beside(self, name: str) -> "File":
        """Another file in the same folder."""
        folder = self.file.rpartition("/")[0]
        return File(self.repo, f"{folder}/{name}".lstrip("/"), self.revision)


def _file_like(pattern: str, remedy: str) -> AfterValidator:
    def check(file: File) -> File:
        for name in file.names:
            if not fullmatch(pattern, name.file):
                raise mistake(remedy, f"names {name.file!r}")
        return file

    return AfterValidator(check)


READ = f".+({'|'.join(map(re.escape, WEIGHTS))})"
Weights = Annotated[File, _file_like(READ, "name safetensors, their .index.json, or a pickle (.pt, .bin)")]
Document = Annotated[File, _file_like(r".+\.json", "name a .json file")]


@dataclass(frozen=True, kw_only=True, config=SECTION)
class Choice:
    """One set of weights that a system can have.

    name, trained_on, knows, licence: for the page. weights, and what else is a File: where it comes from.
    dtype: of the weights in memory. without_bfloat16: the dtype instead, on a GPU that only emulates
    bfloat16. device: "auto" is the GPU where there is one. rows: texts that it writes at once, at most.
    memory_gb: that it takes in all, in billions of bytes: weights, the cache of so many rows, and what it
    computes with. packed_gb: what of that are weights which a CPU lays out anew, of linear maps of this
    package's own; where it is not said, all of it counts so.
    """

    name: Text
    trained_on: Text
    knows: Text
    licence: Text = "not named in its profile"
    weights: Weights
    dtype: Literal["bfloat16", "float16", "float32"]
    without_bfloat16: Literal["float16", "float32"] | None = None
    device: Literal["auto", "cuda", "cpu"] = "auto"
    rows: Count
    memory_gb: Amount
    packed_gb: Amount | None = None

    def memory_on(self, device: str) -> float:
        """Billions of bytes of memory that the choice takes on a "cuda" or a "cpu" device."""
        packed_gb = self.memory_gb if self.packed_gb is None else self.packed_gb
        return self.memory_gb + (CPU_LAYOUT * packed_gb if device == "cpu" else 0.0)

    def in_dtype(self, dtype: str) -> "Choice":
        """The same choice in another dtype, with the memory that it takes then."""
        wider = ITEM_BYTES[dtype] / ITEM_BYTES[self.dtype]
        packed_gb = None if self.packed_gb is None else self.packed_gb * wider
        return replace(self, dtype=dtype, memory_gb=self.memory_gb * wider, packed_gb=packed_gb)

    @property
    def files(self) -> Iterator[File]:
        """The files that have to be downloaded for the choice."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tower):
                value = value.weights
            if isinstance(value, File):
                yield value


@dataclass(frozen=True, kw_only=True, config=SECTION)
class PalmChoice(Choice):
    """A PaLM. In float16 its positions would outgrow the numbers. context: tokens of prompt and answer."""

    layout: Literal["palm-8k"]
    dtype: Literal["bfloat16", "float32"]
    without_bfloat16: Literal["float32"] | None = None
    tokenizer: Document
    context: Annotated[Count, _up_to(PALM_CONTEXT)]


@dataclass(frozen=True, config=SECTION)
class Tower:
    """A CLIP of which the picture half is used. activation: what its blocks learned with; no tensor tells it,
    nor how many heads they have."""

    weights: Weights
    heads: Count
    activation: Literal["gelu", "quick_gelu"]


@dataclass(frozen=True, kw_only=True, config=SECTION)
class FlamingoChoice(Choice):
    """An OpenFlamingo on a language model of its own.

    every: a cross-attention layer before every n-th block. heads: of resampler and cross-attention layers.
    frames: pictures that a video is shown as: 1 is the frame in its middle, more stand in a chunk each, as
    examples do.
    """

    layout: Literal["openflamingo"]
    language_model: Weights
    config: Document
    tokenizer: Document
    tower: Tower
    every: Count
    heads: Count = 8
    frames: Count = 1
    context: Annotated[Count, _up_to(FLAMINGO_CONTEXT)]


@dataclass(frozen=True, kw_only=True, config=SECTION)
class MammutChoice(Choice):
    """openMaMMUT, or open_clip's CoCa. heads, text_heads, pool_heads: of the picture's attention, the text's,
    and that which pools the picture, which only CoCa has. Their words are CLIP's, which open_clip brings."""

    layout: Literal["openmammut", "coca"]
    heads: Count
    text_heads: Count
    pool_heads: Count | None = None

    @model_validator(mode="after")
    def _only_coca_pools(self) -> "MammutChoice":
        if self.layout == "coca" and self.pool_heads is None:
            raise mistake("name it: CoCa pools with attention", "is missing", field="pool_heads")
        if self.layout == "openmammut" and self.pool_heads is not None:
            wrong = f"is {self.pool_heads}"
            raise mistake("leave it out: only CoCa has them", wrong, field="pool_heads")
        return self


NOT_EMPTY = rule(bool, "name one, or leave the section out", "has no choices")


@dataclass(frozen=True, config=SECTION)
class Profile:
    """Choices by their names, the best first; a system that is left out gets the bundled weights."""

    version: Version
    palm: Annotated[dict[str, PalmChoice], NOT_EMPTY] | None = None
    flamingo: Annotated[dict[str, FlamingoChoice], NOT_EMPTY] | None = None
    mammut: Annotated[dict[str, MammutChoice], NOT_EMPTY] | None = None

    @model_validator(mode="after")
    def _names_a_system(self) -> "Profile":
        if not self.systems:
            raise mistake("name palm, flamingo or mammut", "names no system")
        return self

    @property
    def systems(self) -> dict[str, dict[str, Choice]]:
        """The systems that the profile names, with their choices."""
        named = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "version"}
        return {system: choices for system, choices in named.items() if choices is not None}
