"""MaMMUT in a session: captions of pictures, and embeddings that compare pictures with words."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from palm_demo import world
from palm_demo.arguments import Media, Medium, Picture, Texts, Whole, checked
from palm_demo.checkpoints import fingerprint
from palm_demo.concurrency import FairQueue, in_turn, locked_cached_property, queued, run_in_thread
from palm_demo.errors import DeviceMemoryError, PromptError, shown
from palm_demo.inference.decoding import Prefill
from palm_demo.inference.phrases import phrase
from palm_demo.inference.prompts import check_length
from palm_demo.inference.settings import ANSWERED
from palm_demo.media import MediaLimits, open_image, open_medium
from palm_demo.models import MaMMUT
from palm_demo.models.captioner import Captioner
from palm_demo.models.mammut import ImageFeatures
from palm_demo.models.ood import OODDetector
from palm_demo.session.encoded_image import EncodedImage, PictureOrEncoded
from palm_demo.session.loaded_models import LoadedModel
from palm_demo.session.part import READ_SIDE, Part, preprocess
from palm_demo.session.searching import NONE, KnownNames, known_names
from palm_demo.session.seen_frames import SeenFrames

R = TypeVar("R")

AT_ONCE = 64
"""Pictures that are encoded in one pass if there is enough memory."""
MOST_ALTERNATIVES = 20
"""Captions of one picture: a beam of twice as many is decoded side by side."""
PROBABLE = 0.01
"""The least probability of an alternative caption; less would be shown as 0 %."""
OUT_OF_DISTRIBUTION = 0.93
"""The OOD score above which a picture is neither a drawing nor a photograph of what the models know.

