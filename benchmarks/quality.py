"""What the bundled weights can do: `python -m benchmarks.quality`, a Markdown table out.

Every case is drawn fresh, with seeds that training never used. `--style-folder` measures a style
that the models never saw (see `assets/sprites/README.md`), `--corpus` text that was not read.
"""

import argparse
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

import palm_demo
from palm_demo import world
from palm_demo.session import STRANGE
from palm_demo.training.prose import held_out_books, index

SEED = "quality"
AT_ONCE = 50
TEXT_CHARACTERS = 20_000
PASSAGE = 1_000


@dataclass(frozen=True)
class Row:
    """One line of the table. value and chance: parts of 1, or bits per byte."""

    what: str
    value: float
    chance: str
    cases: int


@dataclass(frozen=True)
class Cases:
    """How many, in which drawings."""

    count: int
    atlas: world.Atlas

    def draw(self, name: str, make: Callable[[random.Random], object]) -> list:
        """`count` things made, each from a seed of its own."""
        return [make(random.Random(f"{SEED}/{name}/{case}")) for case in range(self.count)]


def retrieval(session: palm_demo.Session, cases: Cases) -> Iterator[Row]:
    """recall@1 among two-object scenes, and naming single things among all names."""
    for held_out, pairs in ((False, "any pairs"), (True, "never-paired nouns")):
        scenes = cases.draw(
            f"pairs/{held_out}",
            lambda rng, held_out=held_out: world.pair_scene(rng, held_out=held_out, atlas=cases.atlas),
        )
        images = session.embed_images([world.render(s, atlas=cases.atlas) for s in scenes])
        texts = session.embed_texts([world.caption(s, cases.atlas) for s in scenes])
        similarity = texts @ images.T
        for way, scores in (
            ("text to picture", similarity),
            ("picture to text", similarity.T),
        ):
            right = scores.argmax(axis=1) == np.arange(len(scores))
            what = f"recall@1, {way}, {len(scenes)} two-object scenes of {pairs}"
            yield Row(what, right.mean(), f"{1 / len(scenes):.3f}", len(scenes))
    names = world.concepts()
    scenes = cases.draw("naming", lambda rng: world.single_scene(rng, atlas=cases.atlas))
    images = session.embed_images([world.render(s, atlas=cases.atlas) for s in scenes])
    texts = session.embed_texts([world.with_article(n, cases.atlas) for n in names])
    named = (images @ texts.T).argmax(axis=1)
    right = np.mean([names[i] == s.names[0] for i, s in zip(named, scenes, strict=True)])
    yield Row(f"zero-shot name among {len(names)}", right, f"{1 / len(names):.3f}", len(scenes))


def captions(session: palm_demo.Session, cases: Cases) -> Iterator[Row]:
    """MaMMUT's and Flamingo's captions of one thing, two things, several of one."""
    kinds = {
        "one object": world.single_scene,
        "two objects": world.pair_scene,
        "counts": world.count_scene,
    }
    for kind, make in kinds.items():
        scenes = cases.draw(f"captions/{kind}", lambda rng, make=make: make(rng, atlas=cases.atlas))
        images = [world.render(scene, atlas=cases.atlas) for scene in scenes]
        written = {
            "MaMMUT": [text for some in _chunks(images) for text in session.captions(some)],
            "Flamingo": _answers(session, ["<media> caption:"] * len(images), [[i] for i in images]),
        }
        for model, texts in written.items():
            pairs = list(zip(texts, scenes, strict=True))
            exact = np.mean([world.is_exact(text, scene, cases.atlas) for text, scene in pairs])
            yield Row(f"{model} caption exact, {kind}", exact, "0", len(scenes))
            if kind == "one object":
                named = np.mean([_names_it(text, scene, cases.atlas) for text, scene in pairs])
                chance = f"{1 / len(world.concepts()):.3f}"
                yield Row(f"{model} caption names the right noun", named, chance, len(scenes))


def _names_it(text: str, scene: world.Scene, atlas: world.Atlas) -> bool:
    return text.split(" on a")[0] == world.with_article(scene.names[0], atlas)


QUESTIONS = {
    "what_is_where": "1/454",
    "background_color": "0.100",
    "is_there": "0.500",
    "how_many": "0.250",
    "which_picture": "0.417",
    "way": "0.250",
    "grows_or_shrinks": "0.500",
}
"""Kind of question -> what a guess gets."""


def questions(session: palm_demo.Session, cases: Cases) -> Iterator[Row]:
    """Each of Flamingo's question forms, answered exactly."""
    for kind, chance in QUESTIONS.items():
        yield _question_row(session, cases, kind, kind.replace("_", " "), chance, None)
    unseen = world.unseen()
    what = "few-shot naming of things never seen, 2 to 4 words"
    yield _question_row(session, cases, "few_shot_naming", what, "0.361", unseen)


def _question_row(
    session: palm_demo.Session,
    cases: Cases,
    kind: str,
    what: str,
    chance: str,
    names: Sequence[str] | None,
) -> Row:
    def ask(rng: random.Random) -> world.Question:
        return world.sample_question(rng, kind, names=names, atlas=cases.atlas)

    asked = cases.draw(f"questions/{kind}", ask)
    media = [[_shown(medium, cases.atlas) for medium in q.media] for q in asked]
    answers = _answers(session, [q.prompt for q in asked], media)
    right = np.mean([a == q.answer for a, q in zip(answers, asked, strict=True)])
    return Row(f"Flamingo: {what}", right, chance, len(asked))


