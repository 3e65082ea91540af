"""Flamingo in a session: answers to prompts with pictures and videos between the words."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from string import whitespace

import numpy as np
import torch
from torch import Tensor

from palm_demo.arguments import Cancelled, Media, Text, Texts, Whole, checked
from palm_demo.concurrency import FairQueue, in_turn, queued, run_in_thread
from palm_demo.errors import PromptError, SamplingError, shown
from palm_demo.inference.attention_maps import AttentionMaps, MediumAttention, compute_attention_maps
from palm_demo.inference.decoding import Prefill
from palm_demo.inference.prefix_cache import Beginning, weights_key
from palm_demo.inference.prompts import PromptForm, check_length, check_media_count, check_picture_there
from palm_demo.inference.requests import InPieces
from palm_demo.inference.settings import ANSWERED, GenerationConfig
from palm_demo.media import DecodingBudget, MediaLimits, Medium, open_medium
from palm_demo.models import Flamingo
from palm_demo.models.flamingo import FlamingoCache
from palm_demo.models.tokenizers import plain
from palm_demo.session.loaded_models import LoadedModel
from palm_demo.session.part import READ_SIDE, Part, preprocess
from palm_demo.session.seen_frames import SeenFrames

FrameKeys = tuple[Hashable, ...]
"""The keys of a medium's frames in SeenFrames."""


