"""PaLM (Chowdhery et al. 2022): a parallel decoder that reads and writes text, with LoRA scopes."""

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor

from palm_demo.concurrency import locked_cached_property
from palm_demo.errors import ScopeError, shown
from palm_demo.models.attention import AttentionMask, CausalMask, VisibleMask
from palm_demo.models.cpu_linear import Weights
from palm_demo.models.kv_cache import KVCache
from palm_demo.models.layers import Style
from palm_demo.models.lora import Adapter, AdapterShape, LayerAdapter, Scope, Scopes, stack_adapters
from palm_demo.models.losses import cross_entropy
from palm_demo.models.side_by_side import Pass
from palm_demo.models.transformer import BesideDecoder, Decoder, TransformerConfig


class PaLMCache:
    """A cache of PaLM's requests: keys and values, and each row's adapter."""

    def __init__(self, tokens: KVCache, scopes: list[Adapter | None]):
        """scopes: one adapter per row; None for the base model."""
        self.tokens, self.scopes = tokens, scopes

    @locked_cached_property
    def adapters(self) -> list[LayerAdapter] | None:
        """The rows' adapters stacked, one per block. They are stacked again after rows have changed."""
        return stack_adapters(self.scopes)

    def put(self, row: "PaLMCache") -> None:
        """Appends the only row of another cache."""
        self.tokens.put(row.tokens)
        self.scopes = [*self.scopes, *row.scopes]
        vars(self).pop("adapters", None)

    def drop(self, row: int) -> None:
        """Takes a row out of use. The last one moves into its place."""
        self.tokens.drop(row)
        self.scopes[row] = self.scopes[-1]
        self.scopes.pop()
        vars(self).pop("adapters", None)


