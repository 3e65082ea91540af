"""Photographs that no recipe saw: named, captioned, searched, taught with, and told from what is no thing."""

import csv
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from tqdm import tqdm

import palm_demo
from benchmarks.quality.questions import answers
from benchmarks.quality.rows import Cases, Row, chunks
from palm_demo import world
from palm_demo.errors import MediaError
from palm_demo.media import open_image
from palm_demo.world.photographs import named

NAMES = Path(__file__).resolve().parents[1] / "photographs" / "names.csv"
FEW = 5
SIDE = 256
"""Pixels of the pictures that show no thing."""

PAGE = "the quick brown fox jumps over a lazy dog and runs home before it rains again"


@dataclass(frozen=True)
class Judged:
    """A photograph, and all names that are right for it."""

    image: Image.Image
    names: frozenset[str]


def load(folder: Path) -> list[Judged]:
    """The photographs of `names.csv`, from a folder that `tools/photographs.py judge` filled."""
    with NAMES.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    missing = [row["file"] for row in rows if not (folder / row["file"]).is_file()]
    if missing:
        raise MediaError(
            f"{folder} lacks {len(missing)} of {len(rows)} photographs, {missing[0]} first; "
            f"get them with: python tools/photographs.py judge {folder}"
        )
    return [
        Judged(open_image(folder / row["file"], max_side=512), frozenset(row["names"].split("|")))
        for row in rows
    ]


def rows(session: palm_demo.Session, cases: Cases, folder: Path, strange: Path | None) -> Iterator[Row]:
    """All rows about photographs. strange: a folder of pictures of nothing a model could name."""
    judged = load(folder)
    images = np.concatenate([session.embed_images([one.image for one in some]) for some in chunks(judged)])
    yield from naming(session, judged, images)
    yield captioning(session, judged)
    yield searching(session, judged, images)
    yield few_shot(session, cases, judged)
    yield telling(session, cases, judged, strange)


def naming(session: palm_demo.Session, judged: Sequence[Judged], images: np.ndarray) -> Iterator[Row]:
    """Whether the likeliest names of all include a right one."""
    names = world.all_names()
    scores = images @ session.embed_texts([named(name) for name in names]).T
    best = [[names[at] for at in order[:FEW]] for order in np.argsort(-scores, axis=1)]
    chance = np.mean([len(one.names & set(names)) / len(names) for one in judged])
    for first, what in ((1, "first"), (FEW, f"among the first {FEW}")):
        right = np.mean(
            [not one.names.isdisjoint(few[:first]) for few, one in zip(best, judged, strict=True)]
        )
        yield Row(
            f"photographs: a right name {what} of {len(names)}", right, f"{chance * first:.3f}", len(judged)
        )


def captioning(session: palm_demo.Session, judged: Sequence[Judged]) -> Row:
    """Whether MaMMUT's caption says a right name."""
    written = [text for some in chunks(judged) for text in session.captions([one.image for one in some])]
    right = np.mean(
        [
            any(said in (f"a photo of {named(name)}", named(name)) for name in one.names)
            or any(said.startswith(f"{named(name)} on a") for name in one.names)
            for said, one in zip(written, judged, strict=True)
        ]
    )
    return Row("photographs: MaMMUT's caption names it right", right, "0.001", len(judged))


def searching(session: palm_demo.Session, judged: Sequence[Judged], images: np.ndarray) -> Row:
    """recall@5: whether a search by a name finds a photograph of it among all, over each right name."""
    known = set(world.all_names())
    names = sorted({name for one in judged for name in one.names if name in known})
    found = session.embed_texts([named(name) for name in names]) @ images.T
    hits = [
        any(name in judged[at].names for at in order[:FEW])
        for name, order in zip(names, np.argsort(-found, axis=1), strict=True)
    ]
    chance = np.mean([_by_chance(sum(name in one.names for one in judged), len(judged)) for name in names])
    return Row(f"photographs: search by name, recall@{FEW}", np.mean(hits), f"{chance:.3f}", len(names))


def _by_chance(right: int, count: int) -> float:
    """Of FEW drawn from `count` without looking, at least one of `right`."""
    return 1 - np.prod([(count - right - drawn) / (count - drawn) for drawn in range(FEW)])


