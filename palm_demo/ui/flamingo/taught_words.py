"""What visitors write beside the examples that they teach with, in the words of Flamingo's training.

Flamingo learned new words as "this is a dax." and is asked for one with "this is a". Visitors write "dax",
"A dax!" or "what is this?", which would make it babble.
"""

import re
from collections.abc import Sequence

from palm_demo.inference.questions import is_trained, usual
from palm_demo.world.captions import NUMBERS, by_first_letter

ASKED, NAME = "this is a", "what is this?"
"""The words that ask for a name, after examples and without any."""
LONGEST = 40
"""The most characters of a name that is chosen."""
INTRODUCES = (
    r"(?:and|but|so|now|then|ok|okay|well|look|see|let|lets|us|we|i|you|they|people|everyone|would|will|"
    r"can|could|may|call|calls|called|name|names|named|known|as|meet|this|that|it|its|he|she|him|her|here|there|"
    r"these|one|thing|guy|kind|of|is|are|was|be|['’]s|also|too|just|say|means?|word|for|in|language|an|a|the|my|our)"
)
"""A word of what introduces a name, as in "and let's call that one a dax"."""
NAMED = re.compile(
    rf"(?:(?:{INTRODUCES}(?:['’]s)?,?:? )*?(?:(?P<article>an?|the|some) |(?:my|our|your|his|her|their) )?)"
    rf"[“\"']?(?P<name>(?!{INTRODUCES}\b)[^\W\d_][\w'’-]*(?: (?!(?:too|also)\b)[\w'’-]+)?)[”\"']?"
    r"(?:,? (?:too|also|as well))?[.!]?",
    re.IGNORECASE,
)
"""A name of one or two words, with or without what introduces it and an article; "two cats" is none."""


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
    """The names that the examples of a prompt give, each once, in their order."""
    return list(dict.fromkeys(re.findall(r"\bthis is (?:(?:an?|the|some) )?([^.<]+)\.", prompt)))


def names_to_choose(prompt: str) -> list[str]:
    """The names among which Flamingo chooses its answer, where a prompt teaches several and asks for one.

    A word of several tokens is seldom copied whole from an example, and with others is told apart all the
    same. Whole sentences are no names.
    """
    names = names_taught(prompt) if prompt.endswith(ASKED) else []
    return names if len(names) > 1 and max(map(len, names)) <= LONGEST else []


def asked(words: str, examples: Sequence[str]) -> str:
    """The words of the question. After examples that name things, none, "this is", "what is this?" and words
    that Flamingo was not trained on ask for the name. After other examples, none ask what it is. Others
    stay as they are.

    examples: the words of the examples, from `taught`.
    """
    read = " ".join(words.lower().split())
    named = examples and all(example.startswith("this is ") for example in examples)
    if named and (usual(read) == NAME or not is_trained(read)):
        return ASKED
    return words if read or not examples else NAME