class FlamingoPart(Part[Flamingo]):
    """The part of a session with Flamingo. Session explains the verbs under the same names.

    Attributes:
        media_limits: limits on pictures and videos.
        seen: the patches of what the tower has seen.
        frames: frames that are read of a video.
        form: the form of the texts that it was trained on.
    """

    def __init__(
        self,
        loaded: LoadedModel[Flamingo],
        turns: FairQueue,
        media_limits: MediaLimits,
        seen: SeenFrames,
        frames: int,
        form: PromptForm,
    ):
        super().__init__(loaded, turns)
        self.media_limits, self.seen, self.frames, self.form = media_limits, seen, frames, form

    @property
    def knows_videos(self) -> bool:
        """Whether the model was trained on videos. Otherwise their frames are pictures to it."""
        return self.model.encoder.max_frames > 0

    @property
    def pictures_of_video(self) -> int | None:
        """The number of pictures that stand for a video; None if the model was trained on videos.

        One is the frame in the middle. Several stand in a chunk each.
        """
        return None if self.knows_videos else self.frames

    @checked
    def stream_answer(
        self,
        prompt: Text,
        media: Media,
        config: GenerationConfig = ANSWERED,
        cancelled: Cancelled = None,
    ) -> Iterator[str]:
        """Text deltas of the answer, which ends before the stop strings of the config and of `form`, or is
        one of the config's choices in its plain form.

        Args:
            prompt: a question, or any text with one `<media>` per picture or video (`PromptForm.completed`).
            media: pictures and videos, in the order of their `<media>`.
            config: how ids are drawn, how many at most, and before which words the text stops, or among
                which texts it is chosen.
            cancelled: once set, the answer ends before its next token.

        Raises:
            PromptError: at once, where prompt and media do not fit together or the model.
            SamplingError: at once, where a choice is empty or too long.
            MediaError: at once, where one of the media cannot be read.
            BusyError: in place of the first delta, when the queue is full.
        """
        choices = [plain(choice).strip() for choice in config.choices]
        if not all(choices):
            raise SamplingError("a text of choices is empty; leave it out, or write what may be answered")
        choices = [f"{self.form.gap}{choice}" for choice in choices]
        config = replace(config, stop=(*config.stop, *self.form.stops), choices=choices)
        ids, groups = self._interleave(prompt, media, config)
        read = self._reading(ids, list(chain.from_iterable(groups)))
        return self.engine.stream(ids, read, config, cancelled, dropped=whitespace)

    @checked
    @queued
    def answers(
        self,
        prompts: Texts,
        media: Sequence[Sequence[Medium]],
        max_new_tokens: Whole = ANSWERED.max_new_tokens,
    ) -> list[str]:
        """Greedy answers to many prompts, each with its own media, decoded together."""
        if not is_list(media) or len(prompts) != len(media) or not all(map(is_list, media)):
            raise PromptError(
                f"there are {len(prompts)} prompts and media is {shown(media)}; give a list with a list of "
                "media for each prompt"
            )
        config = replace(ANSWERED, max_new_tokens=max_new_tokens, stop=self.form.stops)
        rows = [self._interleave(prompt, some, config) for prompt, some in zip(prompts, media, strict=True)]
        if not rows:
            return []
        tensors = [medium for _, groups in rows for some in groups for medium in some]
        read = self._at_once(self._keys(tensors), tensors)
        return self.engine.texts([ids for ids, _ in rows], read, config)

    @checked
    def prompt_length(self, prompt: Text) -> int:
        """The number of tokens of a prompt; each `<media>` is one."""
        return len(self._prompt_ids(prompt))

    @checked
    @queued
    @run_in_thread
    def attention_maps(self, prompt: Text, media: Media, answer: Text) -> AttentionMaps:
        """The model's attention to the media for each token of an answer, and how open its gates are."""
        if not answer.strip():
            raise PromptError("the answer is empty; give the words that Flamingo said")
        answer_ids = self.tokenizer.encode(f"{self.form.gap}{answer.strip()}")
        ids, groups = self._interleave(prompt, media, replace(ANSWERED, max_new_tokens=len(answer_ids)))
        tensors = list(chain.from_iterable(groups))
        with in_turn():
            patches = self._patches(self._keys(tensors), tensors)
            gates, maps = compute_attention_maps(self.model, ids, answer_ids, patches)
        of_media = iter(maps)
        seen = [self._seen(group, list(islice(of_media, len(group)))) for group in groups]
        tokens = tuple(self.tokenizer.decode([token_id]) for token_id in answer_ids)
        return AttentionMaps(tokens, gates, tuple(seen))

    @checked
    @queued
    def opened(self, media: Media) -> list[Medium]:
        """Media decoded once for all verbs: each a picture, or a list of a video's frames."""
        budget, opened = DecodingBudget(self.media_limits), []
        for medium in media:
            with in_turn():
                frames = open_medium(medium, self.frames, self.media_limits, budget, READ_SIDE)
            opened.append(frames if len(frames) > 1 else frames[0])
        return opened

    def _seen(self, group: list[Tensor], maps: list[np.ndarray]) -> MediumAttention:
        """The maps of one medium, which may be shown as several pictures."""
        shown = self.model.encoder.tower.shown
        frames = [frame for some in group for frame in shown(some if some.ndim == 4 else some[None])]
        return MediumAttention(tuple(frames), np.concatenate(maps, axis=2))

    @queued
    def _interleave(
        self, prompt: str, media: Sequence[Medium], config: GenerationConfig
    ) -> tuple[list[int], list[list[Tensor]]]:
        """Checks a prompt and returns its ids, and for each of its media the tensors that the model
        reads."""
        if not prompt.strip():
            raise PromptError("the prompt is empty; write a question and a <media> per picture")
        check_length(len(media), 0, self.context)  # each takes a token at least
        self.model.check_media_fit(len(media))
        prompt = self.form.completed(prompt, len(media))
        check_picture_there(prompt, len(media), self.form)
        check_media_count(prompt, len(media))
        ids = self._prompt_ids(prompt)
        check_length(len(ids), config.max_new_tokens, self.context)
        budget = DecodingBudget(self.media_limits)
        groups = [self._as_tensors(medium, budget) for medium in media]
        if any(len(group) > 1 for group in groups):  # videos that are shown as pictures need more marks
            ids = self._prompt_ids(prompt, [len(group) for group in groups])
            check_length(len(ids), config.max_new_tokens, self.context)
            self.model.check_media_fit(sum(map(len, groups)))
        return ids, groups

    def _prompt_ids(self, prompt: str, pictures: Sequence[int] = ()) -> list[int]:
        return [*self.tokenizer.prefix_ids, *self.form.encode(prompt.rstrip(), self.tokenizer, pictures)]

    def _as_tensors(self, medium: Medium, budget: DecodingBudget) -> list[Tensor]:
        """A picture as (3, size, size) and a video as (frames, 3, size, size).

        If Flamingo does not know videos, a video is `pictures_of_video` pictures.
        """
        with in_turn():
            frames = open_medium(medium, self.frames, self.media_limits, budget, READ_SIDE)
            pixels = preprocess(frames, self.model.encoder.tower, self.device)
        if len(frames) > 1 and self.knows_videos:
            return [pixels]
        return list(pixels)

    def _reading(self, ids: list[int], media: list[Tensor]) -> Prefill | InPieces:
        """How a prompt is read: in pieces beside running texts, if the model can do that."""
        keys = self._keys(media)
        if not self.model.reads_beside:
            return self._at_once(keys, media)

        def begin(ids: Tensor, capacity: int) -> FlamingoCache:
            latents = self.model.embed_patches(self._patches(keys, media), ids) if media else None
            return self.model.begin(ids, capacity, latents)

        in_order = iter(keys)
        tokens = [next(in_order) if token == self.model.media_token_id else token for token in ids]
        return InPieces(begin, lambda: Beginning((bool(media), weights_key(self.model.decoder)), tokens))

    def _at_once(self, keys: Sequence[FrameKeys], media: list[Tensor]) -> Prefill:
        """A prefill that encodes the media when it is called."""

        def prefill(ids: Tensor, lengths: Sequence[int], capacity: int):
            latents = self.model.embed_patches(self._patches(keys, media), ids) if media else None
            return self.model.prefill(ids, lengths, capacity, latents)

        return prefill

    def _keys(self, media: Sequence[Tensor]) -> list[FrameKeys]:
        """For each medium the keys of its frames, of the client whose request this is."""
        tower = self.model.encoder.tower
        return [tuple(self.seen.keys(tower, _frames(medium))) for medium in media]

    def _patches(self, keys: Sequence[FrameKeys], media: Sequence[Tensor]) -> list[Tensor]:
        """The tower's patches of media, of which only frames that it has not seen pass the tower."""
        frames = [*chain.from_iterable(map(_frames, media))]
        flat = [*chain.from_iterable(keys)]
        patches = iter(self.seen.patches(flat, frames, self.model.encoder.patches))
        return [
            torch.stack([*islice(patches, len(medium))]) if medium.ndim == 4 else next(patches)
            for medium in media
        ]


def _frames(medium: Tensor) -> Tensor:
    """A picture or a video as (frames, 3, size, size)."""
    return medium if medium.ndim == 4 else medium[None]


def is_list(value: object) -> bool:
    """Whether a value is a list or the like. A bare text or bytes is one value, however long it is."""
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray))
