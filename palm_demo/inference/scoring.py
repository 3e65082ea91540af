"""Scoring: how well a language model predicts a text of any length."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from palm_demo.concurrency import in_turn
from palm_demo.errors import NotFiniteError
from palm_demo.models.lora import Scope
from palm_demo.models.palm import PaLM
from palm_demo.models.tokenizers import BundledTokenizer, plain

TOKENS_AT_ONCE, LOGITS_AT_ONCE = 512, 2**26
"""Limits on the tokens, and on the logits, that are computed in one turn. A large vocabulary takes
memory."""

ALTERNATIVES = 5


@dataclass(frozen=True)
class TokenProbability:
    """A token of a text, and how probable it was after those before it.

    Attributes:
        text: the token's text.
        probability: 0 to 1.
        alternatives: the likeliest texts at this position with their probabilities, likeliest first.
    """

    text: str
    probability: float
    alternatives: tuple[tuple[str, float], ...]


def size_bytes(text: str) -> int:
    """The number of UTF-8 bytes of a text in its plain form.

    Curly quotes have three times the bytes of straight ones and are no easier to predict, so bits are
    counted per byte of the plain form.
    """
    return len(plain(text).encode())


def bits_per_byte(palm: PaLM, tokenizer: BundledTokenizer, text: str, scope: Scope, context: int) -> float:
    """A text's negative log-likelihood in bits per UTF-8 byte of its plain form; errors as in `nats_of`."""
    nats = nats_of(palm, tokenizer, text, scope, context)
    return nats / math.log(2) / size_bytes(text)


def author_probabilities(bits: Mapping[str, float], text: str) -> dict[str, float]:
    """The probability that a text is each scope's author's, from its bits per byte in each scope.

    By Bayes' rule, if the text is by one of the authors and each was equally likely beforehand.
    """
    nats = torch.tensor(list(bits.values())) * math.log(2) * size_bytes(text)
    return dict(zip(bits, (-nats).softmax(dim=0).tolist(), strict=True))


def nats_of(palm: PaLM, tokenizer: BundledTokenizer, text: str, scope: Scope, context: int) -> float:
    """The negative log-likelihood of a text in nats.

    Each token is read once and predicted once, from at least three quarters of a window of `context`
    tokens if the text is long enough. Raises ScopeError for an unknown scope, and NotFiniteError.
    """
    nats = 0.0
    for logits, following in _predictions(palm, tokenizer.encode(text), tokenizer.bos_id, scope, context):
        nats += F.cross_entropy(logits.float(), following, reduction="sum").item()
    if not math.isfinite(nats):
        raise _not_finite(scope)
    return nats


def token_probabilities(
    palm: PaLM, tokenizer: BundledTokenizer, text: str, scope: Scope, context: int
) -> list[TokenProbability]:
    """Each token of a text, predicted as in `nats_of`. Joined, their texts are the original text."""
    ids, pieces = tokenizer.encode_pieces(text)
    probable, likeliest = [], []
    for logits, following in _predictions(palm, ids, tokenizer.bos_id, scope, context):
        probabilities = logits.float().softmax(dim=-1)
        if not probabilities.isfinite().all():
            raise _not_finite(scope)
        probable += probabilities.gather(1, following[:, None])[:, 0].tolist()
        best, best_ids = probabilities.topk(ALTERNATIVES)
        token_text = map(tokenizer.token_text, best_ids.flatten().tolist())
        likeliest += zip(token_text, best.flatten().tolist(), strict=True)
    return [
        TokenProbability(piece, own, tuple(likeliest[place * ALTERNATIVES : (place + 1) * ALTERNATIVES]))
        for place, (piece, own) in enumerate(zip(pieces, probable, strict=True))
    ]


def _not_finite(scope: Scope) -> NotFiniteError:
    named = (
        f"the scope {scope!r}" if isinstance(scope, str) else "the base" if scope is None else "this scope"
    )
    return NotFiniteError(
        f"with {named} the model's numbers for this text are not finite, so it cannot be judged; take "
        "another scope, or weights that are whole"
    )


def kept_of(window: int) -> int:
    """Tokens of a full window that remain when it slides: three quarters.

    More context than half costs little, because what remains is not read again.
    """
    return min(window * 3 // 4, window - 2)


def _predictions(
    palm: PaLM, ids: list[int], bos_id: int, scope: Scope, context: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields (n, vocab) logits and the (n,) ids that follow, piece by piece, each in a turn of its own.

    When a window is full it slides: `kept_of` it remains, behind the token that a text begins with.
    """
    window = min(context, len(ids))
    at_once = max(1, min(TOKENS_AT_ONCE, LOGITS_AT_ONCE // palm.config.vocab))
    device = palm.decoder.embedding.weight.device
    inputs, following = torch.tensor([[bos_id, *ids[:-1]], ids], device=device)
    cache, done = None, 0
    while done < len(ids):
        with in_turn(), torch.no_grad():
            cache = cache or palm.begin(inputs[None], window, [scope])
            if cache.tokens.lengths == [window]:
                palm.slide(cache, kept_of(window))
            stop = done + min(at_once, window - cache.tokens.lengths[0])
            logits = palm.read(inputs[None, done:stop], cache)[0]
        yield logits, following[done:stop]
        done = stop
