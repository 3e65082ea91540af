"""Paths that a recipe reads from and writes to."""

from dataclasses import dataclass
from pathlib import Path

from palm_demo.training.loop import Intervals


@dataclass(frozen=True)
class RunPaths:
    """Paths and intervals of one training run.

    Attributes:
        assets: tokenizer, tower configuration and finished weights.
        run: checkpoints and log.
        corpus: a folder of .txt files; None for recipes that draw their data, and where `books` is
            there.
    """

    assets: Path
    run: Path
    intervals: Intervals
    corpus: Path | None

    @property
    def tokenizer(self) -> Path:
        return self.assets / "tokenizer.json"

    @property
    def books(self) -> Path:
        """The one file with all that PaLM reads of a corpus."""
        return self.run / "books.npz"

    @property
    def features(self) -> Path:
        """A folder beside the run's own with the tower's features, which several recipes use."""
        return self.run.parent / "features"

    @property
    def weights(self) -> Path:
        return self.assets / "weights"
