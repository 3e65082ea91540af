"""The prefix cache: keys and values of beginnings that were read before, so that they are not read again.

A token's keys and values depend on the model, the row's scope, and the tokens before it with their
media. Beginnings are stored in blocks of BLOCK tokens. A block's key has all that it depends on and
the client whose request it was, so nobody can tell by an answer's speed what others have asked.
"""

import threading
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from palm_demo.kept import Kept
from palm_demo.models import PaLM
from palm_demo.models.cpu_linear import Projection
from palm_demo.models.kv_cache import KVCache
from palm_demo.models.lora import Adapter, Scope
from palm_demo.models.packed_weights import state_of

BLOCK = 64
"""Tokens of a prompt that are read in one piece beside running texts, and stored under one key."""


@dataclass(frozen=True)
class Beginning:
    """What the keys and values of a prompt depend on.

    Attributes:
        root: what holds for the whole prompt, such as its scope.
        tokens: the prompt's ids; for a medium, its digest stands in place of the id.
    """

    root: Hashable
    tokens: Sequence[Hashable]


@dataclass(frozen=True, eq=False)
class Block:
    """Keys and values of BLOCK tokens, (layers, heads, BLOCK, d) each.

    `number`: identifies the block; no two blocks share one.
    """

    number: int
    keys: Tensor
    values: Tensor


class PrefixCache:
    """A cache of the blocks of prompts' beginnings. Each key names the block before, so they form a tree."""

    def __init__(self, max_bytes: int):
        self.blocks: Kept[Block] = Kept(max_bytes)
        self._numbers = count()

    @torch.inference_mode()
    def begin(self, beginning: Beginning, tokens: KVCache) -> int:
        """Fills an empty cache's only row with the known blocks of a prompt. Returns their number of
        tokens.

        The last token is never among them, because its logits are needed.
        """
        found = list(self._known(beginning))
        if found:
            keys, values = (torch.cat([getattr(block, kind) for block in found], dim=2) for kind in _KINDS)
            tokens.begin_with(keys, values)
        return len(found) * BLOCK

    @torch.inference_mode()
    def keep(self, beginning: Beginning, tokens: KVCache) -> None:
        """Stores the whole blocks of a prompt that has been read into a cache's only row."""
        place, keys_of_all = beginning.root, []
        for start in range(0, len(beginning.tokens) - BLOCK + 1, BLOCK):
            key = place, tuple(beginning.tokens[start : start + BLOCK])
            keys_of_all.append(key)
            block = self.blocks.get(key)
            if block is None:
                keys, values = (
                    getattr(tokens, kind)[:, 0, :, start : start + BLOCK].clone() for kind in _KINDS
                )
                block = Block(next(self._numbers), keys, values)
                self.blocks.put(key, block, keys.nbytes + values.nbytes)
            place = block.number
        for key in reversed(keys_of_all):  # a block is of no use without those before it: it goes sooner
            self.blocks.get(key)

    def _known(self, beginning: Beginning) -> Iterator[Block]:
        place: Hashable = beginning.root
        for start in range(0, len(beginning.tokens) - BLOCK, BLOCK):
            block = self.blocks.get((place, tuple(beginning.tokens[start : start + BLOCK])))
            if block is None:
                return
            yield block
            place = block.number


_KINDS = ("keys", "values")


_numbered: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
_next_number = count()
_numbering = threading.Lock()


def scope_key(palm: PaLM, scope: Scope) -> Hashable:
    """A key that differs whenever a scope, or what is merged into the weights, gives other keys and
    values."""
    adapters = palm.scopes.adapters_of(scope).items()
    return frozenset((_state_of(one), strength) for one, strength in adapters), weights_key(palm.decoder)


def weights_key(model: nn.Module) -> Hashable:
    """A key that differs once a model's projections have changed, as by a scope that is merged into them."""
    held = [module.held for module in model.modules() if isinstance(module, Projection)]
    return tuple(state_of(one) if isinstance(one, Tensor) else _number_of(one) for one in held)


def _state_of(adapter: Adapter) -> Hashable:
    """A key of an adapter and of the numbers in its weights."""
    return _number_of(adapter), tuple(map(state_of, adapter.parameters()))


def _number_of(thing: Any) -> int:
    """A number that identifies an object while the program runs. An address may be reused once it is
    free."""
    with _numbering:
        return _numbered.setdefault(thing, next(_next_number))
