"""Flamingo (Alayrac et al. 2022): a frozen language model that looks at interleaved media."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn

from palm_demo.errors import PromptError
from palm_demo.models.attention import CausalMask, UpdatingMask
from palm_demo.models.cross_attention import GatedCrossAttention, KeysValues, ShutWithoutMedia, visible_media
from palm_demo.models.kv_cache import ContextCache, KVCache
from palm_demo.models.media_encoder import MediaEncoder
from palm_demo.models.palm import cross_entropy, last_states
from palm_demo.models.transformer import LMBackbone, TransformerConfig

Listen = Callable[[Tensor, KeysValues, Tensor], Tensor]
"""States, the media's keys and values, what is visible -> states: a bridge as the decoder calls it."""


@dataclass
class FlamingoCache:
    """Keys and values of text and media, and how many media each row has passed."""

    tokens: KVCache
    media: ContextCache
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


def cross_attention_at_every(
    every: int, size: TransformerConfig, dim_media: int
) -> dict[int, GatedCrossAttention]:
    """A bridge at every n-th block, the first one included, with heads like the blocks'."""
    return {
        layer: ShutWithoutMedia(size.dim, dim_media, size.heads, size.dim_head)
        for layer in range(0, size.depth, every)
    }


class Flamingo(nn.Module):
    """A frozen language model, an encoder of pictures and videos, and gated bridges between them.

    media_rule: a name of MEDIA_RULES. bridges: by the block each belongs to.
    """

    def __init__(
        self,
        decoder: LMBackbone,
        encoder: MediaEncoder,
        media_token_id: int,
        media_rule: str,
        cross_attention: Mapping[int, GatedCrossAttention],
    ):
        super().__init__()
        self.decoder, self.encoder = decoder.requires_grad_(False), encoder
        self.media_token_id, self.media_rule = media_token_id, media_rule
        embedding = decoder.embedding.weight[media_token_id]
        self.media_embedding = nn.Parameter(embedding.detach().clone())
        self.cross_attention = nn.ModuleDict(
            {str(layer): cross_attn for layer, cross_attn in cross_attention.items()}
        )

    @property
    def config(self) -> TransformerConfig:
        return self.decoder.config

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
        marks = self._marks(ids, media.shape[0] * media.shape[1])
        if set(marks) != {media.shape[1]}:
            raise PromptError(
                f"each text gets {media.shape[1]} {name}, but the texts have {marks} media tokens; give "
                "texts with as many media tokens as there are media"
            )
        embed = self.embed_patches if name == "embeds" else self.embed_media
        return self.logits(ids, embed(list(media.flatten(0, 1)), ids))

    def logits(self, ids: Tensor, latents: Tensor | None) -> Tensor:
        """(b, n) ids, latents of all their media in reading order -> (b, n, vocab) logits.

        latents: (all media of the batch, latents, dim), or None for text alone. Raises PromptError when
        their number is not that of the media tokens.
        """
        return self.decoder.logits(self._states(ids, latents))

    def embed(self, ids: Tensor, latents: Tensor | None) -> Tensor:
        """As `logits` -> (b, n, dim) states after the final norm."""
        return self.decoder.norm(self._states(ids, latents))

    def loss(self, ids: Tensor, labels: Tensor, latents: Tensor | None) -> Tensor:
        """Mean cross-entropy in nats. labels: (b, n), the next id at each place or IGNORED."""
        return cross_entropy(self.logits(ids, latents), labels)

    def embed_media(self, media: Sequence[Tensor], ids: Tensor) -> Tensor:
        """Pictures (3, size, size) and videos (frames, 3, size, size) -> (len(media), latents, dim).

        ids: (b, n), the texts they stand in, in reading order: latents know their place. Raises
        PromptError as the encoder does, when there are more or fewer media than media tokens, and when a
        text has more than the encoder has places for.
        """
        return self.embed_patches(self.encoder.patches(media), ids)

    def embed_patches(self, media: Sequence[Tensor], ids: Tensor) -> Tensor:
        """The same from the tower's tokens: pictures (patches, dim), videos (frames, patches, dim)."""
        return self.encoder(media, self._places(ids, len(media)))

    def _places(self, ids: Tensor, given: int) -> Tensor:
        """(media,), which medium of its text each is, from 0."""
        counts, most = self._count(ids, given), self.encoder.max_media
        if most is not None and max(counts) > most:
            raise PromptError(f"the text has {max(counts)} media, at most {most} fit; leave some out")
        return torch.cat([torch.arange(count, device=ids.device) for count in counts])

    def _count(self, ids: Tensor, given: int) -> list[int]:
        """Each row's media tokens."""
        counts = self._marks(ids, given)
        if sum(counts) != given:
            raise PromptError(
                f"the text has {sum(counts)} <media> marks but {given} media were given; "
                "give one picture or video per mark"
            )
        return counts

    def _marks(self, ids: Tensor, given: int) -> list[int]:
        """The same unchecked. On the meta device ids have shapes but no values: there each row has as
        many as the others of those given."""
        if ids.is_meta:
            return [given // len(ids)] * len(ids)
        return (ids == self.media_token_id).sum(dim=1).tolist()

    def weights(self, ids: Tensor, latents: Tensor) -> dict[int, Tensor]:
        """Where a whole text looks, by the layer of each bridge: (b, h, n, media x latents of a medium).

        Arguments as in `logits`, of which this is the pass. A row's sum is 1 over the latents that its
        token sees, 0 where it sees none.
        """
        noted: dict[int, Tensor] = {}

        def noting(layer: str, cross_attn: GatedCrossAttention) -> Listen:
            def listen(states: Tensor, media: KeysValues, visible: Tensor) -> Tensor:
                noted[int(layer)] = cross_attn.weights(states, media, visible)
                return cross_attn(states, media, visible)

            return listen

        self._states(
            ids,
            latents,
            {layer: noting(layer, cross_attn) for layer, cross_attn in self.cross_attention.items()},
        )
        return noted

    def _states(
        self, ids: Tensor, latents: Tensor | None, cross_attention: Mapping[str, Listen] | None = None
    ) -> Tensor:
        times = (ids == self.media_token_id).cumsum(dim=1)
        return self._run(ids, CausalMask(), times, self._keys_values(ids, latents), cross_attention)

    def prefill(
        self, ids: Tensor, lengths: Sequence[int], capacity: int, latents: Tensor | None
    ) -> tuple[Tensor, FlamingoCache]:
        """(b, n) ids padded on the right, media as in `logits` -> next logits (b, vocab), cache."""
        tokens, media = self.decoder.new_cache(len(ids), capacity), self._keys_values(ids, latents)
        times = (ids == self.media_token_id).cumsum(dim=1)
        seen = times[:, -1].tolist()
        kept = ContextCache(media, [count * self.encoder.num_latents for count in seen])
        states = self._run(ids, tokens.extend_by(ids.shape[1]), times, media)
        tokens.advance(list(lengths))
        return self.decoder.logits(last_states(states, lengths)), FlamingoCache(tokens, kept, seen)

    def new_cache(self, rows: int, capacity: int) -> FlamingoCache:
        """For a continuous batch: room for rows that are put in and taken out, none in use yet."""
        tokens = self.decoder.new_cache(rows, capacity)
        tokens.clear()
        return FlamingoCache(tokens, ContextCache(self._no_media(rows), []), seen=[])

    def decode_step(self, ids: Tensor, cache: FlamingoCache) -> Tensor:
        """(b,) one new id per row, no media token -> (b, vocab) logits of the next."""
        pattern = cache.tokens.extend_by(1)
        times = torch.tensor(cache.seen, device=ids.device)[:, None]
        states = self._run(ids[:, None], pattern, times, cache.media.by_layer())
        cache.tokens.advance([1] * len(ids))
        return self.decoder.logits(states[:, -1])

    def _run(
        self,
        ids: Tensor,
        pattern: UpdatingMask,
        times: Tensor,
        media: dict[int, KeysValues],
        cross_attention: Mapping[str, Listen] | None = None,
    ) -> Tensor:
        """times: (b, n), how many media stand at or before each token. bridges: the model's own, or
        what stands in for them."""
        is_media = rearrange(ids == self.media_token_id, "b n -> b n 1")
        states = torch.where(is_media, self.media_embedding, self.decoder.embedding(ids))
        most = next(iter(media.values()))[0].shape[2] // self.encoder.num_latents
        heads = next(iter(self.cross_attention.values())).attention.heads
        visible = visible_media(self.media_rule, times, most, self.encoder.num_latents, heads)

        def look(layer: int):
            cross_attn = (cross_attention or self.cross_attention)[str(layer)]
            return lambda states: cross_attn(states, media[layer], visible)

        return self.decoder(states, pattern, {layer: look(layer) for layer in media})

    def _keys_values(self, ids: Tensor, latents: Tensor | None) -> dict[int, KeysValues]:
        """Each bridge's keys and values of each row's media."""
        counts = self._count(ids, 0 if latents is None else len(latents))
        if latents is None:
            return self._no_media(len(ids))
        rows = nn.utils.rnn.pad_sequence(latents.split(counts), batch_first=True)
        return self._look_at(rearrange(rows, "b t m d -> b (t m) d"))

    def _no_media(self, rows: int) -> dict[int, KeysValues]:
        return self._look_at(self.media_embedding.new_zeros(rows, 0, self.encoder.dim))

    def _look_at(self, latents: Tensor) -> dict[int, KeysValues]:
        """(b, m, dim_media) -> keys and values of each bridge."""
        return {
            int(layer): cross_attn.keys_values(latents) for layer, cross_attn in self.cross_attention.items()
        }
