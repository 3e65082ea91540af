"""Examples that ask in one click: questions about fresh drawings, with their correct answers."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from random import Random

from PIL import Image, ImageOps

from palm_demo import world
from palm_demo.inference.prompts import OURS, PromptForm
from palm_demo.media import open_image
from palm_demo.models.tokenizers import MEDIA
from palm_demo.ui.flamingo.presets import TILES
from palm_demo.ui.flamingo.suggestions import about_scene
from palm_demo.ui.photographs import ExamplePhoto
from palm_demo.world import MovingScene, Scene, indefinite

SIDE = 176
QUALITY = 70


@dataclass(frozen=True)
class Sample:
    """A question about media in files.

    Attributes:
        title: the question without media tokens and the form around it.
        prompt: for Flamingo.
        media: files, in the order of their tokens.
        thumbnail: the file of a picture that shows the media.
        answers: all correct answers; none if they have no fixed form.
        chips: other questions about the media.
    """

    title: str
    prompt: str
    media: tuple[str, ...]
    thumbnail: str
    answers: tuple[str, ...]
    chips: tuple[str, ...]


def question_samples(folder: Path, form: PromptForm, rng: Random) -> list[Sample]:
    """Draws an example of each kind, and writes its pictures and videos into a folder.

    Args:
        folder: for the files.
        form: the form of texts of the Flamingo that is asked.
        rng: for the scenes.
    """
    return [_sample(folder / name, draw(rng), form) for name, draw in TILES.items()]


def _title(question: world.Question) -> str:
    if question.kind == "few_shot_naming":
        return "Learn two new words"
    if question.kind == "photo_name":
        return "What does the photo show?"
    bare = question.prompt.rpartition(MEDIA)[2].replace("question:", "").replace("answer:", "")
    bare = bare.strip().rstrip(":").capitalize()
    return bare if bare.endswith("?") else f"{bare} it"


def _sample(stem: Path, question: world.Question, form: PromptForm) -> Sample:
    paths, stills = [], []
    for place, scene in enumerate(question.media, 1):
        path, still = _write(stem.with_name(f"{stem.name}-{place}"), scene)
        paths.append(str(path))
        stills.append(still)
    thumbnail = stem.with_suffix(".webp")
    _side_by_side(stills).save(thumbnail, quality=QUALITY)
    answers = right_answers(question) if form == OURS else ()  # other models phrase answers differently
    return Sample(
        _title(question),
        form.worded(question.prompt),
        tuple(paths),
        str(thumbnail),
        answers,
        tuple(about_scene(question)),
    )


def right_answers(question: world.Question) -> tuple[str, ...]:
    """All correct answers to a preset's question."""
    shown = question.media[0]
    if isinstance(shown, ExamplePhoto):
        return (*(indefinite(name) for name in shown.all_names), *shown.captions)
    return tuple(world.captions(shown)) if question.kind == "caption" else (question.answer,)


def _write(stem: Path, medium: Scene | MovingScene | ExamplePhoto) -> tuple[Path, Image.Image]:
    """Writes a medium. Returns its path and one picture of it."""
    if not isinstance(medium, ExamplePhoto):
        return world.write_scene(stem, medium)
    path = stem.with_suffix(medium.file.suffix)
    shutil.copyfile(medium.file, path)
    return path, ImageOps.fit(open_image(path), (SIDE, SIDE))


def _side_by_side(pictures: list[Image.Image]) -> Image.Image:
    """Up to four pictures in one square."""
    shown = Image.new("RGB", (SIDE, SIDE), "white")
    if len(pictures) == 1:
        return pictures[0].resize((SIDE, SIDE))
    half = SIDE // 2
    top = 0 if len(pictures) > 2 else half // 2
    for place, picture in enumerate(pictures[:4]):
        x, y = place % 2 * half + 1, top + place // 2 * half + 1
        shown.paste(picture.resize((half - 2, half - 2)), (x, y))
    return shown