class PaLM(BesideDecoder):
    """PaLM (Chowdhery et al. 2022): a causal language model of parallel blocks, with LoRA scopes.

    A scope is a name, an adapter, a mix of these with their strengths, or None for the base model.
    Methods that take scopes raise ScopeError if one is unknown or of another model, or if there is not
    one for each row.
    """

    def __init__(self, config: TransformerConfig, style: Style):
        super().__init__()
        self.decoder = Decoder(config, style)
        width = config.heads * config.dim_head
        self.scopes = Scopes(AdapterShape(config.dim, width, config.dim_head, config.depth))

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
        """(b, n) ids -> (b, n, dim) states after the final norm; arguments as in `forward`."""
        return self.decoder.norm(self._states(ids, extra_embed, scopes))

    def loss(self, ids: Tensor, labels: Tensor, scopes: Sequence[Scope] | None = None) -> Tensor:
        """Mean cross-entropy in nats. labels: (b, n), the next id at each position or IGNORED."""
        return cross_entropy(self(ids, scopes=scopes), labels)

    def _states(self, ids: Tensor, extra_embed: Tensor | None, scopes: Sequence[Scope] | None) -> Tensor:
        states = self.decoder.embedding(ids.clamp(min=0))
        if extra_embed is not None:
            states = states + extra_embed
        adapters = None
        if scopes is not None:
            _check_scopes(scopes, len(ids))
            adapters = self.scopes.select(scopes)
        return self.decoder(states, self._mask(ids), adapters=adapters)

    def _mask(self, ids: Tensor) -> AttentionMask:
        return CausalMask()

    @torch.no_grad()
    def prefill(
        self,
        ids: Tensor,
        lengths: Sequence[int],
        capacity: int,
        scopes: Sequence[Scope] | None = None,
    ) -> tuple[Tensor, PaLMCache]:
        """Reads prompts. Returns the logits of what comes next, (b, vocab), and the cache.

        Args:
            ids: (b, n), padded on the right.
            lengths: real tokens of each row.
            capacity: tokens that a row can grow to.
            scopes: one per row; None for the base model in all of them.
        """
        cache = self.begin(ids, capacity, scopes)
        return self._prefill(ids, lengths, cache), cache

    def begin(self, ids: Tensor, capacity: int, scopes: Sequence[Scope] | None = None) -> PaLMCache:
        """An empty cache for prompts that will be read by `read`; arguments as in `prefill`."""
        scopes = scopes if scopes is not None else [None] * len(ids)
        _check_scopes(scopes, len(ids))
        tokens = self.decoder.new_cache(len(ids), capacity)
        return PaLMCache(tokens, [self.scopes.find(scope) for scope in scopes])

    def read(self, ids: Tensor, cache: PaLMCache) -> Tensor:
        """Reads further ids of each row, (b, n), and returns their logits (b, n, vocab). The cache grows."""
        states = self._run_cached(ids, cache)
        cache.tokens.advance([ids.shape[1]] * len(ids))
        return self.decoder.logits(states)

    def slide(self, cache: PaLMCache, kept: int) -> None:
        """Drops all tokens of a cache's only row but the first and the last `kept`.

        The kept tokens move to the positions behind the first. Attention depends on distances alone,
        so this changes nothing between them.
        """
        tokens = cache.tokens
        (length,) = tokens.lengths
        back = torch.tensor([1 + kept - length], device=tokens.keys.device)
        tokens.slide(kept, self.decoder.rotary(back, heads=1))

    def new_cache(self, rows: int, capacity: int) -> PaLMCache:
        """A cache for a continuous batch, with room for `rows` rows of `capacity` tokens, none in use
        yet."""
        tokens = self.decoder.new_cache(rows, capacity)
        tokens.clear()
        return PaLMCache(tokens, [])

    def _pass(self, ids: Tensor, cache: PaLMCache) -> Pass:
        mask = cache.tokens.extend_by(ids.shape[1])
        return Pass(self.decoder.embedding(ids), mask, adapters=cache.adapters)

    def _logits_of(self, states: Tensor) -> Tensor:
        return self.decoder.logits(states)

    def add_scope(self, name: str, rank: int) -> Adapter:
        """Adds a LoRA scope that changes nothing until it is trained. Raises ScopeError on a taken name."""
        return self.scopes.add(name, rank).to(self.decoder.embedding.weight)

    def new_adapter(self, rank: int, random: torch.Generator | None = None) -> Adapter:
        """An adapter without a name, which only those who hold it can use.

        It changes nothing until it is trained.
        """
        return self.scopes.new(rank, random).to(self.decoder.embedding.weight)

    def remove_scope(self, name: str) -> None:
        """Removes a scope. Raises ScopeError when it is unknown or merged into the weights."""
        self.scopes.remove(name)

    def merge_scope(self, scope: Scope) -> None:
        """Adds a scope or mix to the weights, for all requests. `unmerge_scope` restores them exactly."""
        self.scopes.merge(scope, self.decoder.blocks)

    def unmerge_scope(self, scope: Scope) -> None:
        """Restores the weights from before `merge_scope`. Raises ScopeError unless it was the last merge."""
        self.scopes.unmerge(scope, self.decoder.blocks)

    def base_weights(self) -> Weights:
        """The decoder's weights by name, without what is merged into them."""
        instead = {}
        for first in self.scopes.merged[:1]:
            for number, (fused, out) in enumerate(first.before):
                instead[f"blocks.{number}.fused.weight"] = fused
                instead[f"blocks.{number}.attention_out.weight"] = out
        return Weights(self.decoder, instead=instead)

    def freeze_(self) -> "PaLM":
        """Turns gradients off for good."""
        return self.requires_grad_(False)


class PaLMEncoder(PaLM):
    """PaLM's blocks with attention in both directions. Negative ids are padding that no token sees."""

    def _mask(self, ids: Tensor) -> AttentionMask:
        return VisibleMask(rearrange(ids >= 0, "b m -> b 1 m"))


def _check_scopes(scopes: Sequence[Scope], rows: int) -> None:
    if isinstance(scopes, str):
        raise ScopeError(f"scopes is {shown(scopes)}; give a list with one scope for each row")
    if len(scopes) != rows:
        raise ScopeError(
            f"scopes has length {len(scopes)} and the batch {rows} rows; give one for each, None for the base"
        )
