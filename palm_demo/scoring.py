"""How well a language model predicts a text of any length."""

import math

import torch

from palm_demo.models.palm import IGNORED, PaLM
from palm_demo.tokenizer import Tokenizer

WINDOWS_AT_ONCE = 4


@torch.no_grad()
def bits_per_byte(palm: PaLM, tokenizer: Tokenizer, text: str, scope: str | None, context: int) -> float:
    """Bits over UTF-8 bytes. Each token is predicted once, from at least half a window of
    `context` tokens where the text is long enough. Raises ScopeError on an unknown scope."""
    ids = tokenizer.encode(text)
    device = palm.decoder.embedding.weight.device
    windows = _windows(ids, tokenizer.bos_id, context)
    nats = 0.0
    for start in range(0, len(windows), WINDOWS_AT_ONCE):
        inputs, labels = zip(*windows[start : start + WINDOWS_AT_ONCE], strict=True)
        inputs, labels = torch.tensor(inputs, device=device), torch.tensor(labels, device=device)
        loss = palm.loss(inputs, labels, [scope] * len(inputs))
        nats += loss.item() * int((labels != IGNORED).sum())
    return nats / math.log(2) / len(text.encode("utf-8", "replace"))


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
