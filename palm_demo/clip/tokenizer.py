"""CLIP's words (Radford et al. 2021, section 2.4), behind the interface of our own tokenizer."""

import codecs
from collections.abc import Iterable, Iterator

from tokenizers import Token
from tokenizers.models import BPE

from palm_demo.internals.open_clip_parts import SimpleTokenizer

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
    def opening(self) -> list[int]:
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

    def encode_whole(self, texts: list[str]) -> list[list[int]]:
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

    def never_sampled(self) -> list[int]:
        """Ids that may stand in a text but never come out of a model."""
        return [self.pad_id, self.bos_id]

    def _bytes(self, token_id: int) -> bytes:
        if token_id in (self.bos_id, self.eos_id):
            return b""
        spelled = self.words.decoder[token_id]
        ended = spelled.endswith(END_OF_WORD)
        letters = bytes(self.words.byte_decoder[letter] for letter in spelled.removesuffix(END_OF_WORD))
        return letters + b" " if ended else letters
