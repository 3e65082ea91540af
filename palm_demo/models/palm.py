"""PaLM (Chowdhery et al. 2022): a parallel decoder that reads and writes text."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from palm_demo.concurrency import made_once
from palm_demo.models.attention import AttentionMask, CausalMask, VisibleMask
from palm_demo.models.kv_cache import KVCache
from palm_demo.models.layers import Style
from palm_demo.models.lora import Adapter, AdapterShape, LayerAdapter, Scope, Scopes, for_rows
from palm_demo.models.transformer import Decoder, TransformerConfig

IGNORED = -100
"""A label that is not learned from; no token has this id."""


class PaLMCache:
    """What requests keep between steps: keys and values, and each row's scope."""

    def __init__(self, tokens: KVCache, scopes: list[Adapter | None]):
        self.tokens, self.scopes = tokens, scopes

    @made_once
    def adapters(self) -> list[LayerAdapter] | None:
        """One a block, put together when rows have changed."""
        return for_rows(self.scopes)

    def put(self, row: "PaLMCache") -> None:
        self.tokens.put(row.tokens)
        self.scopes = [*self.scopes, *row.scopes]
        vars(self).pop("adapters", None)

    def drop(self, row: int) -> None:
        self.tokens.drop(row)
        self.scopes[row] = self.scopes[-1]
        self.scopes.pop()
        vars(self).pop("adapters", None)


class PaLM(nn.Module):
    """A causal language model with LoRA scopes.

    A scope is a name, an adapter, a mix of such with their strengths, or None for the base. Raises
    ScopeError where it is unknown or of another model.
    """

    def __init__(self, size: TransformerConfig, style: Style):
        super().__init__()
        self.decoder = Decoder(size, style)
        width = size.heads * size.dim_head
        self.scopes = Scopes(AdapterShape(size.dim, width, size.dim_head, size.depth))

    @property
    def config(self) -> TransformerConfig:
        return self.decoder.config

    def forward(
        self,
        ids: Tensor,
        extra_embed: Tensor | None = None,
        scopes: Sequence[Scope] | None = None,
    ) -> Tensor:
        """(b, n) ids -> (b, n, vocab) logits.

        extra_embed: (b, n, dim), added to the token embeddings. scopes: one per row.
        """
        return self.decoder.logits(self._states(ids, extra_embed, scopes))

    def embed(
        self,
        ids: Tensor,
        extra_embed: Tensor | None = None,
        scopes: Sequence[Scope] | None = None,
    ) -> Tensor:
        """(b, n) ids -> (b, n, dim) states after the final norm."""
        return self.decoder.norm(self._states(ids, extra_embed, scopes))

    def loss(self, ids: Tensor, labels: Tensor, scopes: Sequence[Scope] | None = None) -> Tensor:
        """Mean cross-entropy in nats. labels: (b, n), the next id at each place or IGNORED."""
        return cross_entropy(self(ids, scopes=scopes), labels)

    def _states(self, ids: Tensor, extra_embed: Tensor | None, scopes: Sequence[Scope] | None) -> Tensor:
        states = self.decoder.embedding(ids.clamp(min=0))
        if extra_embed is not None:
            states = states + extra_embed
        adapters = self.scopes.select(scopes) if scopes is not None else None
        return self.decoder(states, self._pattern(ids), adapters=adapters)

    def _pattern(self, ids: Tensor) -> AttentionMask:
        return CausalMask()

    @torch.no_grad()
    def prefill(
        self,
        ids: Tensor,
        lengths: Sequence[int],
        capacity: int,
        scopes: Sequence[Scope] | None = None,
    ) -> tuple[Tensor, PaLMCache]:
        """Reads prompts: (b, n) ids padded on the right, of these lengths -> logits (b, vocab) of
        what comes next, and the cache to go on from."""
        scopes = scopes if scopes is not None else [None] * len(ids)
        tokens = self.decoder.new_cache(len(ids), capacity)
        cache = PaLMCache(tokens, [self.scopes.find(scope) for scope in scopes])
        states = self._step(ids, cache)
        tokens.advance(list(lengths))
        return self.decoder.logits(last_states(states, lengths)), cache

    def new_cache(self, rows: int, capacity: int) -> PaLMCache:
        """For a continuous batch: room for rows that are put in and taken out, none in use yet."""
        tokens = self.decoder.new_cache(rows, capacity)
        tokens.clear()
        return PaLMCache(tokens, [])

    def decode_step(self, ids: Tensor, cache: PaLMCache) -> Tensor:
        """(b,) one new id per row -> (b, vocab) logits of the next."""
        states = self._step(ids[:, None], cache)
        cache.tokens.advance([1] * len(ids))
        return self.decoder.logits(states[:, -1])

    def _step(self, ids: Tensor, cache: PaLMCache) -> Tensor:
        pattern = cache.tokens.extend_by(ids.shape[1])
        return self.decoder(self.decoder.embedding(ids), pattern, adapters=cache.adapters)

    def add_scope(self, name: str, rank: int) -> Adapter:
        """A new LoRA scope that changes nothing until trained. Raises ScopeError if taken."""
        return self.scopes.add(name, rank).to(self.decoder.embedding.weight)

    def new_adapter(self, rank: int, random: torch.Generator | None = None) -> Adapter:
        """A scope without a name, which whoever has it can ask for and nobody else; changes nothing
        until trained."""
        return self.scopes.new(rank, random).to(self.decoder.embedding.weight)

    def remove_scope(self, name: str) -> None:
        self.scopes.remove(name)

    def merge_scope(self, scope: Scope) -> None:
        """Adds the scope or mix to the weights, for everyone; `unmerge_scope` puts them back exactly."""
        self.scopes.merge(scope, self.decoder.blocks)

    def unmerge_scope(self, scope: Scope) -> None:
        self.scopes.unmerge(scope, self.decoder.blocks)

    def freeze_(self) -> "PaLM":
        """No gradients from here on."""
        return self.requires_grad_(False)


class PaLMEncoder(PaLM):
    """The same blocks seeing both ways; negative ids are padding that nobody sees."""

    def _pattern(self, ids: Tensor) -> AttentionMask:
        return VisibleMask(rearrange(ids >= 0, "b m -> b 1 m"))


def cross_entropy(logits: Tensor, labels: Tensor, reduction: str = "mean") -> Tensor:
    """(b, n, vocab), (b, n) -> nats, their mean or sum over the labels that are not IGNORED; fp32."""
    flat = logits.flatten(0, 1).float(), labels.flatten()
    return F.cross_entropy(*flat, ignore_index=IGNORED, reduction=reduction)


def last_states(states: Tensor, lengths: Sequence[int]) -> Tensor:
    """(b, n, dim) -> (b, dim), each row's last real token."""
    rows = torch.arange(len(states), device=states.device)
    return states[rows, torch.tensor(lengths, device=states.device) - 1]
