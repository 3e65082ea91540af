"""Flamingo (Alayrac et al. 2022): a frozen language model that looks at interleaved media."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from palm_demo.attention import Causal, Pattern
from palm_demo.bridges import GatedCrossAttention, KeysValues
from palm_demo.cache import KVCache
from palm_demo.decoder import Size
from palm_demo.errors import PromptError
from palm_demo.models.palm import PaLM, last_states
from palm_demo.resampler import PerceiverResampler
from palm_demo.vision import VisionTower

MediaRule = Callable[[Tensor, Tensor], Tensor]
"""(text_time, media_time) -> bool: may text at this time see that medium?"""

MEDIA_RULES: dict[str, MediaRule] = {"immediate": torch.eq, "all": torch.ge}
"""Text sees only the medium right before it (section 3.1.3), or all before it."""


@dataclass
class FlamingoCache:
    """Keys and values of text and media, and how many media each row has passed."""

    tokens: KVCache
    media: dict[int, KeysValues]
    media_tokens: int
    seen: Tensor


class Flamingo(nn.Module):
    """A PaLM, a vision tower, both frozen, and between them a resampler and gated bridges.

    media_rule: a name of MEDIA_RULES. cross_attn_every: a bridge after every n-th block, the
    first one included. max_frames: frames a video may have. max_media: media a text may have; their
    places are learned, as in the reference, for text that sees all of them must tell them apart.
    """

    def __init__(
        self,
        palm: PaLM,
        tower: VisionTower,
        resampler: PerceiverResampler,
        media_token_id: int,
        media_rule: str,
        cross_attn_every: int,
        max_frames: int,
        max_media: int,
    ):
        super().__init__()
        self.palm = palm.freeze_()
        self.tower = tower.freeze_()
        self.resampler = resampler
        self.media_token_id, self.media_rule = media_token_id, media_rule
        self.cross_attn_every = cross_attn_every
        size = palm.size
        dim_media = resampler.latents.shape[1]
        self.frame_positions = nn.Parameter(torch.randn(max_frames, dim_media) * 0.02)
        self.media_positions = nn.Parameter(torch.randn(max_media, dim_media) * 0.1)
        embedding = palm.decoder.embedding.weight[media_token_id]
        self.media_embedding = nn.Parameter(embedding.detach().clone())
        self.bridges = nn.ModuleDict(
            {
                str(layer): GatedCrossAttention(size.dim, dim_media, size.heads, size.dim_head, size.ff_mult)
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
        return len(self.media_positions)

    def trained_parameters(self) -> list[nn.Parameter]:
        """All that training moves: resampler, bridges, both kinds of positions, the media token."""
        return [p for p in self.parameters() if p.requires_grad]

    def embed_media(self, media: Sequence[Tensor]) -> Tensor:
        """Media of frames (f, 3, size, size), f = 1 for a picture -> (len(media), latents, dim).

        Frames of a video carry time positions, pictures none. Raises PromptError when a video
        has more frames than `max_frames`.
        """
        for pixels in media:
            if len(pixels) > self.max_frames:
                raise PromptError(
                    f"a video has {len(pixels)} frames, at most {self.max_frames} fit; sample fewer of them"
                )
        with torch.no_grad():
            patches = self.tower(torch.cat(list(media)))
        return self.embed_patches(list(patches.split([len(pixels) for pixels in media])))

    def embed_patches(self, media: Sequence[Tensor]) -> Tensor:
        """The same from the tower's tokens: each medium (f, patches, dim)."""
        groups: dict[int, list[int]] = {}
        for index, patches in enumerate(media):
            groups.setdefault(len(patches), []).append(index)
        latents: list[Tensor | None] = [None] * len(media)
        for frames, indices in groups.items():
            stacked = torch.stack([media[index] for index in indices])
            if frames > 1:
                stacked = stacked + rearrange(self.frame_positions[:frames], "f d -> f 1 d")
            resampled = self.resampler(rearrange(stacked, "b f p d -> b (f p) d"))
            for index, row in zip(indices, resampled, strict=True):
                latents[index] = row
        return torch.stack(latents)

    def forward(self, ids: Tensor, latents: Tensor | None) -> Tensor:
        """(b, n) ids, latents of all their media in reading order -> (b, n, vocab) logits.

        latents: (all media of the batch, latents, dim), or None for text alone, which is then
        exactly PaLM's. Raises PromptError when their number is not that of the media tokens.
        """
        times = (ids == self.media_token_id).cumsum(dim=1)
        media, media_tokens = self._keys_values(ids, latents)
        states = self._run(ids, Causal(), times, media, media_tokens)
        return self.palm.decoder.logits(states)

    def prefill(
        self, ids: Tensor, lengths: Sequence[int], capacity: int, latents: Tensor | None
    ) -> tuple[Tensor, FlamingoCache]:
        """(b, n) ids padded on the right, media as in `forward` -> next logits (b, vocab), cache."""
        size = self.size
        tokens = KVCache(size.depth, len(ids), capacity, size.dim_head, self.palm.decoder.embedding.weight)
        media, media_tokens = self._keys_values(ids, latents)
        times = (ids == self.media_token_id).cumsum(dim=1)
        cache = FlamingoCache(tokens, media, media_tokens, seen=times[:, -1])
        states = self._run(ids, tokens.extend_by(ids.shape[1]), times, media, media_tokens)
        tokens.advance(list(lengths))
        return self.palm.decoder.logits(last_states(states, lengths)), cache

    def extend(self, ids: Tensor, cache: FlamingoCache) -> Tensor:
        """(b,) one new id per row, no media token -> (b, vocab) logits of the next."""
        pattern, times = cache.tokens.extend_by(1), cache.seen[:, None]
        states = self._run(ids[:, None], pattern, times, cache.media, cache.media_tokens)
        cache.tokens.advance([1] * len(ids))
        return self.palm.decoder.logits(states[:, -1])

    def _run(
        self,
        ids: Tensor,
        pattern: Pattern,
        times: Tensor,
        media: dict[int, KeysValues],
        media_tokens: int,
    ) -> Tensor:
        """times: (b, n), how many media stand at or before each token."""
        is_media = rearrange(ids == self.media_token_id, "b n -> b n 1")
        states = torch.where(is_media, self.media_embedding, self.palm.decoder.embedding(ids))
        if not media:
            return self.palm.decoder(states, pattern)
        most = next(iter(media.values()))[0].shape[2] // media_tokens
        media_times = repeat(torch.arange(1, most + 1, device=ids.device), "t -> (t m)", m=media_tokens)
        visible = MEDIA_RULES[self.media_rule](rearrange(times, "b n -> b n 1"), media_times)

        # A row of text alone is PaLM's, in company as on its own.
        has_media = rearrange(times[:, -1] > 0, "b -> b 1 1")

        def look(layer: int):
            bridge = self.bridges[str(layer)]
            return lambda states: torch.where(has_media, bridge(states, media[layer], visible), states)

        return self.palm.decoder(states, pattern, {layer: look(layer) for layer in media})

    def _keys_values(self, ids: Tensor, latents: Tensor | None) -> tuple[dict[int, KeysValues], int]:
        """Each bridge's keys and values of each row's media, and the latents a medium has."""
        counts = (ids == self.media_token_id).sum(dim=1).tolist()
        given = 0 if latents is None else len(latents)
        if sum(counts) != given:
            raise PromptError(
                f"the text has {sum(counts)} <media> marks but {given} media were given; "
                "give one picture or video per mark"
            )
        if latents is None:
            return {}, 0
        if max(counts) > self.max_media:
            raise PromptError(
                f"the text has {max(counts)} media, at most {self.max_media} fit; leave some out"
            )
        rows = nn.utils.rnn.pad_sequence(latents.split(counts), batch_first=True)
        rows = rows + rearrange(self.media_positions[: rows.shape[1]], "t d -> t 1 d")
        flat = rearrange(rows, "b t m d -> b (t m) d")
        made = {int(layer): bridge.keys_values(flat) for layer, bridge in self.bridges.items()}
        return made, latents.shape[1]
