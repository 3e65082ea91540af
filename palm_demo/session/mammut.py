"""What a session does with MaMMUT: captions, and embeddings that compare pictures with words."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Annotated, Any, TypeVar

import numpy as np
import torch
from pydantic import AfterValidator
from torch import Tensor

from palm_demo.arguments import Media, Medium, Picture, Takes, Texts, Whole, check_picture, checked
from palm_demo.checkpoints import fingerprint
from palm_demo.concurrency import in_line, made_once, piece, run_in_thread
from palm_demo.errors import DeviceMemoryError, PromptError
from palm_demo.inference.decoding import Prefill
from palm_demo.inference.prompts import check_length, label_text
from palm_demo.inference.settings import ANSWERED
from palm_demo.media import open_medium
from palm_demo.models import MaMMUT
from palm_demo.models.mammut import ImageFeatures
from palm_demo.session.loaded import READ_SIDE, Loaded, preprocessed

R = TypeVar("R")

AT_ONCE = 64
"""Pictures that are read in one pass where there is the memory for them."""


def in_parts(compute: Callable[[Sequence[Picture]], R], images: Sequence[Picture]) -> Iterator[R]:
    """What is computed of at most AT_ONCE pictures at a time; of half as many as often as there is no
    memory for more. Raises DeviceMemoryError when there is none for one."""
    done, at_once = 0, AT_ONCE
    while len(some := images[done : done + at_once]):
        try:
            with piece():
                computed = compute(some)
        except torch.OutOfMemoryError as error:
            if len(some) == 1:
                raise DeviceMemoryError(
                    "the device has no memory left for even one picture; end what else runs there, or "
                    "choose a smaller profile"
                ) from error
            at_once = len(some) // 2
            continue
        yield computed
        done += len(some)


MOST_ALTERNATIVES = 20
"""Captions of one picture: a beam of twice as many is decoded side by side."""

STRANGE = 0.02
"""`python -m benchmarks.quality --strange PICTURES` says how many drawings, and how many pictures that are
none, are less familiar."""


@dataclass(frozen=True, eq=False)
class SeenPicture:
    """What MaMMUT made of a picture: verbs that take one in place of the picture need not look again.

    memory: (1, m, dim), what captions are written from, on the CPU. latents: (1, d), as `embed_images`
    gives them. familiarity: as the verb of that name says.
    """

    memory: Tensor
    latents: np.ndarray
    familiarity: float | None


def _seen_or_picture(value: Any) -> Any:
    return value if isinstance(value, SeenPicture) else check_picture(value)


Seeable = Annotated[
    Any,
    AfterValidator(_seen_or_picture),
    Takes("a path, bytes, an open file, a PIL picture or an array; or what `see` gave"),
]


class MammutVerbs(Loaded):
    """Pictures, and words about them."""

    @checked
    @in_line
    @run_in_thread
    def see(self, image: Picture) -> SeenPicture:
        """A picture, looked at once for several verbs: `caption`, `caption_alternatives` and `classify`
        take it in the picture's place."""
        pixels = self._pixels([image])
        known = self.systems.familiarity
        with piece(), torch.no_grad():
            if isinstance(self.mammut, MaMMUT):
                patches = self.mammut.tower(pixels)
                features = self.mammut.encode_patches(patches)
            else:
                patches = None if known is None else self.mammut.tower(pixels)
                features = self.mammut.encode_images(pixels)
            familiarity = None if known is None else known(patches).max().item()
        latents = features.latents.float().numpy(force=True)
        return SeenPicture(features.memory.cpu(), latents, familiarity)

    @checked
    def caption(self, image: Seeable, max_new_tokens: Whole = 32) -> str:
        """What MaMMUT sees in a picture."""
        wanted = replace(ANSWERED, max_new_tokens=max_new_tokens)
        system = self.systems.mammut
        deltas = system.writer.stream(system.tokenizer.opening, self._prefill_of(image), wanted)
        return "".join(deltas).strip()

    @checked
    @in_line
    def captions(self, images: Media, max_new_tokens: Whole = 32) -> list[str]:
        """One caption per picture, decoded together."""
        wanted = replace(ANSWERED, max_new_tokens=max_new_tokens)
        system = self.systems.mammut
        check_length(len(system.tokenizer.opening), max_new_tokens, system.context)

        def write(some: Sequence[Picture]) -> list[str]:
            prompts = [system.tokenizer.opening] * len(some)
            return system.writer.texts(prompts, self._see_and_prefill(self._pixels(some)), wanted)

        return [*chain.from_iterable(in_parts(write, images))]

    @checked
    @in_line
    def caption_alternatives(
        self, image: Seeable, count: Whole = 5, max_new_tokens: Whole = 32
    ) -> dict[str, float]:
        """The likeliest captions, best first -> how probable MaMMUT finds each among all there could be."""
        if not 1 <= count <= MOST_ALTERNATIVES:
            raise PromptError(f"count is {count!r}; ask for 1 to {MOST_ALTERNATIVES} captions")
        system = self.systems.mammut
        wanted = replace(ANSWERED, max_new_tokens=max_new_tokens)
        check_length(1, wanted.max_new_tokens, system.context)
        prefill = self._prefill_of(image)
        return system.writer.alternatives(system.tokenizer.opening, prefill, count, max_new_tokens)

    @checked
    @in_line
    @run_in_thread
    def embed_images(self, images: Media) -> np.ndarray:
        """(n, d) float32 unit rows, in one space with `embed_texts`."""

        @torch.no_grad()
        def embed(some: Sequence[Picture]) -> np.ndarray:
            return self.mammut.encode_images(self._pixels(some)).latents.float().numpy(force=True)

        none = np.zeros((0, self.embedding_dim), np.float32)
        return np.concatenate([none, *in_parts(embed, images)])

    @checked
    @in_line
    def embed_and_caption(self, images: Media) -> tuple[np.ndarray, list[str]]:
        """What `embed_images` and `captions` give, from one pass of the vision tower."""
        system = self.systems.mammut
        check_length(len(system.tokenizer.opening), ANSWERED.max_new_tokens, system.context)

        def see(some: Sequence[Picture]) -> tuple[np.ndarray, list[str]]:
            features = self._see(self._pixels(some))

            def prefill(ids: Tensor, lengths: Sequence[int], capacity: int):
                return self.mammut.prefill(ids, lengths, capacity, features.memory)

            texts = system.writer.texts([system.tokenizer.opening] * len(some), prefill, ANSWERED)
            return features.latents.float().numpy(force=True), texts

        parts = [*in_parts(see, images)]
        none = np.zeros((0, self.embedding_dim), np.float32)
        latents = np.concatenate([none, *(latents for latents, _ in parts)])
        return latents, [*chain.from_iterable(texts for _, texts in parts)]

    @checked
    @in_line
    @run_in_thread
    def embed_texts(self, texts: Texts) -> np.ndarray:
        """(n, d) float32 unit rows. Raises PromptError on an empty text or one too long."""
        if not texts:
            return np.zeros((0, self.embedding_dim), np.float32)
        texts = [text.strip().lower() for text in texts]
        if not all(texts):
            raise PromptError("a text to search for is empty; write a word or two")
        system = self.systems.mammut
        rows = system.tokenizer.encode_whole(texts)
        for row in rows:
            check_length(len(row), 0, system.context)

        def embed(some: Sequence[list[int]]) -> np.ndarray:
            ids = torch.nn.utils.rnn.pad_sequence(
                [torch.tensor(row) for row in some],
                batch_first=True,
                padding_value=system.tokenizer.pad_id,
            )
            lengths = torch.tensor([len(row) for row in some])
            real = torch.arange(ids.shape[1]) < lengths[:, None]
            with piece(), torch.no_grad():
                latents = self.mammut.embed_texts(ids.to(system.device), real.to(system.device))
            return latents.float().numpy(force=True)

        return np.concatenate([*in_parts(embed, rows)])

    @checked
    @in_line
    def classify(self, image: Seeable, labels: Texts) -> dict[str, float]:
        """Label -> probability that it names the picture; they sum to 1."""
        labels = [label.strip() for label in labels]
        if not labels or not all(labels):
            raise PromptError("a label is empty or none was given; give at least one, each a noun")
        if len(set(labels)) < len(labels):
            twice = next(label for label in labels if labels.count(label) > 1)
            raise PromptError(f"the label {twice!r} was given twice; give each label once")
        (picture,) = image.latents if isinstance(image, SeenPicture) else self.embed_images([image])
        texts = self.embed_texts([label_text(label) for label in labels])
        logits = torch.from_numpy(texts @ picture) * self.mammut.scale.item()
        return dict(zip(labels, logits.softmax(dim=0).tolist(), strict=True))

    @checked
    @in_line
    def similarity(self, texts: Texts, images: Media) -> np.ndarray:
        """(texts, images) cosines of their latents, -1 to 1."""
        return self.embed_texts(texts) @ self.embed_images(images).T

    @checked
    @in_line
    @run_in_thread
    def familiarity(self, medium: Medium) -> float | None:
        """How much a picture, or the best frame of a video, looks like those the models were trained
        on: the part of these, 0 to 1, that look stranger. Below STRANGE, what the models say about
        it means little. None where nobody has measured what the models were trained on."""
        if self.systems.familiarity is None:
            return None
        with piece(), torch.no_grad():
            frames = open_medium(medium, self.systems.frames, self.media_limits, max_side=READ_SIDE)
            patches = self.mammut.tower(preprocessed(frames, self.mammut.tower, self.systems.mammut.device))
        return self.systems.familiarity(patches).max().item()

    @made_once
    def fingerprint(self) -> str:
        """Which weights make the latents: those of a gallery are of no use to others."""
        return fingerprint(self.mammut.latent_weights())

    def _prefill_of(self, image: Picture | SeenPicture) -> Prefill:
        """Of one picture, which is not looked at again where that was done."""
        if not isinstance(image, SeenPicture):
            return self._see_and_prefill(self._pixels([image]))

        def prefill(ids: Tensor, lengths: Sequence[int], capacity: int):
            return self.mammut.prefill(ids, lengths, capacity, image.memory.to(ids.device))

        return prefill

    @run_in_thread
    @torch.no_grad()
    def _see(self, pixels: Tensor) -> ImageFeatures:
        return self.mammut.encode_images(pixels)

    def _see_and_prefill(self, pixels: Tensor) -> Prefill:
        """MaMMUT's prefill, with its pictures looked at when it is called."""

        def prefill(ids: Tensor, lengths: Sequence[int], capacity: int):
            memory = self.mammut.encode_images(pixels).memory
            return self.mammut.prefill(ids, lengths, capacity, memory)

        return prefill
