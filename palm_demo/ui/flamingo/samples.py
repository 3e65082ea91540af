"""Examples that work in one click and offline: drawn from the picture world when the page starts."""

from dataclasses import dataclass
from pathlib import Path
from random import Random

from PIL import Image

from palm_demo import world
from palm_demo.inference.prompts import PromptForm
from palm_demo.models.tokenizers import MEDIA

SIDE = 192
SEEDS = {
    "what_is_where": 11,
    "which_picture": 13,
    "is_there": 14,
    "how_many": 14,
    "few_shot_naming": 11,
    "way": 14,
    "grows_or_shrinks": 12,
    "caption": 13,
}


@dataclass(frozen=True)
class Sample:
    """A question with its media as files, and a picture that stands for it. title: what is asked, without
    the marks and the form around it."""

    title: str
    prompt: str
    media: tuple[str, ...]
    thumbnail: Image.Image


def question_samples(folder: Path, form: PromptForm) -> list[Sample]:
    """A question of each kind that the bundled Flamingo can answer, its pictures and videos written
    into the folder. form: of the Flamingo that is asked."""
    return [_sample(folder, kind, seed, form) for kind, seed in SEEDS.items()]


def _title(prompt: str) -> str:
    bare = prompt.rpartition(MEDIA)[2].replace("question:", "").replace("answer:", "")
    bare = bare.strip().rstrip(":")
    return bare if bare.endswith("?") else f"{bare} …"


def _sample(folder: Path, kind: str, seed: int, form: PromptForm) -> Sample:
    names = world.unseen() if kind == "few_shot_naming" else None
    question = world.sample_question(Random(seed), kind, names=names)
    paths, stills = [], []
    for place, scene in enumerate(question.media, 1):
        path, still = world.write_scene(folder / f"{kind}-{place}", scene)
        paths.append(str(path))
        stills.append(still)
    prompt = form.worded(question.prompt)
    return Sample(_title(question.prompt), prompt, tuple(paths), _side_by_side(stills))


def _side_by_side(pictures: list[Image.Image]) -> Image.Image:
    """Up to four pictures on one square."""
    if len(pictures) == 1:
        return pictures[0]
    half, shown = SIDE // 2, Image.new("RGB", (SIDE, SIDE), "white")
    for place, picture in enumerate(pictures[:4]):
        shown.paste(picture.resize((half - 2, half - 2)), (place % 2 * half + 1, place // 2 * half + 1))
    return shown
