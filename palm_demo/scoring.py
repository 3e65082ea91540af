"""How well a language model predicts a text of any length."""

import math
from collections.abc import Sequence

import torch

from palm_demo.lora import Scope
from palm_demo.models.palm import IGNORED, PaLM
from palm_demo.tokenizer import Tokenizer

WINDOWS_AT_ONCE = 4


def bits_per_byte(palm: PaLM, tokenizer: Tokenizer, text: str, scope: Scope, context: int) -> float:
    """What `nats_of` says, in bits over the text's UTF-8 bytes."""
    nats = nats_of(palm, tokenizer, text, scope, context)
    return nats / math.log(2) / len(text.encode("utf-8", "replace"))


def author_probabilities(
    palm: PaLM, tokenizer: Tokenizer, text: str, scopes: Sequence[str], context: int
) -> dict[str, float]:
    """Scope -> probability that the text is its author's, if it is one of theirs and each was as
    likely before it was read (Bayes' rule)."""
    nats = torch.tensor([nats_of(palm, tokenizer, text, scope, context) for scope in scopes])
    return dict(zip(scopes, (-nats).softmax(dim=0).tolist(), strict=True))


@torch.no_grad()
def nats_of(palm: PaLM, tokenizer: Tokenizer, text: str, scope: Scope, context: int) -> float:
    """Minus the logarithm of a text's probability. Each token is predicted once, from at least
    half a window of `context` tokens where the text is long enough. Raises ScopeError on an
    unknown scope."""
    ids = tokenizer.encode(text)
    device = palm.decoder.embedding.weight.device
    windows = _windows(ids, tokenizer.bos_id, context)
    nats = 0.0
    for start in range(0, len(windows), WINDOWS_AT_ONCE):
        inputs, labels = zip(*windows[start : start + WINDOWS_AT_ONCE], strict=True)
        inputs, labels = torch.tensor(inputs, device=device), torch.tensor(labels, device=device)
        loss = palm.loss(inputs, labels, [scope] * len(inputs))
        nats += loss.item() * int((labels != IGNORED).sum())
    return nats


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
