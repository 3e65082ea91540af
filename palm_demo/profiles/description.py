"""The contents of a profile: for each model one or more choices of weights, with files and sizes.

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
"""Tokens that the released models were trained for."""

CPU_LAYOUT = 0.15
"""The most memory that a CPU's packed weights take beyond their size, as a fraction of it."""

ITEM_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}


def _up_to(most: int) -> AfterValidator:
    return rule(lambda value: value <= most, f"give 1 to {most}")


@dataclass(frozen=True, config=SECTION)
class File:
    """A file of a repository on the Hub.

    Attributes:
        revision: a branch, tag or commit.
        gb: its size in billions of bytes, of an index that of its shards; None if unknown, which
            counts as nothing until the Hub says it.
        unverified: which parts of this entry nobody has checked on the Hub.
        otherwise: the file to take if the Hub does not have this one.
    """

    repo: Annotated[String, matches(r"[\w.-]+/[\w.-]+", "write OWNER/NAME")]
    file: Annotated[String, matches(r"[^/\s][^\s]*", "write a path within the repository")]
    revision: Text = "main"
    gb: Amount | None = None
    unverified: Many[Text] = ()
    otherwise: "File | None" = None

    @property
    def names(self) -> tuple["File", ...]:
        """The file and its alternatives, in the order in which they are tried."""
        return (self, *(self.otherwise.names if self.otherwise else ()))

    @property
    def is_pickle(self) -> bool:
        """Whether the file is a pickle, which is converted to safetensors."""
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
    """One set of weights that a model can have.

    Attributes:
        name, trained_on, knows, licence: shown on the page.
        weights: the file.
        dtype: of the weights in memory.
        without_bfloat16: the dtype on a GPU that only emulates bfloat16.
        device: "auto" is the GPU if there is one.
        rows: the most texts written at once.
        memory_gb: all the memory it takes in billions of bytes: weights, the cache of `rows` rows, and
            intermediate results.
        packed_gb: the part of it that is weights which a CPU packs; by default all.
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
        """Memory that the choice takes on a "cuda" or "cpu" device, in billions of bytes."""
        packed_gb = self.memory_gb if self.packed_gb is None else self.packed_gb
        return self.memory_gb + (CPU_LAYOUT * packed_gb if device == "cpu" else 0.0)

    def in_dtype(self, dtype: str) -> "Choice":
        """The choice in another dtype, with the memory that it then takes."""
        wider = ITEM_BYTES[dtype] / ITEM_BYTES[self.dtype]
        packed_gb = None if self.packed_gb is None else self.packed_gb * wider
        return replace(self, dtype=dtype, memory_gb=self.memory_gb * wider, packed_gb=packed_gb)

    @property
    def files(self) -> Iterator[File]:
        """The files that the choice needs."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tower):
                value = value.weights
            if isinstance(value, File):
                yield value


@dataclass(frozen=True, kw_only=True, config=SECTION)
class PalmChoice(Choice):
    """A choice for PaLM. In float16 its positions would overflow.

    Attributes:
        context: tokens of prompt and answer together.
        quantize: "int8" rounds the weights to 8 bits on an x86 CPU, once they are read. They then take
            half of bfloat16's memory, and their products about half of its time. Elsewhere it does nothing.
    """

    layout: Literal["palm-8k"]
    dtype: Literal["bfloat16", "float32"]
    without_bfloat16: Literal["float32"] | None = None
    quantize: Literal["int8"] | None = None
    tokenizer: Document
    context: Annotated[Count, _up_to(PALM_CONTEXT)]


@dataclass(frozen=True, config=SECTION)
class Tower:
    """A CLIP whose picture half is used.

    Attributes:
        heads, activation: of its blocks. The tensors do not show them.
    """

    weights: Weights
    heads: Count
    activation: Literal["gelu", "quick_gelu"]


@dataclass(frozen=True, kw_only=True, config=SECTION)
class FlamingoChoice(Choice):
    """An OpenFlamingo on a language model of its own.

    Attributes:
        every: a cross-attention layer before every n-th block.
        heads: of resampler and cross-attention layers.
        frames: how many pictures a video is shown as. One is the middle frame; several stand in a
            chunk each, as examples do.
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
    """A choice for MaMMUT: openMaMMUT, or open_clip's CoCa. Their tokenizer is CLIP's, which open_clip
    includes.

    Attributes:
        heads, text_heads, pool_heads: heads of the attention of pictures, of texts, and of the
            pooling, which only CoCa has.
    """

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
    """Choices for each model by name, best first. A model that is left out gets the bundled weights."""

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
        """The models that the profile names, with their choices."""
        named = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "version"}
        return {system: choices for system, choices in named.items() if choices is not None}
