"""What is too long to be read never reaches a tokenizer, by the page's roads either."""

import json
from collections.abc import Callable

import httpx
import pytest

from palm_demo.models import tokenizers
from palm_demo.text_limits import size_bytes

TOO_LONG = ("x" * 16_001, "“" * 6_000, "\u0301" * 9_000, "👩\u200d👩\u200d👧" * 1_000, "\0" * 17_000)
ASKED: dict[str, Callable[[str], list]] = {
    "generate": lambda text: [text],
    "answer": lambda text: [text, []],
    "attention_maps": lambda text: ["caption:", [], text],
    "bits_per_byte": lambda text: [text],
    "who_wrote": lambda text: [text],
    "token_probabilities": lambda text: [text],
    "search": lambda text: [text],
    "similarity": lambda text: [[text], []],
    "make_scene": lambda text: [text],
}
"""Endpoints, and what they are asked with a text."""


@pytest.fixture
def handled(monkeypatch) -> list[int]:
    """Sizes of the texts that are normalized or tokenized."""
    sizes, replace_surrogates = [], tokenizers.replace_surrogates

    def counting(text: str) -> str:
        sizes.append(size_bytes(text))
        return replace_surrogates(text)

    monkeypatch.setattr(tokenizers, "replace_surrogates", counting)
    return sizes


def refusal(address: str, endpoint: str, data: list) -> str:
    """What a call is refused with, either at once or at the end of its stream."""
    at = f"{address}gradio_api/call/{endpoint}"
    body, headers = json.dumps({"data": data}), {"Content-Type": "application/json"}
    begun = httpx.post(at, content=body, headers=headers, timeout=60)
    if begun.status_code != 200:
        return f"{begun.status_code} {begun.text}"
    ended = httpx.get(f"{at}/{begun.json()['event_id']}", timeout=60).text
    assert "event: complete" not in ended
    return json.loads(ended.strip().split("\n")[-1].removeprefix("data: "))["error"]


@pytest.mark.parametrize("endpoint", ASKED)
def test_a_text_that_is_too_long_is_refused_unread(address, handled, endpoint):
    for text in TOO_LONG:
        said = refusal(address, endpoint, ASKED[endpoint](text))
        assert "bytes and at most" in said and "shorten it" in said and len(said) < 300
    assert handled == []


@pytest.mark.parametrize("text", ["x" * 10_000_000, "\u0301" * 1_000_000], ids=["letters", "marks"])
def test_a_text_of_megabytes_is_refused_before_it_is_parsed(address, handled, text):
    said = refusal(address, "who_wrote", [text])
    assert said.startswith("413") and "1000000 bytes at most" in said
    assert handled == []


@pytest.mark.parametrize("endpoint", ASKED)
def test_halves_of_surrogate_pairs_are_no_text(address, endpoint):
    said = refusal(address, endpoint, ASKED[endpoint]("\ud800" * 20))
    assert len(said) < 300 and "our side" not in said


def test_a_question_of_white_space_is_answered_like_any_other(address):
    """Its prompt was once taken apart in the cube of its length, and nobody else was answered meanwhile."""
    said = refusal(address, "answer", ["question: " + " " * 15_000 + "x", []])
    assert "no picture" in said
