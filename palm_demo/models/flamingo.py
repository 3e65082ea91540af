"""Flamingo (Alayrac et al. 2022): a frozen language model that reads text with pictures and videos in it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn

from palm_demo.errors import PromptError
from palm_demo.models.attention import CausalMask, UpdatingMask
from palm_demo.models.cross_attention import (
    MEDIA_RULES,
    GatedCrossAttention,
    KeysValues,
    TextPreservingCrossAttention,
    visible_media,
)
from palm_demo.models.kv_cache import ContextCache, KVCache
from palm_demo.models.losses import cross_entropy
from palm_demo.models.media_encoder import MediaEncoder
from palm_demo.models.side_by_side import Pass
from palm_demo.models.transformer import BesideDecoder, Decoder, LMBackbone, TransformerConfig

CrossAttend = Callable[[Tensor, KeysValues, Tensor, Tensor], Tensor]
"""(states, keys and values of the media, visible, has_media) -> states, as `GatedCrossAttention` is
called."""


@dataclass
class FlamingoCache:
    """Keys and values of text and media, and the number of media that each row has had.

    `marks`: (b, n), how many media stand at or before each token of the prompts, until these are read.
    """

    tokens: KVCache
    media: ContextCache
    media_counts: list[int]
    marks: Tensor | None = None

    def put(self, row: "FlamingoCache") -> None:
        """Appends the only row of another cache."""
        self.tokens.put(row.tokens)
        self.media.put(row.media)
        self.media_counts += row.media_counts

    def drop(self, row: int) -> None:
        """Takes a row out of use. The last one moves into its place."""
        self.tokens.drop(row)
        self.media.drop(row)
        self.media_counts[row] = self.media_counts[-1]
        self.media_counts.pop()


def cross_attention_at_every(
    every: int, config: TransformerConfig, dim_media: int
) -> dict[int, GatedCrossAttention]:
    """A cross-attention layer at every n-th block from the first on, with as many heads as the blocks."""
    return {
        layer: TextPreservingCrossAttention(config.dim, dim_media, config.heads, config.dim_head)
        for layer in range(0, config.depth, every)
    }


class Flamingo(BesideDecoder):
    """A frozen language model, an encoder of pictures and videos, and gated cross-attention between them.

    Args:
        decoder: the language model, which is frozen.
        encoder: turns media into latents.
        media_token_id: the id of the media token.
        media_rule: a name of MEDIA_RULES.
        cross_attention: layers by the block that each belongs to.

    Raises ValueError for an unknown media_rule, and for one that divides the heads into groups if their
    number cannot be divided so.
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
        if media_rule not in MEDIA_RULES:
            raise ValueError(f"media_rule is {media_rule!r}; it can be {', '.join(MEDIA_RULES)}")
        self.heads = next(iter(cross_attention.values())).attention.heads
        groups = len(MEDIA_RULES[media_rule])
        if self.heads % groups:
            raise ValueError(
                f"cross-attention has {self.heads} heads, which media_rule {media_rule!r} divides into "
                f"{groups} groups; give a multiple of {groups}"
            )
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

    def forward(
        self,
        ids: Tensor,
        images: Tensor | None = None,
        videos: Tensor | None = None,
        embeds: Tensor | None = None,
    ) -> Tensor:
        """Logits (b, n, vocab) of ids (b, n) with t media tokens a row, and their media.

        Give one kind of media or none. For pictures and videos in one text, call `embed_media` and
        `logits`.

        Args:
            ids: (b, n).
            images: (b, t, 3, size, size).
            videos: (b, t, frames, 3, size, size).
            embeds: the tower's patches, (b, t, patches, dim) of pictures or (b, t, frames, patches,
                dim) of videos.

        Raises:
            PromptError: more than one kind is given, or shapes and media tokens do not fit each other.
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
        counts = self._count_media_tokens(ids, media.shape[0] * media.shape[1])
        if set(counts) != {media.shape[1]}:
            raise PromptError(
                f"each text gets {media.shape[1]} {name}, but the texts have {counts} media tokens; give "
                "texts with as many media tokens as there are media"
            )
        embed = self.embed_patches if name == "embeds" else self.embed_media
        return self.logits(ids, embed(list(media.flatten(0, 1)), ids))

    def logits(self, ids: Tensor, latents: Tensor | None) -> Tensor:
        """Logits (b, n, vocab) of ids (b, n) and the latents of all their media in reading order.

        latents: (all media of the batch, latents, dim), or None for text alone. Raises PromptError
        when their number is not that of the media tokens.
        """
        return self.decoder.logits(self._states(ids, latents))

    def embed(self, ids: Tensor, latents: Tensor | None) -> Tensor:
        """(b, n) ids -> (b, n, dim) states after the final norm; arguments and errors as in `logits`."""
        return self.decoder.norm(self._states(ids, latents))

    def loss(self, ids: Tensor, labels: Tensor, latents: Tensor | None) -> Tensor:
        """Mean cross-entropy in nats. labels: (b, n), the next id at each position or IGNORED."""
        return cross_entropy(self.logits(ids, latents), labels)

    def embed_media(self, media: Sequence[Tensor], ids: Tensor) -> Tensor:
        """Encodes pictures (3, size, size) and videos (frames, 3, size, size) as (len(media), latents,
        dim).

        ids: (b, n), the texts that the media stand in, in reading order; a medium's latents depend on
        its position in its text. Raises PromptError as the encoder does, when media and media tokens
        differ in number, and when a text has more media than the encoder takes.
        """
        return self.embed_patches(self.encoder.patches(media), ids)

    def embed_patches(self, media: Sequence[Tensor], ids: Tensor) -> Tensor:
        """Encodes the tower's patches as (len(media), latents, dim). `embed_media` runs the tower, then
        this.

        media: pictures (patches, dim) and videos (frames, patches, dim). ids, errors: as in
        `embed_media`.
        """
        return self.encoder(media, self._media_positions(ids, len(media)))

    def _media_positions(self, ids: Tensor, given: int) -> Tensor:
        """(media,): each medium's position in its text, from 0."""
        counts = self._check_media_tokens(ids, given)
        self.check_media_fit(max(counts))
        return torch.cat([torch.arange(count, device=ids.device) for count in counts])

    def check_media_fit(self, count: int) -> None:
        """Raises PromptError for more media than the encoder takes in one text."""
        if (most := self.encoder.max_media) is not None and count > most:
            raise PromptError(f"the text has {count} media, at most {most} fit; leave some out")

    def _check_media_tokens(self, ids: Tensor, given: int) -> list[int]:
        """The number of media tokens in each row. Raises PromptError unless they are `given` in all."""
        counts = self._count_media_tokens(ids, given)
        if sum(counts) != given:
            raise PromptError(
                f"the text has {sum(counts)} <media> marks but {given} media were given; "
                "give one picture or video per mark"
            )
        return counts

    def _count_media_tokens(self, ids: Tensor, given: int) -> list[int]:
        """The number of media tokens in each row.

        On the meta device ids have shapes but no values; there the `given` media are shared out evenly.
        """
        if ids.is_meta:
            return [given // len(ids)] * len(ids)
        return (ids == self.media_token_id).sum(dim=1).tolist()

    def attention_weights(self, ids: Tensor, latents: Tensor) -> dict[int, Tensor]:
        """Each cross-attention layer's weights on the latents: by layer, (b, h, n, media x latents).

        It runs the pass of `logits`, with the same arguments. A token's weights sum to 1 over the
        latents that it sees, and are 0 if it sees none.
        """
        recorded: dict[int, Tensor] = {}

        def recording(layer: str, cross_attn: GatedCrossAttention) -> CrossAttend:
            def attend(states: Tensor, media: KeysValues, visible: Tensor, has_media: Tensor) -> Tensor:
                recorded[int(layer)] = cross_attn.attention_weights(states, media, visible)
                return cross_attn(states, media, visible, has_media)

            return attend

        layers = {layer: recording(layer, cross_attn) for layer, cross_attn in self.cross_attention.items()}
        self._states(ids, latents, layers)
        return recorded

    def _states(
        self, ids: Tensor, latents: Tensor | None, cross_attention: Mapping[str, CrossAttend] | None = None
    ) -> Tensor:
        media_so_far = (ids == self.media_token_id).cumsum(dim=1)
        counts, media = media_so_far[:, -1:], self._keys_values(ids, latents)
        return self._run(self._with_media(ids, CausalMask(), media_so_far, counts, media, cross_attention))

    def prefill(
        self, ids: Tensor, lengths: Sequence[int], capacity: int, latents: Tensor | None
    ) -> tuple[Tensor, FlamingoCache]:
        """Reads prompts. Returns the logits of what comes next, (b, vocab), and the cache.

        Args:
            ids: (b, n), padded on the right.
            lengths: real tokens of each row.
            capacity: tokens that a row can grow to.
            latents: of the prompts' media, as in `logits`.
        """
        cache = self.begin(ids, capacity, latents)
        logits = self._prefill(ids, lengths, cache)
        cache.marks = None
        return logits, cache

    def begin(self, ids: Tensor, capacity: int, latents: Tensor | None) -> FlamingoCache:
        """An empty cache for prompts that will be read in pieces; arguments as in `prefill`."""
        tokens, media = self.decoder.new_cache(len(ids), capacity), self._keys_values(ids, latents)
        marks = (ids == self.media_token_id).cumsum(dim=1)
        counts = marks[:, -1].tolist()  # here and not in each step: counting waits for a GPU
        kept = ContextCache(media, [count * self.encoder.num_latents for count in counts])
        return FlamingoCache(tokens, kept, counts, marks)

    def new_cache(self, rows: int, capacity: int) -> FlamingoCache:
        """A cache for a continuous batch, with room for `rows` rows of `capacity` tokens, none in use
        yet."""
        tokens = self.decoder.new_cache(rows, capacity)
        tokens.clear()
        return FlamingoCache(tokens, ContextCache(self._no_media(rows), []), [])

    @property
    def reads_beside(self) -> bool:
        return isinstance(self.decoder, Decoder)

    def _pass(self, ids: Tensor, cache: FlamingoCache) -> Pass:
        new = ids.shape[1]
        counts = torch.tensor(cache.media_counts, device=ids.device)[:, None]
        if cache.marks is None:
            so_far = counts.expand(-1, new)
        else:
            start = cache.tokens.lengths[0]
            so_far = cache.marks[:, start : start + new]
        return self._with_media(ids, cache.tokens.extend_by(new), so_far, counts, cache.media.by_layer())

    def _run_cached(self, ids: Tensor, cache: FlamingoCache) -> Tensor:
        return self._run(self._pass(ids, cache))

    def _run(self, one: Pass) -> Tensor:
        """Runs the blocks: (b, n, dim) states after the last one."""
        return self.decoder(one.states, one.mask, one.cross_attention)

    def _logits_of(self, states: Tensor) -> Tensor:
        return self.decoder.logits(states)

    def _with_media(
        self,
        ids: Tensor,
        mask: UpdatingMask,
        media_so_far: Tensor,
        counts: Tensor,
        media: dict[int, KeysValues],
        cross_attention: Mapping[str, CrossAttend] | None = None,
    ) -> Pass:
        """The new tokens of ids (b, n), with the layers that look at their media.

        Args:
            media_so_far: (b, n), how many media stand at or before each token.
            counts: (b, 1), how many there are in the whole prompt.
            media: by layer, keys and values.
            cross_attention: by layer, what runs in place of the model's own.
        """
        has_media = rearrange(counts > 0, "b 1 -> b 1 1")
        is_media = rearrange(ids == self.media_token_id, "b n -> b n 1")
        states = torch.where(is_media, self.media_embedding, self.decoder.embedding(ids))
        most = next(iter(media.values()))[0].shape[2] // self.encoder.num_latents
        visible = visible_media(self.media_rule, media_so_far, most, self.encoder.num_latents, self.heads)

        def layer_with_media(layer: int):
            cross_attn = (cross_attention or self.cross_attention)[str(layer)]
            return lambda states: cross_attn(states, media[layer], visible, has_media)

        return Pass(states, mask, {layer: layer_with_media(layer) for layer in media})

    def _keys_values(self, ids: Tensor, latents: Tensor | None) -> dict[int, KeysValues]:
        """Keys and values of each row's media, by cross-attention layer."""
        counts = self._check_media_tokens(ids, 0 if latents is None else len(latents))
        if latents is None:
            return self._no_media(len(ids))
        rows = nn.utils.rnn.pad_sequence(latents.split(counts), batch_first=True)
        return self._project(rearrange(rows, "b t m d -> b (t m) d"))

    def _no_media(self, rows: int) -> dict[int, KeysValues]:
        return self._project(self.media_embedding.new_zeros(rows, 0, self.encoder.dim))

    def _project(self, latents: Tensor) -> dict[int, KeysValues]:
        """Keys and values of latents (b, m, dim_media), by cross-attention layer."""
        return {
            int(layer): cross_attn.keys_values(latents) for layer, cross_attn in self.cross_attention.items()
        }
