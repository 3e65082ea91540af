"""How well a language model predicts a text of any length."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from palm_demo.concurrency import in_turn
from palm_demo.errors import NotFiniteError
from palm_demo.models.lora import Scope
from palm_demo.models.losses import IGNORED
from palm_demo.models.palm import PaLM
from palm_demo.models.tokenizers import BundledTokenizer, plain

WINDOWS_AT_ONCE, LOGITS_AT_ONCE = 4, 2**26
"""At most so many windows, and no more than have so many logits together: a large vocabulary takes memory."""

ALTERNATIVES = 5


@dataclass(frozen=True)
class TokenProbability:
    """A token of a text, how probable it was after those before it, and what was likeliest there:
    texts with their probabilities, the likeliest first."""

    text: str
    probability: float
    alternatives: tuple[tuple[str, float], ...]


def size_bytes(text: str) -> int:
    """The UTF-8 bytes of a text in its plain form, over which its bits are told: curly quotes have three
    times the bytes of straight ones, and are no easier to predict."""
    return len(plain(text).encode())


def bits_per_byte(palm: PaLM, tokenizer: BundledTokenizer, text: str, scope: Scope, context: int) -> float:
    """What `nats_of` says, in bits over the UTF-8 bytes of the text's plain form."""
    nats = nats_of(palm, tokenizer, text, scope, context)
    return nats / math.log(2) / size_bytes(text)


def author_probabilities(bits: Mapping[str, float], text: str) -> dict[str, float]:
    """From a text's bits per byte in each scope: scope -> probability that the text is its author's, if
    it is one of theirs and each was as likely before it was read (Bayes' rule)."""
    nats = torch.tensor(list(bits.values())) * math.log(2) * size_bytes(text)
    return dict(zip(bits, (-nats).softmax(dim=0).tolist(), strict=True))


@torch.no_grad()
def nats_of(palm: PaLM, tokenizer: BundledTokenizer, text: str, scope: Scope, context: int) -> float:
    """Minus the logarithm of a text's probability. Each token is predicted once, from at least
    half a window of `context` tokens where the text is long enough. Raises ScopeError on an
    unknown scope, NotFiniteError."""
    nats = 0.0
    for inputs, labels in _batches(palm, tokenizer.encode(text), tokenizer.bos_id, context):
        with in_turn():
            loss = palm.loss(inputs, labels, [scope] * len(inputs))
        nats += loss.item() * int((labels != IGNORED).sum())
    if not math.isfinite(nats):
        raise _nothing_to_say(scope)
    return nats


@torch.no_grad()
def token_probabilities(
    palm: PaLM, tokenizer: BundledTokenizer, text: str, scope: Scope, context: int
) -> list[TokenProbability]:
    """Each token of a text, predicted as in `nats_of`; joined, their texts are the text as it was written."""
    ids, pieces = tokenizer.encode_pieces(text)
    probable, likeliest = [], []
    for inputs, labels in _batches(palm, ids, tokenizer.bos_id, context):
        learned = labels != IGNORED
        with in_turn():
            chances = palm(inputs, scopes=[scope] * len(inputs))[learned].float().softmax(dim=-1)
        if not chances.isfinite().all():
            raise _nothing_to_say(scope)
        probable += chances.gather(1, labels[learned][:, None])[:, 0].tolist()
        best, best_ids = chances.topk(ALTERNATIVES)
        token_text = map(tokenizer.token_text, best_ids.flatten().tolist())
        likeliest += zip(token_text, best.flatten().tolist(), strict=True)
    return [
        TokenProbability(piece, own, tuple(likeliest[place * ALTERNATIVES : (place + 1) * ALTERNATIVES]))
        for place, (piece, own) in enumerate(zip(pieces, probable, strict=True))
    ]


def _nothing_to_say(scope: Scope) -> NotFiniteError:
    named = (
        f"the scope {scope!r}" if isinstance(scope, str) else "the base" if scope is None else "this scope"
    )
    return NotFiniteError(
        f"with {named} the model's numbers for this text are not finite, so it cannot be judged; take "
        "another scope, or weights that are whole"
    )


def _batches(palm: PaLM, ids: list[int], bos_id: int, context: int) -> Iterator[tuple[Tensor, Tensor]]:
    """(b, n) inputs and labels of a few windows at a time, on the model's device."""
    device = palm.decoder.embedding.weight.device
    windows = _windows(ids, bos_id, context)
    fit = LOGITS_AT_ONCE // (palm.config.vocab * max(len(inputs) for inputs, _ in windows))
    at_once = max(1, min(WINDOWS_AT_ONCE, fit))
    for start in range(0, len(windows), at_once):
        inputs, labels = zip(*windows[start : start + at_once], strict=True)
        yield torch.tensor(inputs, device=device), torch.tensor(labels, device=device)


def _windows(ids: list[int], bos_id: int, context: int) -> list[tuple[list[int], list[int]]]:
    """(inputs, labels) of one length; labels that an earlier window has are IGNORED."""
    length = min(context, len(ids))
    windows = []
    predicted = 0
    while predicted < len(ids):
        start = 0 if predicted == 0 else min(predicted - length // 2, len(ids) - length)
        known = predicted - start
        labels = [IGNORED] * known + ids[predicted : start + length]
        windows.append(([bos_id, *ids[start : start + length - 1]], labels))
        predicted = start + length
    return windows
