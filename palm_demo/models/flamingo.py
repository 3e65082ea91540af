"""Flamingo (Alayrac et al. 2022): a frozen language model that looks at interleaved media."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Protocol

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from palm_demo.attention import Causal, Pattern
from palm_demo.bridges import GatedCrossAttention, KeysValues
from palm_demo.cache import ContextCache, KVCache
from palm_demo.decoder import Size
from palm_demo.errors import PromptError
from palm_demo.models.palm import PaLM, cross_entropy, last_states
from palm_demo.resampler import PerceiverResampler
from palm_demo.vision import freeze_

MediaRule = Callable[[Tensor, Tensor], Tensor]
"""(text_time, media_time) -> bool: may text at this time see that medium?"""

MEDIA_RULES: dict[str, tuple[MediaRule, ...]] = {
    "immediate": (torch.eq,),
    "all": (torch.ge,),
    "in turn": (torch.ge, torch.eq),
}
"""What each bridge shows to text, and from the first again when there are more: only the medium right
before it (section 3.1.3), or all before it. By the one a text learns what its own picture is, by the
other it finds a thing among several."""

Listen = Callable[[Tensor, KeysValues, Tensor], Tensor]
"""States, the media's keys and values, what is visible -> states: a bridge as the decoder calls it."""


@dataclass
class FlamingoCache:
    """Keys and values of text and media, latents of a medium, and how many media each row has passed."""

    tokens: KVCache
    media: ContextCache
    media_tokens: int
    seen: list[int]

    def put(self, row: "FlamingoCache") -> None:
        self.tokens.put(row.tokens)
        self.media.put(row.media)
        self.seen += row.seen

    def drop(self, row: int) -> None:
        self.tokens.drop(row)
        self.media.drop(row)
        self.seen[row] = self.seen[-1]
        self.seen.pop()


class MediaPlaces(Protocol):
    """Which medium of its text each is (resampler.PlacedPatches or PlacedLatents)."""

    positions: Tensor

    def to_patches(self, patches: Tensor, places: Tensor) -> Tensor: ...

    def to_latents(self, latents: Tensor, places: Tensor) -> Tensor: ...


