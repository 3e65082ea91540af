"""Flamingo (Alayrac et al. 2022): a frozen language model that looks at interleaved media."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn

from palm_demo.attention import Causal, Pattern
from palm_demo.bridges import GatedCrossAttention, KeysValues
from palm_demo.cache import ContextCache, KVCache
from palm_demo.decoder import Size
from palm_demo.errors import PromptError
from palm_demo.models.media_encoder import MediaEncoder
from palm_demo.models.media_rules import visible_media
from palm_demo.models.palm import PaLM, cross_entropy, last_states

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


class Flamingo(nn.Module):
    """A frozen PaLM, an encoder of pictures and videos, and gated bridges between them.

    media_rule: a name of MEDIA_RULES. cross_attn_every: a bridge after every n-th block, the first
    one included.
    """

    def __init__(
        self,
        palm: PaLM,
        encoder: MediaEncoder,
        media_token_id: int,
        media_rule: str,
        cross_attn_every: int,
    ):
        super().__init__()
        self.palm, self.encoder = palm.freeze_(), encoder
        self.media_token_id, self.media_rule = media_token_id, media_rule
        self.cross_attn_every = cross_attn_every
        size = palm.size
        embedding = palm.decoder.embedding.weight[media_token_id]
        self.media_embedding = nn.Parameter(embedding.detach().clone())
        self.bridges = nn.ModuleDict(
            {
                str(layer): GatedCrossAttention(size.dim, encoder.dim, size.heads, size.dim_head)
                for layer in range(0, size.depth, cross_attn_every)
            }
        )

    @property
    def size(self) -> Size:
        return self.palm.size

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
        counts = self._count(ids, given)
        if max(counts) > self.encoder.max_media:
            raise PromptError(
                f"the text has {max(counts)} media, at most {self.encoder.max_media} fit; leave some out"
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
            tokens, ContextCache(self._no_media(rows), []), self.encoder.num_latents, seen=[]
        )

    def _no_media(self, rows: int) -> dict[int, KeysValues]:
        return self._look_at(self.media_embedding.new_zeros(rows, 0, self.encoder.dim))

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
        shown = visible_media(self.media_rule, times, most, media_tokens)

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