`python -m benchmarks.quality --strange PICTURES` measures how many drawings and how many other
pictures lie above it.
"""


@dataclass(frozen=True)
class Description:
    """What MaMMUT says of a picture.

    Attributes:
        caption: as of the verb `caption`.
        alternatives: as of the verb `caption_alternatives`.
    """

    caption: str
    alternatives: dict[str, float]


class MammutPart(Part[MaMMUT | Captioner]):
    """The part of a session with MaMMUT or another captioner. Session explains the verbs under the same
    names.

    Attributes:
        media_limits: limits on pictures and videos.
        seen: the patches of what the tower has seen.
        ood: the detector for its training pictures; None if there is none.
        frames: frames of a video whose OOD score is asked for.
    """

    def __init__(
        self,
        loaded: LoadedModel[MaMMUT | Captioner],
        turns: FairQueue,
        media_limits: MediaLimits,
        seen: SeenFrames,
        ood: OODDetector | None = None,
        frames: int = 1,
    ):
        min_tokens = loaded.model.min_tokens if isinstance(loaded.model, Captioner) else 0
        super().__init__(loaded, turns, min_tokens)
        self.media_limits, self.seen, self.ood, self.frames = media_limits, seen, ood, frames

    @locked_cached_property
    def fingerprint(self) -> str:
        """The fingerprint of the weights that make the embeddings. Embeddings of other weights cannot be
        compared."""
        return fingerprint(self.model.latent_weights())

    @property
    def embedding_dim(self) -> int:
        """The width of an embedding."""
        return self.model.dim_latents

    @locked_cached_property
    def known_names(self) -> KnownNames | None:
        """The names that words are compared with; None for weights for which this has not been measured."""
        return KnownNames(self.embed_texts(known_names()), self.model.scale.item()) if self.bundled else None

    @queued
    def opened_image(self, image: Picture) -> Image.Image:
        """Opens a picture as the model reads it: upright, in sRGB, on white, at most READ_SIDE wide and
        high."""
        with in_turn():
            return open_image(image, self.media_limits, READ_SIDE)

    @checked
    @queued
    @run_in_thread
    def encode_image(self, image: Picture) -> EncodedImage:
        """Encodes a picture once for several verbs."""
        pixels = self._pixels([image])
        with in_turn(), torch.no_grad():
            if isinstance(self.model, MaMMUT):
                patches = self._patches(self.seen.keys(self.model.tower, pixels), pixels)
                features = self.model.encode_patches(patches)
            else:
                patches = None if self.ood is None else self.model.tower(pixels)
                features = self.model.encode_images(pixels)
            ood_score = None if self.ood is None else self.ood(patches).item()
        embedding = features.latents.float().numpy(force=True)
        return EncodedImage(features.memory.cpu(), embedding, ood_score)

    @checked
    def caption(self, image: PictureOrEncoded, max_new_tokens: Whole = ANSWERED.max_new_tokens) -> str:
        """A caption, written in the continuous batch."""
        config = replace(ANSWERED, max_new_tokens=max_new_tokens)
        text = "".join(self.engine.stream(self.tokenizer.prefix_ids, self._prefill_of(image), config)).strip()
        return self._well_formed(text, image, max_new_tokens)

    @checked
    @queued
    def captions(self, images: Media, max_new_tokens: Whole = ANSWERED.max_new_tokens) -> list[str]:
        """One caption per picture, decoded together."""
        config = replace(ANSWERED, max_new_tokens=max_new_tokens)
        check_length(len(self.tokenizer.prefix_ids), max_new_tokens, self.context)

        def write(some: Sequence[Picture]) -> list[str]:
            prefill = self._encode_and_prefill(self._pixels(some))
            texts = self.engine.texts([self.tokenizer.prefix_ids] * len(some), prefill, config)
            return [self._well_formed(*each, max_new_tokens) for each in zip(texts, some, strict=True)]

        return [*chain.from_iterable(in_parts(write, images))]

    @checked
    @queued
    def caption_alternatives(
        self, image: PictureOrEncoded, count: Whole = 5, max_new_tokens: Whole = ANSWERED.max_new_tokens
    ) -> dict[str, float]:
        """The likeliest captions, by beam search, with their probabilities: the first, and others that are
        PROBABLE. Of the bundled weights, those that are captions (`world.is_caption`), if any is."""
        return self.describe(image, count, max_new_tokens).alternatives

    @checked
    @queued
    def describe(
        self, image: PictureOrEncoded, count: Whole = 5, max_new_tokens: Whole = ANSWERED.max_new_tokens
    ) -> Description:
        """A caption and its alternatives, decoded in one batch."""
        if not 1 <= count <= MOST_ALTERNATIVES:
            raise PromptError(f"count is {count!r}; ask for 1 to {MOST_ALTERNATIVES} captions")
        config = replace(ANSWERED, max_new_tokens=max_new_tokens)
        ids = self.tokenizer.prefix_ids
        check_length(len(ids), config.max_new_tokens, self.context)
        prefill = self._prefill_of(image)
        caption, found = self.engine.alternatives(ids, prefill, count, config.max_new_tokens)
        well_formed = [*filter(self._is_caption, found)]
        if well_formed and not self._is_caption(caption):
            caption = well_formed[0]
        first, *others = well_formed or found
        chosen = [first, *(text for text in others if found[text] >= PROBABLE)][:count]
        return Description(caption, {text: found[text] for text in chosen})

    def _is_caption(self, text: str) -> bool:
        """Whether a text may stand as a caption: any does, but of the bundled weights those of their
        training."""
        return not self.bundled or world.is_caption(text)

    def _well_formed(
        self, text: str, image: PictureOrEncoded, max_new_tokens: int = ANSWERED.max_new_tokens
    ) -> str:
        """A greedy caption, or the one that `describe` gives where the greedy one is made up."""
        if self._is_caption(text):
            return text
        return self.describe(image, max_new_tokens=max_new_tokens).caption

    @checked
    @queued
    @run_in_thread
    def embed_images(self, images: Media) -> np.ndarray:
        """Unit embeddings of pictures, (n, d) float32."""

        @torch.no_grad()
        def embed(some: Sequence[Picture]) -> np.ndarray:
            return self.model.encode_images(self._pixels(some)).latents.float().numpy(force=True)

        return np.concatenate([self._no_rows, *in_parts(embed, images)])

    @checked
    @queued
    def embed_and_caption(self, images: Media) -> tuple[np.ndarray, list[str]]:
        """Embeddings as of `embed_images` and captions as of `captions`, from one pass of the vision
        tower."""
        check_length(len(self.tokenizer.prefix_ids), ANSWERED.max_new_tokens, self.context)

        def encode_and_write(some: Sequence[Picture]) -> tuple[np.ndarray, list[str]]:
            features = self._encode(self._pixels(some))

            def prefill(ids: Tensor, lengths: Sequence[int], capacity: int):
                return self.model.prefill(ids, lengths, capacity, features.memory)

            texts = self.engine.texts([self.tokenizer.prefix_ids] * len(some), prefill, ANSWERED)
            captions = [self._well_formed(*each) for each in zip(texts, some, strict=True)]
            return features.latents.float().numpy(force=True), captions

        parts = [*in_parts(encode_and_write, images)]
        rows = np.concatenate([self._no_rows, *(rows for rows, _ in parts)])
        return rows, [*chain.from_iterable(texts for _, texts in parts)]

    @checked
    @queued
    @run_in_thread
    def embed_texts(self, texts: Texts) -> np.ndarray:
        """Unit embeddings of texts, (n, d) float32. Bare nouns are embedded with their article
        (`phrase`)."""
        if not texts:
            return self._no_rows
        texts = [phrase(text) for text in texts]
        if not all(texts):
            raise PromptError("a text to search for is empty; write a word or two")
        rows = self.tokenizer.encode_for_embedding(texts)
        for row in rows:
            check_length(len(row), 0, self.context)

        def embed(some: Sequence[list[int]]) -> np.ndarray:
            ids = torch.nn.utils.rnn.pad_sequence(
                [torch.tensor(row) for row in some], batch_first=True, padding_value=self.tokenizer.pad_id
            )
            lengths = torch.tensor([len(row) for row in some])
            real = torch.arange(ids.shape[1]) < lengths[:, None]
            with in_turn(), torch.no_grad():
                embedded = self.model.embed_texts(ids.to(self.device), real.to(self.device))
            return embedded.float().numpy(force=True)

        return np.concatenate([*in_parts(embed, rows)])

    @checked
    @queued
    def classify(self, image: PictureOrEncoded, labels: Texts) -> dict[str, float]:
        """The probability of each label to name the picture, and of NONE that no label does. They sum to
        1."""
        labels = [label.strip() for label in labels]
        if not labels or not all(labels):
            raise PromptError("a label is empty or none was given; give at least one, each a noun")
        ((most_given, times), *_) = Counter(labels).most_common(1)
        if times > 1:
            raise PromptError(f"the label {shown(most_given)} was given twice; give each label once")
        (picture,) = image.embedding if isinstance(image, EncodedImage) else self.embed_images([image])
        cosines = (self.embed_texts(labels) @ picture).tolist()
        if self.known_names is not None and NONE not in labels:
            labels, cosines = [*labels, NONE], [*cosines, self.known_names.none_of_these(picture)]
        logits = torch.tensor(cosines) * self.model.scale.item()
        return dict(zip(labels, logits.softmax(dim=0).tolist(), strict=True))

    @checked
    @queued
    def similarity(self, texts: Texts, images: Media) -> np.ndarray:
        """Cosines of the embeddings of texts and pictures, (texts, images)."""
        return self.embed_texts(texts) @ self.embed_images(images).T

    @checked
    @queued
    @run_in_thread
    def ood_score(self, medium: Medium) -> float | None:
        """The OOD score of a picture, or of the most usual frame of a video: 0 to 1."""
        if self.ood is None:
            return None
        with in_turn(), torch.no_grad():
            frames = open_medium(medium, self.frames, self.media_limits, max_side=READ_SIDE)
            pixels = preprocess(frames, self.model.tower, self.device)
            patches = self._patches(self.seen.keys(self.model.tower, pixels), pixels)
        return self.ood(patches).min().item()

    @queued
    def _pixels(self, images: Sequence[Picture]) -> Tensor:
        """Opened and preprocessed pictures, (n, 3, size, size)."""
        opened = []
        for image in images:
            with in_turn():
                opened.append(open_image(image, self.media_limits, READ_SIDE))
        return preprocess(opened, self.model.tower, self.device)

    @property
    def _no_rows(self) -> np.ndarray:
        """An empty array of embeddings, (0, d)."""
        return np.zeros((0, self.embedding_dim), np.float32)

    def _prefill_of(self, image: Picture | EncodedImage) -> Prefill:
        """A prefill for one picture's caption, which encodes the picture if that is not done."""
        if isinstance(image, EncodedImage):
            return self._prefill_after(lambda: image.memory)
        pixels = self._pixels([image])
        if not isinstance(self.model, MaMMUT):
            return self._encode_and_prefill(pixels)
        keys = self.seen.keys(self.model.tower, pixels)
        return self._prefill_after(lambda: self.model.encode_patches(self._patches(keys, pixels)).memory)

    @torch.no_grad()
    def _patches(self, keys: Sequence[Hashable], pixels: Tensor) -> Tensor:
        """The tower's patches (n, patches, width), of which only pictures that it has not seen pass it."""
        return torch.stack(self.seen.patches(keys, pixels, lambda new: self.model.tower(torch.stack(new))))

    @run_in_thread
    @torch.no_grad()
    def _encode(self, pixels: Tensor) -> ImageFeatures:
        return self.model.encode_images(pixels)

    def _encode_and_prefill(self, pixels: Tensor) -> Prefill:
        """A prefill for captions that encodes the pictures when it is called."""
        return self._prefill_after(lambda: self.model.encode_images(pixels).memory)

    def _prefill_after(self, remember: Callable[[], Tensor]) -> Prefill:
        """A prefill for captions. remember: returns what they attend to, when it is called."""

        def prefill(ids: Tensor, lengths: Sequence[int], capacity: int):
            return self.model.prefill(ids, lengths, capacity, remember().to(ids.device))

        return prefill


def in_parts(compute: Callable[[Sequence[Picture]], R], images: Sequence[Picture]) -> Iterator[R]:
    """Computes results for at most AT_ONCE pictures at a time, and for fewer if memory runs out.

    Raises DeviceMemoryError when there is not enough memory for a single picture.
    """
    done, at_once = 0, AT_ONCE
    while len(some := images[done : done + at_once]):
        try:
            with in_turn():
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
