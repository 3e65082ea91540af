"""What a profile says: for each of the three systems one or more choices, with files and what they take.

A profile is a YAML file that `read_typed` reads into these classes; `hub.yaml` beside this file is one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Annotated

from palm_demo.typed_yaml import Amount, Count, Rule, Text, like, one_of

WEIGHTS = r".+\.(safetensors|safetensors\.index\.json|bin\.index\.json|pt|pth|bin)"
PICKLES = (".pt", ".pth", ".bin")
PALM_CONTEXT, FLAMINGO_CONTEXT = 8192, 2048
"""Tokens that the released ones were trained for."""

CPU_LAYOUT = 0.15
"""What a weight takes beyond its own size, at most, where a CPU keeps its one copy in another layout."""

ITEM_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}


def _up_to(most: int) -> Rule:
    return Rule(lambda value: 1 <= value <= most, f"give 1 to {most}")


@dataclass(frozen=True)
class File:
    """A file of a repository on the Hub.

    revision: a branch, a tag or a commit. gb: its size in billions of bytes, of an index that of its shards;
    None where nobody has said, and then nothing is counted before the Hub tells. unverified: what of this
    entry nobody has seen on the Hub, such as the file's name or that a commit is the right one. otherwise:
    what is taken where the Hub does not have this one.
    """

    repo: Annotated[str, like(r"[\w.-]+/[\w.-]+", "write OWNER/NAME")]
    file: Annotated[str, like(r"[^/\s][^\s]*", "write a path within the repository")]
    revision: Text = "main"
    gb: Amount | None = None
    unverified: tuple[Text, ...] = ()
    otherwise: "File | None" = None

    @property
    def names(self) -> tuple["File", ...]:
        """This one and what is taken in its place, in the order in which they are tried."""
        return (self, *(self.otherwise.names if self.otherwise else ()))

    @property
    def is_pickle(self) -> bool:
        """Whether its weights are written once more, as safetensors, before they are read."""
        return self.file.endswith(PICKLES)

    def beside(self, name: str) -> "File":
        """Another file in the same folder."""
        folder = self.file.rpartition("/")[0]
        return File(self.repo, f"{folder}/{name}".lstrip("/"), self.revision)


def _file_like(pattern: str, remedy: str) -> Rule:
    return Rule(lambda file: all(like(pattern, remedy).holds(name.file) for name in file.names), remedy)


Weights = Annotated[File, _file_like(WEIGHTS, "name safetensors, their .index.json, or a pickle (.pt, .bin)")]
Document = Annotated[File, _file_like(r".+\.json", "name a .json file")]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What one system can be.

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
    dtype: Annotated[str, one_of("bfloat16", "float16", "float32")]
    without_bfloat16: Annotated[str, one_of("float16", "float32")] | None = None
    device: Annotated[str, one_of("auto", "cuda", "cpu")] = "auto"
    rows: Count
    memory_gb: Amount
    packed_gb: Amount | None = None

    def memory_on(self, device: str) -> float:
        """Billions of bytes that it takes on a "cuda" or a "cpu" device."""
        packed_gb = self.memory_gb if self.packed_gb is None else self.packed_gb
        return self.memory_gb + (CPU_LAYOUT * packed_gb if device == "cpu" else 0.0)

    def in_dtype(self, dtype: str) -> "Choice":
        """The same choice in another dtype, with the memory that it takes then."""
        wider = ITEM_BYTES[dtype] / ITEM_BYTES[self.dtype]
        packed_gb = None if self.packed_gb is None else self.packed_gb * wider
        return replace(self, dtype=dtype, memory_gb=self.memory_gb * wider, packed_gb=packed_gb)

    @property
    def files(self) -> Iterator[File]:
        """All that has to be downloaded for it."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tower):
                value = value.weights
            if isinstance(value, File):
                yield value


@dataclass(frozen=True, kw_only=True)
class PalmChoice(Choice):
    """A PaLM. In float16 its positions would outgrow the numbers. context: tokens of prompt and answer."""

    layout: Annotated[str, one_of("palm-8k")]
    dtype: Annotated[str, one_of("bfloat16", "float32")]
    without_bfloat16: Annotated[str, one_of("float32")] | None = None
    tokenizer: Document
    context: Annotated[int, _up_to(PALM_CONTEXT)]


@dataclass(frozen=True)
class Tower:
    """A CLIP of which the picture half is used. activation: what its blocks learned with; no tensor tells it,
    nor how many heads they have."""

    weights: Weights
    heads: Count
    activation: Annotated[str, one_of("gelu", "quick_gelu")]


@dataclass(frozen=True, kw_only=True)
class FlamingoChoice(Choice):
    """An OpenFlamingo on a language model of its own. every: a bridge before every n-th block. heads: of
    resampler and bridges. frames: pictures that a video is shown as: 1 is the frame in its middle, more stand
    in a chunk each, as examples do."""

    layout: Annotated[str, one_of("openflamingo")]
    language_model: Weights
    config: Document
    tokenizer: Document
    tower: Tower
    every: Count
    heads: Count = 8
    frames: Count = 1
    context: Annotated[int, _up_to(FLAMINGO_CONTEXT)]


@dataclass(frozen=True, kw_only=True)
class MammutChoice(Choice):
    """openMaMMUT, or open_clip's CoCa. heads, text_heads, pool_heads: of the picture's attention, the text's,
    and that which pools the picture, which only CoCa has. Their words are CLIP's, which open_clip brings."""

    layout: Annotated[str, one_of("openmammut", "coca")]
    heads: Count
    text_heads: Count
    pool_heads: Count | None = None


@dataclass(frozen=True)
class Profile:
    """Choices by their names, the best first; a system that is left out gets the bundled weights."""

    version: Annotated[int, one_of(1)]
    palm: dict[str, PalmChoice] | None = None
    flamingo: dict[str, FlamingoChoice] | None = None
    mammut: dict[str, MammutChoice] | None = None

    @property
    def systems(self) -> dict[str, dict[str, Choice]]:
        """Those that are named."""
        named = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "version"}
        return {system: choices for system, choices in named.items() if choices is not None}
