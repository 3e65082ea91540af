"""A picture after the vision tower, which verbs take in its place."""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator
from torch import Tensor

from palm_demo.arguments import AtMost, Takes, check_picture
from palm_demo.text_limits import WORDS_BYTES


@dataclass(frozen=True, eq=False)
class EncodedImage:
    """A picture after MaMMUT's vision tower. Verbs that take a picture accept it instead.

    Attributes:
        memory: (1, m, dim) on the CPU, what captions attend to.
        embedding: (1, d), a row of `embed_images`.
        ood_score: the result of the verb `ood_score`.
    """

    memory: Tensor
    embedding: np.ndarray
    ood_score: float | None


def _encoded_or_picture(value: Any) -> Any:
    return value if isinstance(value, EncodedImage) else check_picture(value)


Query = Annotated[
    Any,
    AfterValidator(_encoded_or_picture),
    Takes(
        "words, or a picture: a path (Path), bytes, an open file, a PIL picture, an array or what "
        "`encode_image` gave"
    ),
    AtMost(WORDS_BYTES),
]
"""What is searched for."""

PictureOrEncoded = Annotated[
    Any,
    AfterValidator(_encoded_or_picture),
    Takes("a path, bytes, an open file, a PIL picture or an array; or what `encode_image` gave"),
]
