"""Tokenizers: our byte-level BPE, GPT-NeoX's, OpenFlamingo's and CLIP's.

The books that our models are trained on have straight quotes, two hyphens for a dash and three dots
for an ellipsis. What word processors write instead is replaced before it is read.
"""

import codecs
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import tokenizers
from tokenizers import Regex, Token, normalizers
from tokenizers.decoders import DecodeStream
from tokenizers.models import BPE

from palm_demo.errors import CheckpointError
from palm_demo.internals import open_clip_parts

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
"""Replacements of typographic characters. Letters with accents are composed before."""

TYPOGRAPHY = normalizers.Sequence(
    [normalizers.NFC(), *(normalizers.Replace(Regex(written), plain) for written, plain in _PLAIN.items())]
)
"""The normalizer of our tokenizer, which still knows where in the original text each token lies."""


def replace_surrogates(text: str) -> str:
    """Replaces halves of surrogate pairs, which no encoding has, by "?"."""
    return text.encode("utf-8", "replace").decode("utf-8")


def plain(text: str) -> str:
    """A text in its plain form: “Don’t—” becomes "Don't--"."""
    return TYPOGRAPHY.normalize_str(replace_surrogates(text))


def strip_trailing_spaces(text: str) -> str:
    """A text without the spaces at its end, whatever their kind or width. Line ends stay."""
    end = len(text)
    while end and _is_space(text[end - 1]):
        end -= 1
    return text[:end]


@lru_cache(maxsize=100)  # a text may end in a million spaces, and `plain` takes a while
def _is_space(letter: str) -> bool:
    return plain(letter) in ("", " ")


PAD, BOS, EOS, MEDIA = "<pad>", "<bos>", "<eos>", "<media>"
SPECIAL_TOKENS = (PAD, BOS, EOS, MEDIA)


class Tokenizer(Protocol):
    """The interface of tokenizers.

    `pad_id` pads rows, `prefix_ids` stand before a prompt, and a text ends with `eos_id`.
    """

    pad_id: int
    eos_id: int

    @property
    def prefix_ids(self) -> list[int]: ...

    def __len__(self) -> int: ...

    def encode(self, text: str) -> list[int]:
        """Ids of a text; none of them special."""

    def encode_for_embedding(self, texts: list[str]) -> list[list[int]]:
        """Ids of texts that are compared with pictures, with the special tokens that the model asks for."""

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids. Special ones leave nothing behind."""

    def decode_stream(self, ids: Iterable[int]) -> Iterable[str]:
        """Yields pieces of text as ids come in. A character split over two ids waits for the second one."""

    def suppress_ids(self) -> list[int]:
        """Ids that may stand in a prompt but may never be generated."""


class ByteLevelBPE:
    """Byte-level BPE: any text has ids, which decode to the same text (ours to its plain form).

    The name of a special token in a text is ordinary text: only code puts special ids into a prompt.
    """

    bos_id: int
    special_tokens: tuple[str, ...]
    reads_plain = False
    """Whether texts are normalized to their plain form by `TYPOGRAPHY`."""

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
        """Loads a `tokenizer.json`. Raises CheckpointError when it is missing or is not a tokenizer."""
        return cls(_read(path))

    def __len__(self) -> int:
        return self.bpe.get_vocab_size()

    @property
    def prefix_ids(self) -> list[int]:
        """The ids that stand before a prompt."""
        return [self.bos_id]

    def encode(self, text: str) -> list[int]:
        """Ids of a text; none of them special."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """Ids of several texts, none of them special. Halves of surrogate pairs become "?"."""
        written = [replace_surrogates(text) for text in texts]
        return [e.ids for e in self.bpe.encode_batch(written, add_special_tokens=False)]

    def encode_pieces(self, text: str) -> tuple[list[int], list[str]]:
        """Ids of a text and the piece of it that each stands for. Joined, the pieces are the original
        text.

        If several ids share a character, the last one has it and the others have an empty piece.
        """
        written = replace_surrogates(text)
        encoding = self.bpe.encode(written, add_special_tokens=False)
        cuts = [0, *(start for start, _ in encoding.offsets[1:]), len(written)]
        return encoding.ids, [written[a:b] for a, b in pairwise(cuts)] if encoding.ids else []

    def encode_for_embedding(self, texts: list[str]) -> list[list[int]]:
        """Ids of texts that are compared with pictures. Our MaMMUT needs no special tokens."""
        return self.encode_batch(texts)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids. Special ones leave nothing behind."""
        return self.bpe.decode(list(ids), skip_special_tokens=True)

    def decode_stream(self, ids: Iterable[int]) -> Iterable[str]:
        """Yields pieces of text as ids come in. A character split over two ids waits for the second one."""
        stream = DecodeStream(skip_special_tokens=True)
        for token_id in ids:
            delta = stream.step(self.bpe, token_id)
            if delta:
                yield delta

    def token_text(self, token_id: int) -> str:
        """The text of a single id, or the name of a special token; "" for an id that no text has."""
        return self.bpe.decode([token_id]) or self.bpe.id_to_token(token_id) or ""


