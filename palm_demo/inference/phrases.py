"""Words as people type them, in the form that pictures are compared with: "dog" becomes "a dog", as in
captions."""

import re
from functools import cache

from palm_demo import world
from palm_demo.world.plurals import is_plural

NOT_BARE = re.compile(
    r"(?:\d|(?:an?|the|this|that|these|those|some|any|many|several|few|no|one|two|three|four|five|six|seven|eight|"
    r"nine|ten|my|your|his|her|its?|our|their|there|he|she|they|we|you|i|is|are|what|which|who|where|how|of|on|in|"
    r"at|by|with|without|to|from|above|below|under|over|behind|beside|near)\b)"
)
"""Words that a bare noun never begins with."""
AFTER = re.compile(
    r"\s+(?=(?:on|of|in|at|by|with|without|to|from|above|below|under|over|behind|beside|near|next|that|which|who|"
    r"is|are)\b)"
)
"""The beginning of what is said about a noun."""
OF_A_PICTURE = re.compile(
    r"^(?:(?:show|find|search)(?: me| for)? )?(?:(?:a|an|the|some|any) )?"
    r"(?:photo|photograph|picture|image|drawing)s? (?:of|with|showing) "
)
"""Words that a query for pictures does not need."""


def phrase(text: str) -> str:
    """Words in the form of captions: in lower case, a bare noun with its article.

    A plural that captions would have with a number becomes singular. A text with an article, a number
    or another of the words in NOT_BARE in front stays as it is.
    """
    words = OF_A_PICTURE.sub("", " ".join(text.lower().split()))
    if (known := _known().get(words)) is not None:
        return known
    head = words.rstrip(" .!?")
    if not head or NOT_BARE.match(head):
        return words
    first, *more = head.split(" and ")
    if more:
        return " and ".join(phrase(part) for part in (first, *more))
    noun, *rest = AFTER.split(head, maxsplit=1)
    return " ".join([_known().get(noun) or (noun if is_plural(noun) else world.indefinite(noun)), *rest])


def thing(text: str) -> str:
    """The first noun phrase of a phrase: "a fox" for "a fox on a blue background"."""
    return AFTER.split(text, maxsplit=1)[0]


@cache
def _known() -> dict[str, str]:
    """The names that models are trained on, with the article as in training, by name and, if drawn, by
    plural."""
    drawn = world.Atlas.load().concepts
    plurals = {concept.plural: str(concept) for concept in drawn}
    photographed = {noun.name: str(noun) for noun in world.photo_classes()}
    return plurals | photographed | {concept.name: str(concept) for concept in drawn}
