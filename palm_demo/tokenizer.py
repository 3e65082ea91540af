"""Text to ids and back: one byte-level BPE with four special tokens of distinct ids."""

from collections.abc import Iterable
from pathlib import Path

import tokenizers
from tokenizers.decoders import DecodeStream

from palm_demo.errors import CheckpointError

PAD, BOS, EOS, MEDIA = "<pad>", "<bos>", "<eos>", "<media>"
SPECIAL_TOKENS = (PAD, BOS, EOS, MEDIA)


class Tokenizer:
    """Byte-level BPE: any text has ids, and its ids give it back.

    A special token's name typed in a text is text: only code puts special ids into a prompt.
    """

    special_tokens = SPECIAL_TOKENS
    """Padding, what a text begins and ends with, and where a picture or video stands."""

    def __init__(self, bpe: tokenizers.Tokenizer):
        missing = [token for token in self.special_tokens if bpe.token_to_id(token) is None]
        if missing:
            raise CheckpointError(f"the tokenizer lacks the special tokens {', '.join(missing)}")
        bpe.encode_special_tokens = True
        self.bpe = bpe
        self.pad_id, self.bos_id, self.eos_id, self.media_id = map(bpe.token_to_id, self.special_tokens)

    @classmethod
    def load(cls, path: Path) -> "Tokenizer":
        """Raises CheckpointError when the file is missing or is no tokenizer."""
        return cls(_read(path))

    @property
    def opening(self) -> list[int]:
        """What stands before the first word of a text."""
        return [self.bos_id]

    def __len__(self) -> int:
        return self.bpe.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        """Ids of a text; none of them special."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """The same for many. Halves of surrogate pairs, which no encoding has, become "?"."""
        written = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        return [e.ids for e in self.bpe.encode_batch(written, add_special_tokens=False)]

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

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """What each id adds to the text; nothing where a later one finishes its character."""
        stream = DecodeStream(skip_special_tokens=True)
        return [stream.step(self.bpe, token_id) or "" for token_id in ids]

    def spelled(self, token_id: int) -> str:
        """One id by itself: its text, or a special token's name; "" for one that no text has."""
        return self.bpe.decode([token_id]) or self.bpe.id_to_token(token_id) or ""

    def never_sampled(self) -> list[int]:
        """Ids that may stand in a prompt but never come out of a model."""
        return [self.pad_id, self.bos_id, self.media_id]


class OpenFlamingoTokenizer(Tokenizer):
    """The language model's own tokenizer and the tokens that OpenFlamingo added to it. A text begins with
    no mark and ends as an example does, where the next one would begin."""

    special_tokens = ("<PAD>", "<|endoftext|>", "<|endofchunk|>", "<image>")

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
    def opening(self) -> list[int]:
        return []


def _read(path: Path) -> tokenizers.Tokenizer:
    if not path.is_file():
        raise CheckpointError(f"there is no tokenizer at {path}")
    try:
        return tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise CheckpointError(f"{path} is no tokenizer: {error}") from error