def _chunks(items: Sequence) -> Iterator[Sequence]:
    for start in tqdm(range(0, len(items), AT_ONCE), leave=False):
        yield items[start : start + AT_ONCE]


def _answers(session: palm_demo.Session, prompts: list[str], media: list[list]) -> list[str]:
    answers: list[str] = []
    for some in _chunks(range(len(prompts))):
        answers += session.answers([prompts[i] for i in some], [media[i] for i in some])
    return answers


def _shown(medium: world.Scene | world.MovingScene, atlas: world.Atlas):
    """A picture, or a video's frames."""
    if isinstance(medium, world.Scene):
        return world.render(medium, atlas=atlas)
    return world.frames(medium, atlas=atlas)


def text(session: palm_demo.Session, corpus: Path) -> Iterator[Row]:
    """Bits per byte on books that were not read, and each author's scope on an unread book of the
    author; a folder without an index is taken as unread as a whole."""
    unread = held_out_books(corpus) if index(corpus) else sorted(corpus.glob("*.txt"))
    texts = {book.stem: book.read_text(encoding="utf-8")[:TEXT_CHARACTERS] for book in unread}
    base = {stem: session.bits_per_byte(some) for stem, some in tqdm(texts.items(), leave=False)}
    yield Row(f"bits per byte on {len(texts)} unread books", np.mean(list(base.values())), "8", len(texts))
    shelf = {row["id"]: row["shelf"] for row in index(corpus)}
    told = []
    for stem, some in texts.items():
        author = shelf.get(stem)
        if author in session.scopes:
            scoped = session.bits_per_byte(some, scope=author)
            what = f"bits per byte, scope {author} on its author's unread book"
            yield Row(what, scoped, f"base {base[stem]:.3f}", 1)
            for start in range(0, len(some) - PASSAGE + 1, PASSAGE):
                probabilities = session.who_wrote(some[start : start + PASSAGE])
                told.append(max(probabilities, key=probabilities.get) == author)
    if told:
        what = f"author of {PASSAGE:,} characters told among {len(session.scopes)}"
        yield Row(what, np.mean(told), f"{1 / len(session.scopes):.3f}", len(told))


def familiarity(session: palm_demo.Session, cases: Cases, folder: Path) -> Iterator[Row]:
    """Whether scenes of the world are more familiar than parts of pictures that are no drawings."""
    strange = [Image.open(path).convert("RGB") for path in sorted(folder.iterdir())]
    scenes = cases.draw("familiarity/scenes", lambda rng: _any_scene(rng, cases.atlas))
    parts = cases.draw("familiarity/strange", lambda rng: _square(rng, rng.choice(strange)))
    known = [
        session.familiarity(world.render(scene, atlas=cases.atlas)) for scene in tqdm(scenes, leave=False)
    ]
    unknown = [session.familiarity(part) for part in tqdm(parts, leave=False)]
    difference = np.subtract.outer(known, unknown)
    value = (difference > 0).mean() + (difference == 0).mean() / 2
    what = f"familiarity, AUROC of scenes against squares of {len(strange)} pictures that are no drawings"
    yield Row(what, value, "0.500", len(scenes))
    flagged = np.mean(np.array(unknown) < STRANGE), np.mean(np.array(known) < STRANGE)
    yield Row("such squares that are called strange", flagged[0], f"scenes {flagged[1]:.3f}", len(parts))


def _any_scene(rng: random.Random, atlas: world.Atlas) -> world.Scene:
    return rng.choice((world.single_scene, world.pair_scene, world.count_scene))(rng, atlas=atlas)


def _square(rng: random.Random, picture: Image.Image) -> Image.Image:
    """At least two fifths of its shorter side wide."""
    shorter = min(picture.size)
    side = rng.randint(2 * shorter // 5, shorter)
    left, top = (rng.randint(0, length - side) for length in picture.size)
    return picture.crop((left, top, left + side, top + side))


def table(rows: Sequence[Row], title: str) -> str:
    """Markdown."""
    lines = [f"| {title} | value | chance | cases |", "|---|---|---|---|"]
    lines += [f"| {row.what} | {row.value:.3f} | {row.chance} | {row.cases} |" for row in rows]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1000, help="fresh cases per row")
    parser.add_argument("--corpus", type=Path, help="folder of .txt files")
    parser.add_argument("--strange", type=Path, help="folder of pictures that are no drawings")
    parser.add_argument("--style-folder", type=Path, help="an atlas of a style never trained on")
    given = parser.parse_args()
    session = palm_demo.load()
    atlas = world.Atlas.load(given.style_folder) if given.style_folder else world.Atlas.load()
    cases = Cases(given.cases, atlas)
    rows = [*retrieval(session, cases), *captions(session, cases), *questions(session, cases)]
    if given.strange:
        rows += familiarity(session, cases, given.strange)
    if given.corpus:
        rows += text(session, given.corpus)
    print(table(rows, ", ".join(atlas.styles)))


if __name__ == "__main__":
    main()
