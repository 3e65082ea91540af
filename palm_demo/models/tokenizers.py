"""Text to token ids and back: our byte-level BPE, GPT-NeoX's and CLIP's.

The books that the models are trained on have straight quotes, two hyphens for a dash and three dots for
an ellipsis. What a word processor makes of these means the same and has to be read as the same.
"""

import codecs
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import tokenizers
from tokenizers import Regex, Token, normalizers
from tokenizers.decoders import DecodeStream
from tokenizers.models import BPE

from palm_demo.errors import CheckpointError
from palm_demo.internals.open_clip_parts import SimpleTokenizer

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


def replace_surrogates(text: str) -> str:
    """The text with "?" for halves of surrogate pairs, which no encoding has."""
    return text.encode("utf-8", "replace").decode("utf-8")


def plain(text: str) -> str:
    """The text in its plain form: “Don’t—” is "Don't--"."""
    return TYPOGRAPHY.normalize_str(replace_surrogates(text))


def strip_trailing_spaces(text: str) -> str:
    """The text up to the spaces at its end, odd ones and those of no width too. Lines end where they did."""
    end = len(text)
    while end and plain(text[end - 1]) in ("", " "):
        end -= 1
    return text[:end]


PAD, BOS, EOS, MEDIA = "<pad>", "<bos>", "<eos>", "<media>"
SPECIAL_TOKENS = (PAD, BOS, EOS, MEDIA)


class Tokenizer(Protocol):
    """What writing and comparing texts asks of a tokenizer.

    pad_id fills rows up; `prefix_ids` stands before a prompt; a text ends with eos_id.
    """

    pad_id: int
    eos_id: int

    @property
    def prefix_ids(self) -> list[int]: ...

    def __len__(self) -> int: ...

    def encode(self, text: str) -> list[int]:
        """Ids of a text; none of them special."""

    def encode_for_embedding(self, texts: list[str]) -> list[list[int]]:
        """Ids of texts that are compared with pictures, with the marks that these ask for."""

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; special ones leave nothing behind."""

    def decode_stream(self, ids: Iterable[int]) -> Iterable[str]:
        """Text deltas as ids come in; a character split over two ids waits for its second."""

    def suppress_ids(self) -> list[int]:
        """Ids that may stand in a prompt but never come out of a model."""


class ByteLevelBPE:
    """Any text has ids, and its ids give it back, ours in its plain form.

    A special token's name typed in a text is text: only code puts special ids into a prompt.
    """

    special_tokens: tuple[str, ...]
    reads_plain = False
    """Whether texts are read in the plain form that `typography` gives them."""

    def __init__(self, bpe: tokenizers.Tokenizer):
        missing = [token for token in self.special_tokens if bpe.token_to_id(token) is None]
        if missing:
            raise CheckpointError(f"the tokenizer lacks the special tokens {', '.join(missing)}")
        bpe.encode_special_tokens = True
        if self.reads_plain:
            bpe.normalizer = TYPOGRAPHY
        self.bpe = bpe

    @classmethod
    def load(cls, path: Path):
        """From a `tokenizer.json`. Raises CheckpointError when it is missing or is no tokenizer."""
        return cls(_read(path))

    def __len__(self) -> int:
        return self.bpe.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        """Ids of a text; none of them special."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """The same for many. Halves of surrogate pairs, which no encoding has, become "?"."""
        written = [replace_surrogates(text) for text in texts]
        return [e.ids for e in self.bpe.encode_batch(written, add_special_tokens=False)]

    def encode_pieces(self, text: str) -> tuple[list[int], list[str]]:
        """Ids of a text, and which piece of it each stands for: joined, they are the text as it was
        written. Of ids that share a character the last has it, the others have nothing."""
        written = replace_surrogates(text)
        encoding = self.bpe.encode(written, add_special_tokens=False)
        cuts = [0, *(start for start, _ in encoding.offsets[1:]), len(written)]
        return encoding.ids, [written[a:b] for a, b in pairwise(cuts)] if encoding.ids else []

    def encode_for_embedding(self, texts: list[str]) -> list[list[int]]:
        """The same of texts that are compared with pictures: our MaMMUT wants no marks."""
        return self.encode_batch(texts)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; special ones leave nothing behind."""
        return self.bpe.decode(list(ids), skip_special_tokens=True)

    def decode_stream(self, ids: Iterable[int]) -> Iterable[str]:
        """Text deltas as ids come in; a character split over two ids waits for its second."""
        stream = DecodeStream(skip_special_tokens=True)
        for token_id in ids:
            delta = stream.step(self.bpe, token_id)
            if delta:
                yield delta

    def token_text(self, token_id: int) -> str:
        """One id by itself: its text, or a special token's name; "" for one that no text has."""
        return self.bpe.decode([token_id]) or self.bpe.id_to_token(token_id) or ""


class BundledTokenizer(ByteLevelBPE):
    """Ours: four special tokens of distinct ids."""

    special_tokens = SPECIAL_TOKENS
    reads_plain = True

    def __init__(self, bpe: tokenizers.Tokenizer):
        super().__init__(bpe)
        self.pad_id, self.bos_id, self.eos_id, self.media_id = map(bpe.token_to_id, self.special_tokens)

    @property
    def prefix_ids(self) -> list[int]:
        """What stands before a prompt."""
        return [self.bos_id]

    def suppress_ids(self) -> list[int]:
        """Ids that may stand in a prompt but never come out of a model."""
        return [self.pad_id, self.bos_id, self.media_id]