def few_shot(session: palm_demo.Session, cases: Cases, judged: Sequence[Judged]) -> Row:
    """Two new words, each taught with one photograph; asked about another photograph of one of them."""

    def ask(rng: random.Random) -> tuple[world.Question, list[Image.Image]]:
        while True:
            shown = rng.choice(judged)
            asked = [one for one in judged if one is not shown and one.names == shown.names]
            others = [one for one in judged if one.names.isdisjoint(shown.names)]
            if asked:
                break
        first, second = world.made_up_words(rng, 2)
        examples = [(first, shown), (second, rng.choice(others))]
        rng.shuffle(examples)
        taught = " ".join(f"<media> this is a {word}." for word, _ in examples)
        pictures = [one.image for _, one in examples] + [rng.choice(asked).image]
        return world.Question(f"{taught} <media> this is a", first, (), "few_shot_naming"), pictures

    asked = cases.draw("photographs/few_shot", ask)
    said = answers(session, [question.prompt for question, _ in asked], [pictures for _, pictures in asked])
    right = np.mean([text == question.answer for text, (question, _) in zip(said, asked, strict=True)])
    return Row("photographs: few-shot naming, 2 words, one example each", right, "0.500", len(asked))


def telling(session: palm_demo.Session, cases: Cases, judged: Sequence[Judged], strange: Path | None) -> Row:
    """AUROC of the OOD score: scenes and photographs of known things against pictures of no thing."""
    parts = [open_image(path) for path in sorted(strange.iterdir())] if strange else []
    scenes = cases.draw("familiarity/scenes", lambda rng: world.single_scene(rng, atlas=cases.atlas))
    known = [world.render(scene, atlas=cases.atlas) for scene in scenes[: len(judged)]]
    known += [one.image for one in judged]
    unknown = cases.draw("photographs/no_thing", lambda rng: no_thing(rng, parts))[: len(known)]
    scores = [[session.ood_score(one) for one in tqdm(some, leave=False)] for some in (known, unknown)]
    difference = np.subtract.outer(scores[1], scores[0])
    value = (difference > 0).mean() + (difference == 0).mean() / 2
    what = "OOD score, AUROC of scenes and photographs against textures, micrographs, text and noise"
    return Row(what, value, "0.500", len(known) + len(unknown))


def no_thing(rng: random.Random, strange: Sequence[Image.Image]) -> Image.Image:
    """A texture, a page of text, noise, or a square of a picture of nothing."""
    kinds = [noise, page_of_text, stripes, *([None] if strange else [])]
    kind = rng.choice(kinds)
    if kind is not None:
        return kind(rng)
    picture = rng.choice(strange)
    side = rng.randint(min(picture.size) // 2, min(picture.size))
    left, top = (rng.randint(0, length - side) for length in picture.size)
    return picture.crop((left, top, left + side, top + side))


def noise(rng: random.Random) -> Image.Image:
    """Grey or coloured, fine or coarse."""
    cells = rng.choice((SIDE, SIDE // 2, SIDE // 8, SIDE // 32))
    numbers = np.random.default_rng(rng.getrandbits(32))
    channels = 1 if rng.random() < 0.3 else 3
    pixels = np.broadcast_to(numbers.integers(0, 256, (cells, cells, channels)), (cells, cells, 3))
    return Image.fromarray(pixels.astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def page_of_text(rng: random.Random) -> Image.Image:
    """Lines of words, dark on light."""
    page = Image.new("RGB", (SIDE, SIDE), "white")
    draw, words = ImageDraw.Draw(page), PAGE.split()
    for top in range(8, SIDE - 12, rng.randint(12, 18)):
        draw.text((8, top), " ".join(rng.choices(words, k=9)), fill=(20, 20, 20))
    return page.rotate(rng.uniform(-3, 3), fillcolor="white")


def stripes(rng: random.Random) -> Image.Image:
    """Waves of two colours that cross, as cloth and bark have them."""
    across, down = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
    ways = [(rng.uniform(-0.4, 0.4), rng.uniform(-0.4, 0.4), rng.uniform(0, 6)) for _ in range(3)]
    waves = sum(np.sin(x * across + y * down + begin) for x, y, begin in ways) / 6 + 0.5
    ends = np.array([[rng.randrange(256) for _ in range(3)] for _ in range(2)])
    pixels = ends[0] + (ends[1] - ends[0]) * waves[..., None]
    blurred = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    return blurred.filter(ImageFilter.GaussianBlur(rng.choice((0, 1))))
