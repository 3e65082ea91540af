"""Questions as people word them, in the words of Flamingo's training: "do you see a cat?" becomes "is
there a cat?"."""

import re
from functools import cache

from palm_demo.inference.phrases import phrase
from palm_demo.world import RELATIONS, wordings
from palm_demo.world.photo_questions import KIND_OF, PHOTO_OR_DRAWING

SAME = (
    (re.compile(r"\bcolour"), "color"),
    (re.compile(r"\bgrey\b"), "gray"),
    (re.compile(r"\b(what|which|where|there|it|that) ?'s\b"), r"\1 is"),
    (re.compile(r"\b(?:this|that|the) (?:picture|image|photo|photograph)\b"), "the picture"),
    (re.compile(r"^(?:please |can you |could you |so |and )+(?=describe|tell)"), ""),
    (re.compile(r"^tell me (?:what you see|about the picture)"), "describe the picture"),
)
"""Expressions that mean the same, each with the one that replaces it."""

ALSO_PHOTO_OR_DRAWING = (
    "is it a photo or a drawing?",
    "is it a drawing or a photo?",
    "is this a photograph or a drawing?",
    "is this a drawing or a photograph?",
)
ALSO_NAME = (
    "what is it?",
    "what is this a picture of?",
    "what is it a picture of?",
    "what is this called?",
    "what is it called?",
    "what do you call this?",
    "what am i looking at?",
    "what animal is it?",
)
USUAL: dict[str, tuple[str, ...]] = {
    "what color is the background?": wordings.BACKGROUND,
    "what is this?": (*wordings.NAME, *ALSO_NAME),
    PHOTO_OR_DRAWING[0]: (*PHOTO_OR_DRAWING[1:], *ALSO_PHOTO_OR_DRAWING),
    "is there {}?": (*wordings.IS_THERE, *wordings.IS_THIS),
    "how many {} are there?": wordings.HOW_MANY,
    "which picture has {}?": tuple(one for one in wordings.WHICH if not one.startswith("where")),
    "which way does the {} move?": wordings.WAY,
    "does the {} grow or shrink?": wordings.GROWS,
}
"""Each trained question, and the other wordings of it."""
WITH_ARTICLE = ("is there {}?", "which picture has {}?")
"""Questions in which the noun stands with its article."""


def usual(question: str) -> str | None:
    """A question in lower case in the words of Flamingo's training, or as it is if it matches none.

    None if it asks for a caption.
    """
    read = _same(question)
    if read in _described():
        return None
    for trained, pattern in _patterns():
        if (found := pattern.fullmatch(read)) is not None:
            things = [phrase(thing) if trained in WITH_ARTICLE else thing for thing in found.groups()]
            return trained.format(*things)
    return f"{read}?" if question.rstrip().endswith("?") else question


def is_trained(question: str) -> bool:
    """Whether a question in lower case is one of those that Flamingo was trained on, in any wording."""
    read = _same(question)
    return read in _described() or any(pattern.fullmatch(read) for pattern in _all_patterns())


@cache
def _all_patterns() -> list[re.Pattern[str]]:
    """Patterns of all trained questions, also of those with a single wording."""
    places = {place.removeprefix("to the ") for place in RELATIONS.values()}
    where = rf"(?:{'|'.join(wordings.WHAT)}) (?:(?:to|on) the )?(?:{'|'.join(places)}) the .+"
    kinds = [re.escape(kind).replace(r"\{\}", ".+").removesuffix(r"\?") for kind in KIND_OF]
    return [*(pattern for _, pattern in _patterns()), *map(re.compile, (where, *kinds))]


def _same(question: str) -> str:
    """A question without its mark and without differences that do not matter."""
    read = " ".join(question.split()).rstrip(" ?.!")
    for pattern, same in SAME:
        read = pattern.sub(same, read)
    return read


@cache
def _described() -> frozenset[str]:
    return frozenset(map(_same, wordings.DESCRIBE))


@cache
def _patterns() -> list[tuple[str, re.Pattern[str]]]:
    """Trained question -> pattern of a wording; those that say more come first."""
    worded = [(trained, wording) for trained, others in USUAL.items() for wording in (trained, *others)]
    worded.sort(key=lambda one: -len(one[1]))
    return [
        (trained, re.compile(re.escape(_same(wording)).replace(r"\{\}", _thing(wording))))
        for trained, wording in worded
    ]


def _thing(wording: str) -> str:
    """What stands for the thing: after "is it" a noun with its article alone, since anything else may
    follow."""
    return "(an? .+)" if wording in wordings.IS_THIS else "(.+)"
