"""Words as people type them, in the form that pictures are compared with: "dog" is "a dog", as in
captions."""

import re
from functools import cache

from palm_demo import world

WHOLE = re.compile(
    r"(?:\d|(?:an?|the|this|that|these|those|some|any|many|several|few|no|one|two|three|four|five|six|seven|eight|"
    r"nine|ten|my|your|his|her|its?|our|their|there|he|she|they|we|you|i|is|are|what|which|who|where|how|of|on|in|"
    r"at|by|with|without|to|from|above|below|under|over|behind|beside|near)\b)"
)
"""Words that no bare noun begins with."""
AFTER = re.compile(
    r"\s+(?=(?:on|of|in|at|by|with|without|to|from|above|below|under|over|behind|beside|near|next|that|which|who|"
    r"is|are)\b)"
)
"""Where what is said about a noun begins."""
OF_A_PICTURE = re.compile(
    r"^(?:(?:show|find|search)(?: me| for)? )?(?:(?:a|an|the|some|any) )?"
    r"(?:photo|photograph|picture|image|drawing)s? (?:of|with|showing) "
)
"""What need not be said of a picture that is searched for."""
SINGULAR = ("ss", "us", "is")
"""Ends of words that have an s and are one thing."""


def phrase(text: str) -> str:
    """Words as captions have them: in lower case, a bare noun with its article, a plural that a caption would
    have with a number in the singular. What has an article, a number or another beginning stays as it is."""
    words = OF_A_PICTURE.sub("", " ".join(text.lower().split()))
    if (known := _known().get(words)) is not None:
        return known
    head = words.rstrip(" .!?")
    if not head or WHOLE.match(head):
        return words
    first, *more = head.split(" and ")
    if more:
        return " and ".join(phrase(part) for part in (first, *more))
    noun, *rest = AFTER.split(head, maxsplit=1)
    is_plural = len(noun) > 3 and noun.endswith("s") and not noun.endswith(SINGULAR)
    return " ".join([_known().get(noun) or (noun if is_plural else world.indefinite(noun)), *rest])


def thing(text: str) -> str:
    """Of a phrase what it is first about: "a fox" of "a fox on a blue background"."""
    return AFTER.split(text, maxsplit=1)[0]


@cache
def _known() -> dict[str, str]:
    """Each name that models are trained on, and the plurals of those that are drawn, with article as they
    know it."""
    drawn = world.Atlas.load().concepts
    plurals = {concept.plural: str(concept) for concept in drawn}
    photographed = {noun.name: str(noun) for noun in world.photo_classes()}
    return plurals | photographed | {concept.name: str(concept) for concept in drawn}
