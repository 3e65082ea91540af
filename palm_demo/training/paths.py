"""Where a recipe reads from and writes to."""

from dataclasses import dataclass
from pathlib import Path

from palm_demo.training.loop import Intervals


@dataclass(frozen=True)
class RunPaths:
    """assets: tokenizer, tower config and finished weights. run: checkpoints and log.
    corpus: a folder of .txt files; None for recipes that draw their data, and where `books` were brought."""

    assets: Path
    run: Path
    intervals: Intervals
    corpus: Path | None

    @property
    def tokenizer(self) -> Path:
        return self.assets / "tokenizer.json"

    @property
    def books(self) -> Path:
        """All that the base reads of a corpus, in one file."""
        return self.run / "books.npz"

    @property
    def weights(self) -> Path:
        return self.assets / "weights"