class Flamingo(nn.Module):
    """A PaLM, a vision tower, both frozen, and between them a resampler and gated bridges.

    tower: any image encoder, (b, 3, size, size) -> (b, patches, dim); None where patches are given
    instead of pixels. media_rule: a name of MEDIA_RULES. cross_attn_every: a bridge after every n-th
    block, the first one included. max_frames: frames a video may have.
    """

    def __init__(
        self,
        palm: PaLM,
        tower: nn.Module | None,
        resampler: PerceiverResampler,
        media_places: MediaPlaces,
        media_token_id: int,
        media_rule: str,
        cross_attn_every: int,
        max_frames: int,
    ):
        super().__init__()
        self.palm = palm.freeze_()
        self.tower = freeze_(tower) if tower is not None else None
        self.resampler, self.media_places = resampler, media_places
        self.media_token_id, self.media_rule = media_token_id, media_rule
        self.cross_attn_every = cross_attn_every
        size = palm.size
        dim_media = resampler.latents.shape[1]
        self.frame_positions = nn.Parameter(torch.randn(max_frames, dim_media) * 0.02)
        embedding = palm.decoder.embedding.weight[media_token_id]
        self.media_embedding = nn.Parameter(embedding.detach().clone())
        self.bridges = nn.ModuleDict(
            {
                str(layer): GatedCrossAttention(size.dim, dim_media, size.heads, size.dim_head)
                for layer in range(0, size.depth, cross_attn_every)
            }
        )

    @property
    def size(self) -> Size:
        return self.palm.size

    @property
    def max_frames(self) -> int:
        return len(self.frame_positions)

    @property
    def max_media(self) -> int:
        """Media a text may have."""
        return len(self.media_places.positions)

    def trained_parameters(self) -> list[nn.Parameter]:
        """All that training moves: resampler, bridges, both kinds of positions, the media token."""
        return [p for p in self.parameters() if p.requires_grad]

    def forward(
        self,
        ids: Tensor,
        images: Tensor | None = None,
        videos: Tensor | None = None,
        embeds: Tensor | None = None,
    ) -> Tensor:
        """(b, n) ids with t media tokens a row, and their media -> (b, n, vocab) logits.

        images: (b, t, 3, size, size). videos: (b, t, frames, 3, size, size). embeds: patches made
        beforehand, (b, t, patches, dim), or (b, t, frames, patches, dim) of videos. Without any of
        them the text alone. Pictures and videos in one text: `embed_media` and `logits`.
        Raises PromptError when more than one is given, or not of these shapes.
        """
        given = {"images": images, "videos": videos, "embeds": embeds}
        given = {name: media for name, media in given.items() if media is not None}
        if len(given) > 1:
            raise PromptError(
                f"{' and '.join(given)} were given together; give pictures and videos in the order of their "
                "media tokens to embed_media, and its latents to logits"
            )
        if not given:
            return self.logits(ids, None)
        ((name, media),) = given.items()
        axes = {"images": (5,), "videos": (6,), "embeds": (4, 5)}[name]
        if media.ndim not in axes or len(media) != len(ids):
            raise PromptError(
                f"{name} of shape {tuple(media.shape)} do not fit ids of shape {tuple(ids.shape)}; "
                f"they need {' or '.join(map(str, axes))} axes, of which the first two are batch and media"
            )
        marks = (ids == self.media_token_id).sum(dim=1).tolist()
        if set(marks) != {media.shape[1]}:
            raise PromptError(
                f"each text gets {media.shape[1]} {name}, but the texts have {marks} media tokens; give "
                "texts with as many media tokens as there are media"
            )
        embed = self.embed_patches if name == "embeds" else self.embed_media
        return self.logits(ids, embed(list(media.flatten(0, 1)), ids))

    def logits(self, ids: Tensor, latents: Tensor | None) -> Tensor:
        """(b, n) ids, latents of all their media in reading order -> (b, n, vocab) logits.

        latents: (all media of the batch, latents, dim), or None for text alone, which is then
        exactly PaLM's. Raises PromptError when their number is not that of the media tokens.
        """
        return self.palm.decoder.logits(self._states(ids, latents))

    def embed(self, ids: Tensor, latents: Tensor | None) -> Tensor:
        """As `logits` -> (b, n, dim) states after the final norm."""
        return self.palm.decoder.norm(self._states(ids, latents))

    def loss(self, ids: Tensor, labels: Tensor, latents: Tensor | None) -> Tensor:
        """Mean cross-entropy in nats. labels: (b, n), the next id at each place or IGNORED."""
        return cross_entropy(self.logits(ids, latents), labels)

    def embed_media(self, media: Sequence[Tensor], ids: Tensor) -> Tensor:
        """Pictures (3, size, size) and videos (frames, 3, size, size) -> (len(media), latents, dim).

        ids: (b, n), the texts they stand in, in reading order: latents know their place.
        Frames of a video carry time positions, pictures none. Raises PromptError when there are more
        or fewer media than media tokens, a video has more frames than `max_frames`, a text more
        media than `max_media`, or there is no tower.
        """
        return self.embed_patches(self.patches_of(media), ids)

    def patches_of(self, media: Sequence[Tensor]) -> list[Tensor]:
        """What the tower sees: (patches, dim) of a picture, (frames, patches, dim) of a video.

        Raises PromptError as `embed_media` does.
        """
        if self.tower is None:
            raise PromptError("this Flamingo has no vision tower; give it patches (`embeds`), no pixels")
        frames = [medium if medium.ndim == 4 else medium[None] for medium in media]
        for video in frames:
            self._check_frames(len(video))
        with torch.no_grad():
            patches = self.tower(torch.cat(frames))
        if patches.ndim != 3:
            raise PromptError(
                f"the vision tower gave {tuple(patches.shape)}; it has to give patches, (b, patches, dim)"
            )
        each = patches.split([len(video) for video in frames])
        return [p if m.ndim == 4 else p[0] for p, m in zip(each, media, strict=True)]

    def embed_patches(self, media: Sequence[Tensor], ids: Tensor) -> Tensor:
        """The same from the tower's tokens: pictures (patches, dim), videos (frames, patches, dim)."""
        places = self._places(ids, len(media))
        groups: dict[tuple[int, ...], list[int]] = {}
        for index, patches in enumerate(media):
            groups.setdefault(tuple(patches.shape), []).append(index)
        latents: list[Tensor | None] = [None] * len(media)
        for indices in groups.values():
            patches = torch.stack([media[index] for index in indices])
            resampled = self.resampler(self.resampler_input(patches, places[indices]))
            placed = self.media_places.to_latents(resampled, places[indices])
            for index, row in zip(indices, placed, strict=True):
                latents[index] = row
        return torch.stack(latents)

    def resampler_input(self, patches: Tensor, places: Tensor) -> Tensor:
        """What the resampler reads of media of one kind: (b, patches, dim), of videos
        (b, frames, patches, dim), with (b,) places -> (b, tokens, dim), frame after frame."""
        if patches.ndim == 4:
            self._check_frames(patches.shape[1])
            patches = patches + rearrange(self.frame_positions[: patches.shape[1]], "f d -> f 1 d")
            patches = rearrange(patches, "b f p d -> b (f p) d")
        return self.media_places.to_patches(patches, places)

    def _places(self, ids: Tensor, given: int) -> Tensor:
        """(media,), which medium of its text each is, from 0."""
        counts = self._count(ids, given)
        if max(counts) > self.max_media:
            raise PromptError(
                f"the text has {max(counts)} media, at most {self.max_media} fit; leave some out"
            )
        return torch.cat([torch.arange(count, device=ids.device) for count in counts])

    def _count(self, ids: Tensor, given: int) -> list[int]:
        """Each row's media tokens."""
        counts = (ids == self.media_token_id).sum(dim=1).tolist()
        if sum(counts) != given:
            raise PromptError(
                f"the text has {sum(counts)} <media> marks but {given} media were given; "
                "give one picture or video per mark"
            )
        return counts

    def _check_frames(self, count: int) -> None:
        if count > self.max_frames:
            raise PromptError(
                f"a video has {count} frames, at most {self.max_frames} fit; sample fewer of them"
            )

    def weights(self, ids: Tensor, latents: Tensor) -> dict[int, Tensor]:
        """Where a whole text looks, by the layer of each bridge: (b, h, n, media x latents of a medium).

        Arguments as in `logits`, of which this is the pass. A row's sum is 1 over the latents that its
        token sees, 0 where it sees none.
        """
        noted: dict[int, Tensor] = {}

        def noting(layer: str, bridge: GatedCrossAttention) -> Listen:
            def listen(states: Tensor, media: KeysValues, visible: Tensor) -> Tensor:
                noted[int(layer)] = bridge.weights(states, media, visible)
                return bridge(states, media, visible)

            return listen

        self._states(ids, latents, {layer: noting(layer, bridge) for layer, bridge in self.bridges.items()})
        return noted

    def _states(
        self, ids: Tensor, latents: Tensor | None, bridges: Mapping[str, Listen] | None = None
    ) -> Tensor:
        times = (ids == self.media_token_id).cumsum(dim=1)
        media, media_tokens = self._keys_values(ids, latents)
        return self._run(ids, Causal(), times, media, media_tokens, bridges)

    def prefill(
        self, ids: Tensor, lengths: Sequence[int], capacity: int, latents: Tensor | None
    ) -> tuple[Tensor, FlamingoCache]:
        """(b, n) ids padded on the right, media as in `logits` -> next logits (b, vocab), cache."""
        size = self.size
        tokens = KVCache(size.depth, len(ids), capacity, size.dim_head, self.palm.decoder.embedding.weight)
        media, media_tokens = self._keys_values(ids, latents)
        times = (ids == self.media_token_id).cumsum(dim=1)
        seen = times[:, -1].tolist()
        kept = ContextCache(media or self._no_media(len(ids)), [count * media_tokens for count in seen])
        cache = FlamingoCache(tokens, kept, media_tokens, seen)
        states = self._run(ids, tokens.extend_by(ids.shape[1]), times, media, media_tokens)
        tokens.advance(list(lengths))
        return self.palm.decoder.logits(last_states(states, lengths)), cache

    def new_cache(self, rows: int, capacity: int) -> FlamingoCache:
        """For a continuous batch: room for rows that are put in and taken out, none in use yet."""
        size = self.size
        tokens = KVCache(size.depth, rows, capacity, size.dim_head, self.palm.decoder.embedding.weight)
        tokens.clear()
        return FlamingoCache(
            tokens, ContextCache(self._no_media(rows), []), len(self.resampler.latents), seen=[]
        )

    def _no_media(self, rows: int) -> dict[int, KeysValues]:
        return self._look_at(self.frame_positions.new_zeros(rows, 0, self.frame_positions.shape[1]))

    def extend(self, ids: Tensor, cache: FlamingoCache) -> Tensor:
        """(b,) one new id per row, no media token -> (b, vocab) logits of the next."""
        pattern = cache.tokens.extend_by(1)
        times = torch.tensor(cache.seen, device=ids.device)[:, None]
        states = self._run(ids[:, None], pattern, times, cache.media.by_layer(), cache.media_tokens)
        cache.tokens.advance([1] * len(ids))
        return self.palm.decoder.logits(states[:, -1])

    def _run(
        self,
        ids: Tensor,
        pattern: Pattern,
        times: Tensor,
        media: dict[int, KeysValues],
        media_tokens: int,
        bridges: Mapping[str, Listen] | None = None,
    ) -> Tensor:
        """times: (b, n), how many media stand at or before each token. bridges: the model's own, or
        what stands in for them."""
        is_media = rearrange(ids == self.media_token_id, "b n -> b n 1")
        states = torch.where(is_media, self.media_embedding, self.palm.decoder.embedding(ids))
        if not media:
            return self.palm.decoder(states, pattern)
        most = next(iter(media.values()))[0].shape[2] // media_tokens
        media_times = repeat(torch.arange(1, most + 1, device=ids.device), "t -> (t m)", m=media_tokens)
        text_times = rearrange(times, "b n -> b n 1")
        shown = cycle([rule(text_times, media_times) for rule in MEDIA_RULES[self.media_rule]])

        # A row of text alone is PaLM's, in company as on its own.
        has_media = rearrange(times[:, -1] > 0, "b -> b 1 1")

        def look(layer: int, visible: Tensor):
            bridge = (bridges or self.bridges)[str(layer)]
            return lambda states: torch.where(has_media, bridge(states, media[layer], visible), states)

        looks = {layer: look(layer, visible) for layer, visible in zip(media, shown, strict=False)}
        return self.palm.decoder(states, pattern, looks)

    def _keys_values(self, ids: Tensor, latents: Tensor | None) -> tuple[dict[int, KeysValues], int]:
        """Each bridge's keys and values of each row's media, and the latents a medium has."""
        counts = self._count(ids, 0 if latents is None else len(latents))
        if latents is None:
            return {}, 0
        rows = nn.utils.rnn.pad_sequence(latents.split(counts), batch_first=True)
        flat = rearrange(rows, "b t m d -> b (t m) d")
        return self._look_at(flat), latents.shape[1]

    def _look_at(self, latents: Tensor) -> dict[int, KeysValues]:
        """(b, m, dim_media) -> keys and values of each bridge."""
        return {int(layer): bridge.keys_values(latents) for layer, bridge in self.bridges.items()}
