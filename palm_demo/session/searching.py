"""Searches the gallery, and scores how well words fit a picture in comparison with all names that MaMMUT
knows.

Cosines of different pictures cannot be compared: a picture of one thing on white is near to any words,
one of two things to none. So words are compared with the name that fits a picture best, which is a
querybank normalisation (Bogolin et al. 2022).
"""

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from palm_demo import world
from palm_demo.arguments import Picture
from palm_demo.errors import PromptError, shown
from palm_demo.gallery import Filters, Fit, Hit, check_count
from palm_demo.inference.phrases import phrase, thing
from palm_demo.session.encoded_image import EncodedImage

if TYPE_CHECKING:
    from palm_demo.session.session import Session

LEAST = 0.42
"""The score from which a picture counts as matching the words of a search.

`python -m benchmarks.searching` measures how many words reach it for which a gallery has pictures, and
how many for which it has none.
"""
NONE = "none of these"
"""The label of a picture that no label fits."""
FILE_NAME = re.compile(r"\S*\.(?:png|jpe?g|webp|gif|bmp|tiff?|heic|heif|avif)", re.IGNORECASE)
RANK = 4
"""A label fits a picture if it is at least as near as the name of this rank among all names.

In 400 drawings of one thing 0.2 % of the right labels miss it, in 200 of two things 3 %; of eight
wrong labels one reaches it in 5 %.
"""


@dataclass(frozen=True, eq=False)
class KnownNames:
    """All names that a MaMMUT knows.

    Attributes:
        embeddings: (names, d) unit rows.
        scale: what the model multiplies cosines with.
    """

    embeddings: np.ndarray
    scale: float

    def __eq__(self, other: object) -> bool:
        is_one = isinstance(other, KnownNames) and self.scale == other.scale
        return is_one and np.array_equal(self.embeddings, other.embeddings)

    def fit(self, text: np.ndarray, thing: np.ndarray, images: np.ndarray) -> np.ndarray:
        """Scores how well pictures fit words.

        Args:
            text: (d,), embedding of all of the words.
            thing: (d,), embedding of their first noun phrase.
            images: (n, d), embeddings of pictures.

        Returns:
            (n,), the mean of two numbers: the cosine with all words; and how well the noun phrase fits
                compared with the best name, 0.5 if equally well.
        """
        best = (images @ self.embeddings.T).max(axis=1)
        return (images @ text + 1 / (1 + np.exp(-self.scale * (images @ thing - best)))) / 2

    def none_of_these(self, image: np.ndarray) -> float:
        """The cosine that a label needs to fit a picture (d,)."""
        return float(np.partition(self.embeddings @ image, -RANK)[-RANK])


def known_names() -> list[str]:
    """The names as texts to embed."""
    return [world.named(name) for name in world.all_names()]


def search(
    session: "Session", query: str | Picture | EncodedImage, k: int, words: str, filters: Filters
) -> list[Hit]:
    """Searches a session's gallery; see `Session.search`."""
    check_count(k)
    if not isinstance(filters, Filters):
        raise PromptError(f"filters is {shown(filters)}; give palm_demo.gallery.Filters")
    if isinstance(query, str):
        if FILE_NAME.fullmatch(query.strip()):
            raise PromptError(
                f"{query.strip()!r:.60} is the name of a file, and words are looked for; give the picture "
                "itself, in Python as a Path, in a command with --image, or write what it shows"
            )
        text, fit = judged(session, query)
        return session.gallery.find(
            text, k, filters, words=f"{query} {words}", fit=fit, least=LEAST if fit else -1
        )
    (picture,) = query.embedding if isinstance(query, EncodedImage) else session.embed_images([query])
    if not words.strip():
        return session.gallery.nearest(picture, k, filters)
    _, fit = judged(session, words)
    both = None if fit is None else lambda images: (images @ picture + fit(images)) / 2
    return session.gallery.find(picture, k, filters, words=words, fit=both)


def judged(session: "Session", words: str) -> tuple[np.ndarray, Fit | None]:
    """The embedding (d,) of words, and a function that scores how well pictures fit them.

    The function is None for weights for which only cosines are known.
    """
    text, first = session.embed_texts([words, thing(phrase(words)) or words])
    names = session.mammut.known_names
    return text, None if names is None else partial(names.fit, text, first)