class BundledTokenizer(ByteLevelBPE):
    """The tokenizer of the bundled weights, with four special tokens."""

    special_tokens = SPECIAL_TOKENS
    reads_plain = True

    def __init__(self, bpe: tokenizers.Tokenizer):
        super().__init__(bpe)
        self.pad_id, self.bos_id, self.eos_id, self.media_id = map(bpe.token_to_id, self.special_tokens)

    def suppress_ids(self) -> list[int]:
        """Ids that may stand in a prompt but may never be generated."""
        return [self.pad_id, self.bos_id, self.media_id]


class NeoXTokenizer(ByteLevelBPE):
    """GPT-NeoX's tokenizer (Black et al. 2022), which the released PaLMs use.

    In their training, `<|endoftext|>` stood between texts, so a prompt begins with it. It is never
    generated, because what would follow is another text.
    """

    special_tokens = ("<|endoftext|>", "<|padding|>")

    def __init__(self, bpe: tokenizers.Tokenizer):
        super().__init__(bpe)
        self.eos_id, self.pad_id = map(bpe.token_to_id, self.special_tokens)
        self.bos_id = self.eos_id

    def suppress_ids(self) -> list[int]:
        """Ids that may stand in a prompt but may never be generated."""
        return [self.eos_id, self.pad_id]


class OpenFlamingoTokenizer(BundledTokenizer):
    """The language model's own tokenizer, with the tokens that OpenFlamingo added.

    A text begins without a special token, and ends with `<|endofchunk|>`, as an example does.
    """

    special_tokens = ("<PAD>", "<|endoftext|>", "<|endofchunk|>", "<image>")
    reads_plain = False  # the language model has read all forms

    @classmethod
    def extend(cls, path: Path, rows: int) -> "OpenFlamingoTokenizer":
        """Adds OpenFlamingo's tokens to the language model's tokenizer.

        path: the language model's `tokenizer.json`. rows: of the checkpoint's embedding, the last of
        which belong to the added tokens. Raises CheckpointError as `load` does, and when tokens and
        rows differ in number.
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
        raise CheckpointError(f"{path} is not a tokenizer: {error}") from error


END_OF_WORD = "</w>"
CACHED_WORDS = 10_000


class ClipTokenizer:
    """CLIP's tokenizer: lower-case byte-level BPE.

    Padding is zeros, which is also the id of one half of "!!", so only lengths tell where a text ends.
    The name of a special token in a text is ordinary text. The vocabulary and merges are open_clip's;
    the merging is done by the library `tokenizers`, because the time that open_clip takes grows with
    the square of a word's length, and it caches every word.
    """

    def __init__(self) -> None:
        self.words = open_clip_parts.SimpleTokenizer()
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
        """The ids that stand before a caption."""
        return [self.bos_id]

    def encode(self, text: str) -> list[int]:
        """Ids of a text; none of them special. Halves of surrogate pairs become "?"."""
        clean = self.words.clean_fn(replace_surrogates(text))
        return [token.id for word in self.words.pat.findall(clean) for token in self._joined(word)]

    def _joined(self, word: str) -> list[Token]:
        """Merges a word's bytes, each spelled as a letter, into tokens."""
        return self.bpe.tokenize("".join(map(self.words.byte_encoder.get, word.encode("utf-8"))))

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        return [self.encode(text) for text in texts]

    def encode_for_embedding(self, texts: list[str]) -> list[list[int]]:
        """Ids of texts that are compared with pictures, each between its start and end token."""
        return [[self.bos_id, *row, self.eos_id] for row in self.encode_batch(texts)]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids. Special ones leave nothing behind."""
        return "".join(self.decode_stream(ids))

    def decode_stream(self, ids: Iterable[int]) -> Iterator[str]:
        """Yields pieces of text as ids come in. A character split over two ids waits for the second one."""
        characters = codecs.getincrementaldecoder("utf-8")("replace")
        for token_id in ids:
            if delta := characters.decode(self._bytes(token_id)):
                yield delta
        if rest := characters.decode(b"", final=True):
            yield rest

    def suppress_ids(self) -> list[int]:
        """Ids that may stand in a text but may never be generated."""
        return [self.pad_id, self.bos_id]

    def _bytes(self, token_id: int) -> bytes:
        if token_id in (self.bos_id, self.eos_id):
            return b""
        token_text = self.words.decoder[token_id]
        ended = token_text.endswith(END_OF_WORD)
        letters = bytes(self.words.byte_decoder[letter] for letter in token_text.removesuffix(END_OF_WORD))
        return letters + b" " if ended else letters
