"""From files of weights to a session."""

from pathlib import Path

from palm_demo import checkpoints
from palm_demo.errors import PromptError
from palm_demo.gallery import MEMORY
from palm_demo.generation import BatchLimits
from palm_demo.media import MediaLimits
from palm_demo.session.session import Session
from palm_demo.threads import apart
from palm_demo.tokenizer import Tokenizer

ASSETS = Path(__file__).resolve().parents[2] / "assets"


@apart
def load(
    profile: str = "tiny",
    media_limits: MediaLimits | None = None,
    batch_limits: BatchLimits | None = None,
    gallery_place: str | Path = MEMORY,
) -> Session:
    """The session of a profile: "tiny" is the bundled weights.

    media_limits: what pictures and videos may be. batch_limits: how many texts a model writes at
    once. Both by default as their classes say. gallery_place: where the pictures that `search` finds
    are kept; by default in memory, and gone with the process.

    Raises PromptError for an unknown profile, CheckpointError when weights are missing or damaged.
    """
    if profile != "tiny":
        raise PromptError(f"there is no profile {profile!r}; there is 'tiny', the bundled weights")
    weights = ASSETS / "weights"
    tower = checkpoints.load_tower(weights / "tower.safetensors", ASSETS / "vision")
    palm, blueprint = checkpoints.load_palm(weights / "palm.safetensors")
    for path in sorted((weights / "scopes").glob("*.safetensors")):
        checkpoints.load_scope(path, palm, path.stem)
    return Session(
        Tokenizer.load(ASSETS / "tokenizer.json"),
        palm,
        checkpoints.load_flamingo(weights / "flamingo.safetensors", palm, tower),
        checkpoints.load_mammut(weights / "mammut.safetensors", tower),
        checkpoints.load_familiarity(weights / "familiarity.safetensors"),
        blueprint.context,
        media_limits or MediaLimits(),
        batch_limits or BatchLimits(),
        gallery_place,
    )