class NeoXTokenizer(ByteLevelBPE):
    """GPT-NeoX's (Black et al. 2022), as the released PaLMs read it: `<|endoftext|>` stood between the texts
    that they learned from, so that one begins with it. It may not come out, for what follows it is another
    text."""

    special_tokens = ("<|endoftext|>", "<|padding|>")

    def __init__(self, bpe: tokenizers.Tokenizer):
        super().__init__(bpe)
        self.eos_id, self.pad_id = map(bpe.token_to_id, self.special_tokens)
        self.bos_id = self.eos_id

    @property
    def prefix_ids(self) -> list[int]:
        """What stands before a prompt."""
        return [self.bos_id]

    def suppress_ids(self) -> list[int]:
        """Ids that may stand in a prompt but never come out of a model."""
        return [self.eos_id, self.pad_id]


class OpenFlamingoTokenizer(BundledTokenizer):
    """The language model's own tokenizer and the tokens that OpenFlamingo added to it. A text begins with
    no mark and ends as an example does, where the next one would begin."""

    special_tokens = ("<PAD>", "<|endoftext|>", "<|endofchunk|>", "<image>")
    reads_plain = False  # the language model has read all forms

    @classmethod
    def extend(cls, path: Path, rows: int) -> "OpenFlamingoTokenizer":
        """path: the language model's `tokenizer.json`. rows: of the checkpoint's embedding, the last of
        which are the added tokens'.

        Raises CheckpointError as `load` does, and when tokens and rows are not as many.
        """
        bpe = _read(path)
        bpe.add_special_tokens(["<|endofchunk|>", "<image>", "<PAD>"])  # in the order of their rows
        if (tokens := bpe.get_vocab_size()) != rows:
            raise CheckpointError(
                f"{path} has {tokens} tokens with OpenFlamingo's and the checkpoint's embedding {rows} rows; "
                "use the tokenizer of the language model that the checkpoint was trained on"
            )
        return cls(bpe)

    @property
    def prefix_ids(self) -> list[int]:
        return []


def _read(path: Path) -> tokenizers.Tokenizer:
    if not path.is_file():
        raise CheckpointError(f"there is no tokenizer at {path}")
    try:
        return tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise CheckpointError(f"{path} is no tokenizer: {error}") from error


END_OF_WORD = "</w>"
CACHED_WORDS = 10_000


class ClipTokenizer:
    """Lower-case byte-level BPE. Padding is zeros, which is also the id of a half of "!!": only
    lengths tell where a text ends.

    A special token's name typed in a text is text. Which letters a word is and which are joined first is
    open_clip's; joining them is left to the library `tokenizers`, for open_clip's own time grows with the
    square of a word's length, and it keeps every word that it ever met.
    """

    def __init__(self) -> None:
        self.words = SimpleTokenizer()
        self.bpe = BPE(
            vocab=self.words.encoder,
            merges=list(self.words.bpe_ranks),
            end_of_word_suffix=END_OF_WORD,
            cache_capacity=CACHED_WORDS,
        )
        self.pad_id, self.bos_id, self.eos_id = 0, self.words.sot_token_id, self.words.eot_token_id

    def __len__(self) -> int:
        return self.words.vocab_size

    @property
    def prefix_ids(self) -> list[int]:
        """What stands before the first word that is written."""
        return [self.bos_id]

    def encode(self, text: str) -> list[int]:
        """Ids of a text; none of them special. Halves of surrogate pairs become "?"."""
        clean = self.words.clean_fn(text.encode("utf-8", "replace").decode("utf-8"))
        return [token.id for word in self.words.pat.findall(clean) for token in self._joined(word)]

    def _joined(self, word: str) -> list[Token]:
        """A word's bytes, each spelled as a letter, joined to tokens."""
        return self.bpe.tokenize("".join(map(self.words.byte_encoder.get, word.encode("utf-8"))))

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        return [self.encode(text) for text in texts]

    def encode_for_embedding(self, texts: list[str]) -> list[list[int]]:
        """Texts that are compared with pictures: each between its marks."""
        return [[self.bos_id, *row, self.eos_id] for row in self.encode_batch(texts)]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; special ones leave nothing behind."""
        return "".join(self.decode_stream(ids))

    def decode_stream(self, ids: Iterable[int]) -> Iterator[str]:
        """Text deltas as ids come in; a character split over two ids waits for its second."""
        characters = codecs.getincrementaldecoder("utf-8")("replace")
        for token_id in ids:
            if delta := characters.decode(self._bytes(token_id)):
                yield delta
        if rest := characters.decode(b"", final=True):
            yield rest

    def suppress_ids(self) -> list[int]:
        """Ids that may stand in a text but never come out of a model."""
        return [self.pad_id, self.bos_id]

    def _bytes(self, token_id: int) -> bytes:
        if token_id in (self.bos_id, self.eos_id):
            return b""
        token_text = self.words.decoder[token_id]
        ended = token_text.endswith(END_OF_WORD)
        letters = bytes(self.words.byte_decoder[letter] for letter in token_text.removesuffix(END_OF_WORD))
        return letters + b" " if ended else letters
