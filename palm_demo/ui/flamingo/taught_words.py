"""What visitors write beside the examples that they teach with, in the words of Flamingo's training.

Flamingo learned new words as "this is a dax." and is asked for one with "this is a". Visitors write "dax",
"A dax!" or "what is this?", which would make it babble.
"""

import re
from collections.abc import Sequence

from palm_demo.inference.questions import usual
from palm_demo.world.captions import NUMBERS, by_first_letter

ASKED, NAME = "this is a", "what is this?"
"""The words that ask for a name, after examples and without any."""
INTRODUCED = (
    r"(?:(?:this|that|it|here) ?(?:is|'s|’s)|(?:we|i|they) call (?:this|that|it|him|her)|called|meet) "
)
NAMED = re.compile(
    rf"(?:{INTRODUCED})?(?:(?P<article>an?|the|some) |(?:my|our|your|his|her|their) )?"
    r"[“\"']?(?P<name>[^\W\d_][\w'’-]*(?: [\w'’-]+)?)[”\"']?[.!]?",
    re.IGNORECASE,
)
"""A name of one or two words, with or without what introduces it and an article; "two cats" is none."""
ASKING = re.compile(r"(?:this|that|it) ?(?:is|'s)(?: an?)?(?: …| \.\.\.)?", re.IGNORECASE)


def taught(words: str) -> str:
    """The words of an example: "dax" becomes "this is a dax."; whole sentences and questions stay as they
    are."""
    read = " ".join(words.split())
    if (found := NAMED.fullmatch(read)) is None or found["name"].split()[0] in NUMBERS.values():
        return words
    name = found["name"] if found["name"].isupper() else found["name"].lower()
    named = f"{found['article'].lower()} {name}" if found["article"] else by_first_letter(name)
    return f"this is {named}."


def names_taught(prompt: str) -> list[str]:
    """The names that the examples of a prompt give, in their order."""
    return re.findall(r"\bthis is (?:(?:an?|the|some) )?([^.<]+)\.", prompt)


def asked(words: str, examples: Sequence[str]) -> str:
    """The words of the question. After examples that name things, none, "this is" and "what is this?" ask for
    the name; others stay as they are. After other examples, none ask what it is.

    examples: the words of the examples, from `taught`.
    """
    read = " ".join(words.lower().split())
    named = examples and all(example.startswith("this is ") for example in examples)
    if named and (not read or ASKING.fullmatch(read) or usual(read) == NAME):
        return ASKED
    return words if read or not examples else NAME
