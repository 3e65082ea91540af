"""The networks: PaLM, Flamingo and MaMMUT, all on one parallel decoder."""

from palm_demo.models.flamingo import Flamingo
from palm_demo.models.mammut import MaMMUT
from palm_demo.models.palm import PaLM, PaLMEncoder

__all__ = ["Flamingo", "MaMMUT", "PaLM", "PaLMEncoder"]
