"""The loaded models and the verbs a user has: generate, answer, caption, search, classify."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from palm_demo import checkpoints
from palm_demo.about import describe
from palm_demo.errors import PromptError, ScopeError
from palm_demo.familiarity import Familiarity
from palm_demo.gallery import EVERYTHING, MEMORY, Filters, Gallery, Hit, fill, open_gallery
from palm_demo.generation import BatchLimits, TextSettings, Waiting
from palm_demo.generation.stream import Prefill
from palm_demo.labels import label_text
from palm_demo.looking import LookedAt, Seen, look
from palm_demo.lora import Adapter, Scope
from palm_demo.media import MediaLimits, Medium, Picture, open_image, open_medium
from palm_demo.models import Flamingo, MaMMUT, PaLM
from palm_demo.prompting import check_length, check_media_count, encode_interleaved
from palm_demo.scoring import TokenProbability, author_probabilities, bits_per_byte, token_probabilities
from palm_demo.teaching import Progress, TeachingSettings, teach
from palm_demo.threads import apart
from palm_demo.tokenizer import Tokenizer
from palm_demo.writing import Writer

ASSETS = Path(__file__).resolve().parents[1] / "assets"
IMAGES_AT_ONCE = 64
"""Pictures the tower reads in one pass, which bounds the memory of a long list."""

MOST_ALTERNATIVES = 20
"""Captions of one picture: a beam of twice as many is decoded side by side."""

STRANGE = 0.02
"""Four in a hundred drawings are less familiar, in styles never seen as well; of photographs, two thirds."""

CONTINUED = TextSettings(temperature=0.8, max_new_tokens=64)
ANSWERED = TextSettings(temperature=0.0, max_new_tokens=32)
"""What `stream` and `stream_answer` write with where a caller says nothing else."""


class Session:
    """Three models on one tower, one tokenizer and one gallery.

    Everything a caller can do wrong raises a PalmDemoError. Many threads may use one session:
    their texts are written side by side, in one batch for each model.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        palm: PaLM,
        flamingo: Flamingo,
        mammut: MaMMUT,
        familiarity: Familiarity,
        context: int,
        media_limits: MediaLimits,
        batch_limits: BatchLimits,
        gallery_place: str | Path = MEMORY,
    ):
        """context: tokens that prompt and answer may have together. gallery_place: see `open_gallery`."""
        self.tokenizer = tokenizer
        self.palm, self.flamingo, self.mammut = palm, flamingo, mammut
        self._familiarity = familiarity
        self.context, self.media_limits = context, media_limits
        self.gallery_place = gallery_place
        models = {"palm": palm, "flamingo": flamingo, "mammut": mammut}
        self.writers = {
            name: Writer(model, tokenizer, context, batch_limits) for name, model in models.items()
        }

    def close(self) -> None:
        """Ends all texts that are being written, and waits for that."""
        for writer in self.writers.values():
            writer.batch.close()

    @property
    def scopes(self) -> list[str]:
        """Names of the LoRA scopes that `generate` can be asked to use."""
        return self.palm.scopes.names

    def generate(self, prompt: str, scope: Scope = None, **settings) -> str:
        """The prompt's continuation by PaLM; settings as in `stream`."""
        return "".join(self.stream(prompt, scope, **settings))

    def stream(
        self,
        prompt: str,
        scope: Scope = None,
        *,
        cancelled: threading.Event | None = None,
        **settings,
    ) -> Iterator[str]:
        """Text deltas of the prompt's continuation, in a scope (its name, or an adapter that has none)
        or (None) by the base model.

        settings: the fields of TextSettings, by default those of CONTINUED. cancelled: once set,
        the text ends before its next token. A text that has to wait begins with empty deltas,
        `Waiting`, that tell its place in line.

        Raises PromptError, ScopeError or SamplingError at once, BusyError instead of the first
        delta when the line is full.
        """
        if not prompt.strip():
            raise PromptError("the prompt is empty; write the beginning of a text")
        wanted = replace(CONTINUED, **settings)
        self.palm.scopes.find(scope)
        begun = prompt.rstrip(" ")
        ids = [self.tokenizer.bos_id, *self.tokenizer.encode(begun)]
        prefill = partial(self.palm.prefill, scopes=[scope])
        deltas = self.writers["palm"].stream(ids, prefill, wanted, cancelled)
        return deltas if begun == prompt else _without_leading_space(deltas)

    @apart
    def bits_per_byte(self, text: str, scope: Scope = None) -> float:
        """How well PaLM predicts a text of any length: bits over its UTF-8 bytes, lower is better."""
        if not text:
            raise PromptError("the text is empty; give at least one character")
        return bits_per_byte(self.palm, self.tokenizer, text, scope, self.context)

    def who_wrote(self, text: str) -> dict[str, float]:
        """Scope -> probability that its author wrote the text, if one of them did; they sum to 1.

        Raises PromptError on an empty text, ScopeError where there are not two scopes to tell apart.
        """
        if not text.strip():
            raise PromptError("the text is empty; give a passage, best of 1,000 characters or more")
        if len(self.scopes) < 2:
            raise ScopeError(f"there are {len(self.scopes)} scopes; load two or more to tell apart")
        return author_probabilities({name: self.bits_per_byte(text, name) for name in self.scopes}, text)

    @apart
    def token_probabilities(self, text: str, scope: Scope = None) -> list[TokenProbability]:
        """Each token of a text of any length: how probable PaLM found it after those before it, and
        the five likeliest instead. Raises PromptError on an empty text, ScopeError."""
        if not text:
            raise PromptError("the text is empty; give at least one character")
        return token_probabilities(self.palm, self.tokenizer, text, scope, self.context)

    def teach(
        self, text: str, *, stopped: threading.Event | None = None, **settings: int | float
    ) -> Iterator[Progress]:
        """Teaches an adapter a text while texts go on being written: Progress after each step, the
        first before any. Each has the best adapter so far, which is a scope for whoever has it.

        settings: the fields of TeachingSettings. stopped: once set, the teaching ends. Raises
        TeachingError at once on a text too short or settings outside their ranges.
        """
        wanted = TeachingSettings(**settings)
        return teach(self.palm, self.tokenizer, text, self.context, wanted, stopped)

    def save_adapter(self, adapter: Adapter, path: Path | str) -> None:
        """Writes an adapter as a safetensors file that `load_adapter` takes."""
        checkpoints.save_adapter(Path(path), self.palm, adapter)

    def load_adapter(self, path: Path | str, highest_rank: int = checkpoints.HIGHEST_RANK) -> Adapter:
        """The adapter of a file, which may come from anywhere. Raises CheckpointError where it is none
        of this PaLM's."""
        return checkpoints.load_adapter(Path(path), self.palm, highest_rank)

    def answer(self, prompt: str, media: Sequence[Medium], **settings) -> str:
        """What Flamingo says after a prompt with one `<media>` per picture or video; settings as
        in `stream_answer`."""
        return "".join(self.stream_answer(prompt, media, **settings))

    def stream_answer(
        self,
        prompt: str,
        media: Sequence[Medium],
        *,
        cancelled: threading.Event | None = None,
        **settings,
    ) -> Iterator[str]:
        """Text deltas of Flamingo's answer; greedy by default. media: pictures (PIL or paths) and
        videos (paths, or their frames as PIL pictures) in the order of their marks. The rest as in
        `stream`, settings by default those of ANSWERED.

        Raises PromptError, MediaError or SamplingError at once, BusyError as `stream` does.
        """
        wanted = replace(ANSWERED, **settings)
        ids, pixels = self._interleaved(prompt, media, wanted)
        prefill = self._look_and_prefill(pixels)
        return _without_leading_space(self.writers["flamingo"].stream(ids, prefill, wanted, cancelled))

    def answers(
        self, prompts: Sequence[str], media: Sequence[Sequence[Medium]], max_new_tokens: int = 32
    ) -> list[str]:
        """Greedy answers to many prompts, each with its own media, decoded together."""
        wanted = replace(ANSWERED, max_new_tokens=max_new_tokens)
        rows = [self._interleaved(prompt, some, wanted) for prompt, some in zip(prompts, media, strict=True)]
        if not rows:
            return []
        prefill = self._look_and_prefill([medium for _, media in rows for medium in media])
        prompt_ids = [ids for ids, _ in rows]
        return self.writers["flamingo"].texts(prompt_ids, prefill, wanted)

    def prompt_length(self, prompt: str) -> int:
        """How many of the `context` tokens a Flamingo prompt takes, each `<media>` one of them."""
        return len(self._prompt_ids(prompt))

    @apart
    def looked_at(self, prompt: str, media: Sequence[Medium], answer: str) -> LookedAt:
        """Where in the media Flamingo looks for each token of an answer to a prompt, and how far its
        gates are open. media: as in `stream_answer`.

        Raises PromptError or MediaError, also on an empty answer and without media.
        """
        if not answer.strip():
            raise PromptError("the answer is empty; give the words that Flamingo said")
        said = self.tokenizer.encode(f" {answer.strip()}")
        ids, pixels = self._interleaved(prompt, media, replace(ANSWERED, max_new_tokens=len(said)))
        gates, maps = look(self.flamingo, ids, said, pixels)
        shown = self.mammut.tower.shown
        frames = [shown(medium if medium.ndim == 4 else medium[None]) for medium in pixels]
        return LookedAt(
            tuple(self.tokenizer.decode([token_id]) for token_id in said),
            gates,
            tuple(Seen(tuple(some), of_medium) for some, of_medium in zip(frames, maps, strict=True)),
        )

    def caption(self, image: Picture, max_new_tokens: int = 32) -> str:
        """What MaMMUT sees in a picture."""
        wanted = replace(ANSWERED, max_new_tokens=max_new_tokens)
        (pixels,) = self._batches([image])
        deltas = self.writers["mammut"].stream([self.tokenizer.bos_id], self._see_and_prefill(pixels), wanted)
        return "".join(deltas).strip()

    def captions(self, images: Sequence[Picture], max_new_tokens: int = 32) -> list[str]:
        """One caption per picture, decoded together."""
        wanted = replace(ANSWERED, max_new_tokens=max_new_tokens)
        captions: list[str] = []
        for pixels in self._batches(images):
            prompts = [[self.tokenizer.bos_id]] * len(pixels)
            captions += self.writers["mammut"].texts(prompts, self._see_and_prefill(pixels), wanted)
        return captions

    def caption_alternatives(
        self, image: Picture, count: int = 5, max_new_tokens: int = 32
    ) -> dict[str, float]:
        """The likeliest captions, best first -> how probable MaMMUT finds each among all there could be."""
        if not isinstance(count, int) or not 1 <= count <= MOST_ALTERNATIVES:
            raise PromptError(f"count is {count!r}; ask for 1 to {MOST_ALTERNATIVES} captions")
        check_length(1, max_new_tokens, self.context)
        (pixels,) = self._batches([image])
        prefill = self._see_and_prefill(pixels)
        writer = self.writers["mammut"]
        return writer.alternatives([self.tokenizer.bos_id], prefill, count, max_new_tokens)

    @apart
    def embed_images(self, images: Sequence[Picture]) -> np.ndarray:
        """(n, d) float32 unit rows, in one space with `embed_texts`."""
        rows = [np.zeros((0, self.dim_latents), np.float32)]
        for pixels in self._batches(images):
            with torch.no_grad():
                rows.append(self.mammut.encode_images(pixels).latents.float().numpy(force=True))
        return np.concatenate(rows)

    @apart
    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """(n, d) float32 unit rows. Raises PromptError on an empty text or one too long."""
        if not texts:
            return np.zeros((0, self.dim_latents), np.float32)
        rows = self.tokenizer.encode_batch([text.strip().lower() for text in texts])
        for row in rows:
            if not row:
                raise PromptError("a text to search for is empty; write a word or two")
            check_length(len(row), 0, self.context)
        ids = torch.nn.utils.rnn.pad_sequence(
            [torch.tensor(row) for row in rows],
            batch_first=True,
            padding_value=self.tokenizer.pad_id,
        ).to(self._device)
        with torch.no_grad():
            latents = self.mammut.embed_texts(ids, ids != self.tokenizer.pad_id)
        return latents.float().numpy(force=True)

    def classify(self, image: Picture, labels: Sequence[str]) -> dict[str, float]:
        """Label -> probability that it names the picture; they sum to 1."""
        labels = [label.strip() for label in labels]
        if not labels or not all(labels):
            raise PromptError("a label is empty or none was given; give at least one, each a noun")
        if len(set(labels)) < len(labels):
            twice = next(label for label in labels if labels.count(label) > 1)
            raise PromptError(f"the label {twice!r} was given twice; give each label once")
        picture = self.embed_images([image])[0]
        texts = self.embed_texts([label_text(label) for label in labels])
        logits = torch.from_numpy(texts @ picture) * self.mammut.scale.item()
        return dict(zip(labels, logits.softmax(dim=0).tolist(), strict=True))

    @apart
    def familiarity(self, medium: Medium) -> float:
        """How much a picture, or the best frame of a video, looks like those the models were trained
        on: the part of these, 0 to 1, that look stranger. Below STRANGE, what the models say about
        it means little."""
        pixels = self._pixels(medium)
        with torch.no_grad():
            patches = self.mammut.tower(pixels if pixels.ndim == 4 else pixels[None])
        return self._familiarity(patches).max().item()

    def similarity(self, texts: Sequence[str], images: Sequence[Picture]) -> np.ndarray:
        """(texts, images) cosines of their latents, -1 to 1."""
        return self.embed_texts(texts) @ self.embed_images(images).T

    @cached_property
    def fingerprint(self) -> str:
        """Which weights make the latents: those of a gallery are of no use to others."""
        return self.mammut.fingerprint()

    @cached_property
    def gallery(self) -> Gallery:
        """The pictures that `search` finds, kept in `gallery_place`; a new gallery begins with scenes
        of the picture world that no model was trained on. Raises GalleryError as `open_gallery` does."""
        gallery = open_gallery(self.gallery_place, self.fingerprint, self.dim_latents)
        if gallery.untouched:
            fill(gallery, self)
        return gallery

    def search(
        self, query: Picture, k: int = 8, *, words: str = "", filters: Filters = EVERYTHING
    ) -> list[Hit]:
        """The k pictures of the gallery nearest to words (str) or to a picture (PIL, Path).

        words: looked for in the captions too, and both rankings joined. filters: which pictures may be
        found at all.
        """
        if not isinstance(k, int) or k < 1:
            raise PromptError(f"k is {k!r}; ask for 1 picture or more")
        (latent,) = self.embed_texts([query]) if isinstance(query, str) else self.embed_images([query])
        if words.strip():
            return self.gallery.matching(latent, words, k, filters)
        return self.gallery.nearest(latent, k, filters)

    def _interleaved(
        self, prompt: str, media: Sequence[Medium], settings: TextSettings
    ) -> tuple[list[int], list[Tensor]]:
        """A Flamingo prompt's ids and its media's frames, after all checks."""
        if not prompt.strip():
            raise PromptError("the prompt is empty; write a question and a <media> per picture")
        check_media_count(prompt, len(media))
        ids = self._prompt_ids(prompt)
        check_length(len(ids), settings.max_new_tokens, self.context)
        return ids, [self._pixels(medium) for medium in media]

    def _prompt_ids(self, prompt: str) -> list[int]:
        return [self.tokenizer.bos_id, *encode_interleaved(prompt.rstrip(), self.tokenizer)]

    def _look_and_prefill(self, media: list[Tensor]) -> Prefill:
        """Flamingo's prefill, with its media looked at when it is called."""

        def prefill(ids: Tensor, lengths: Sequence[int], capacity: int):
            latents = self.flamingo.embed_media(media, ids) if media else None
            return self.flamingo.prefill(ids, lengths, capacity, latents)

        return prefill

    def _see_and_prefill(self, pixels: Tensor) -> Prefill:
        """MaMMUT's prefill, with its pictures looked at when it is called."""

        def prefill(ids: Tensor, lengths: Sequence[int], capacity: int):
            memory = self.mammut.encode_images(pixels).memory
            return self.mammut.prefill(ids, lengths, capacity, memory)

        return prefill

    def _pixels(self, medium: Medium) -> Tensor:
        """(frames, 3, size, size), of a picture (3, size, size)."""
        frames = open_medium(medium, self.flamingo.max_frames, self.media_limits)
        pixels = self._preprocessed(frames)
        return pixels if len(frames) > 1 else pixels[0]

    def _batches(self, images: Sequence[Picture]) -> Iterator[Tensor]:
        for start in range(0, len(images), IMAGES_AT_ONCE):
            some = images[start : start + IMAGES_AT_ONCE]
            opened = [open_image(image, self.media_limits) for image in some]
            yield self._preprocessed(opened)

    @apart
    def _preprocessed(self, frames: Sequence[Image.Image]) -> Tensor:
        return self.mammut.tower.preprocess(frames).to(self._device)

    @property
    def about(self) -> dict[str, dict[str, str | int]]:
        """For each system its name, parameters, what it was trained on and what it knows."""
        return describe(self.palm, self.flamingo, self.mammut)

    @property
    def _device(self) -> torch.device:
        return self.palm.decoder.embedding.weight.device

    @property
    def dim_latents(self) -> int:
        """Numbers of a latent."""
        return self.mammut.image_to_latents.out_features


