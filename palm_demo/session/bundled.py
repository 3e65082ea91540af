"""The weights that come along, as systems; each file is read when it is first needed."""

from palm_demo import checkpoints
from palm_demo.about import of_bundled
from palm_demo.checkpoints.blueprints import PaLMBlueprint
from palm_demo.familiarity import Familiarity
from palm_demo.generation import BatchLimits
from palm_demo.installation import ASSETS
from palm_demo.models import Flamingo, MaMMUT, PaLM
from palm_demo.session.systems import System
from palm_demo.threads import made_once
from palm_demo.tokenizer import Tokenizer
from palm_demo.vision import VisionTower

WEIGHTS = ASSETS / "weights"


class Bundled:
    """One tower, one tokenizer and one PaLM for all three. Raises CheckpointError when weights are missing or
    damaged."""

    def __init__(self, limits: BatchLimits):
        self.limits = limits

    @made_once
    def palm(self) -> System[PaLM]:
        return self._system("palm", self._palm[0])

    @made_once
    def flamingo(self) -> System[Flamingo]:
        path = WEIGHTS / "flamingo.safetensors"
        return self._system("flamingo", checkpoints.load_flamingo(path, self._palm[0], self._tower))

    @made_once
    def mammut(self) -> System[MaMMUT]:
        return self._system("mammut", checkpoints.load_mammut(WEIGHTS / "mammut.safetensors", self._tower))

    @made_once
    def familiarity(self) -> Familiarity:
        return checkpoints.load_familiarity(WEIGHTS / "familiarity.safetensors")

    @made_once
    def _tokenizer(self) -> Tokenizer:
        return Tokenizer.load(ASSETS / "tokenizer.json")

    @made_once
    def _tower(self) -> VisionTower:
        return checkpoints.load_tower(WEIGHTS / "tower.safetensors", ASSETS / "vision")

    @made_once
    def _palm(self) -> tuple[PaLM, PaLMBlueprint]:
        palm, blueprint = checkpoints.load_palm(WEIGHTS / "palm.safetensors")
        for path in sorted((WEIGHTS / "scopes").glob("*.safetensors")):
            checkpoints.load_scope(path, palm, path.stem)
        return palm, blueprint

    def _system(self, name: str, model) -> System:
        _, blueprint = self._palm
        return System(model, self._tokenizer, blueprint.context, self.limits, of_bundled(name), bundled=True)
