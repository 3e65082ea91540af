"""One plain form of a text for all of its typographic ones: what our tokenizer reads.

The books that the models are trained on have straight quotes, two hyphens for a dash and three dots for
an ellipsis. What a word processor makes of these means the same and has to be read as the same.
"""

from tokenizers import Regex, normalizers

_PLAIN = {
    "[“”„‟«»″〝〞＂]": '"',
    "[‘’‚‛‹›′´ʹʼ＇]": "'",
    "[—―⸺⸻﹘]": "--",
    "[‐‑‒–−﹣－]": "-",
    "…": "...",
    "‥": "..",
    # of any width; a narrow one is not always a word's end, but never part of a word
    "[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]": " ",
    "\r\n|[\r\u0085\u2028\u2029]": "\n",
    # no width: hyphens that are not shown, breaks that are not wanted, marks of byte order
    "[\u00ad\u200b\u2060\ufeff]": "",
    "ﬀ": "ff",
    "ﬁ": "fi",
    "ﬂ": "fl",
    "ﬃ": "ffi",
    "ﬄ": "ffl",
    "[ﬅﬆ]": "st",
}
"""What stands in a text -> what it is read as. Letters with accents are composed before."""

TYPOGRAPHY = normalizers.Sequence(
    [normalizers.NFC(), *(normalizers.Replace(Regex(written), plain) for written, plain in _PLAIN.items())]
)
"""Stands before our tokenizer, which goes on to tell where in the text as it was written a token lies."""


def encodable(text: str) -> str:
    """The text with "?" for halves of surrogate pairs, which no encoding has."""
    return text.encode("utf-8", "replace").decode("utf-8")


def plain(text: str) -> str:
    """The text in its plain form: “Don’t—” is "Don't--"."""
    return TYPOGRAPHY.normalize_str(encodable(text))


def without_last_spaces(text: str) -> str:
    """The text up to the spaces at its end, odd ones and those of no width too. Lines end where they did."""
    end = len(text)
    while end and plain(text[end - 1]) in ("", " "):
        end -= 1
    return text[:end]