def _without_leading_space(deltas: Iterator[str]) -> Iterator[str]:
    """Words follow a prompt after a space, which belongs to their tokens, not to the answer."""
    begun = False
    for delta in deltas:
        if isinstance(delta, Waiting):
            yield delta
            continue
        delta = delta if begun else delta.lstrip()
        if delta:
            begun = True
            yield delta


@apart
def load(
    profile: str = "tiny",
    media_limits: MediaLimits | None = None,
    batch_limits: BatchLimits | None = None,
    gallery_place: str | Path = MEMORY,
) -> Session:
    """The session of a profile: "tiny" is the bundled weights.

    media_limits: what pictures and videos may be. batch_limits: how many texts a model writes at
    once. Both by default as their classes say. gallery_place: where the pictures that `search` finds
    are kept; by default in memory, and gone with the process.

    Raises PromptError for an unknown profile, CheckpointError when weights are missing or damaged.
    """
    if profile != "tiny":
        raise PromptError(f"there is no profile {profile!r}; there is 'tiny', the bundled weights")
    weights = ASSETS / "weights"
    tower = checkpoints.load_tower(weights / "tower.safetensors", ASSETS / "vision")
    palm, blueprint = checkpoints.load_palm(weights / "palm.safetensors")
    for path in sorted((weights / "scopes").glob("*.safetensors")):
        checkpoints.load_scope(path, palm, path.stem)
    return Session(
        Tokenizer.load(ASSETS / "tokenizer.json"),
        palm,
        checkpoints.load_flamingo(weights / "flamingo.safetensors", palm, tower),
        checkpoints.load_mammut(weights / "mammut.safetensors", tower),
        checkpoints.load_familiarity(weights / "familiarity.safetensors"),
        blueprint.context,
        media_limits or MediaLimits(),
        batch_limits or BatchLimits(),
        gallery_place,
    )
