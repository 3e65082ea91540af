"""Search, captions and OOD scores: what is read off a single picture."""

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

import palm_demo
from benchmarks.quality.questions import answers
from benchmarks.quality.rows import Cases, Row, chunks
from palm_demo import world
from palm_demo.media import open_image
from palm_demo.session import OUT_OF_DISTRIBUTION


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
            "MaMMUT": [text for some in chunks(images) for text in session.captions(some)],
            "Flamingo": answers(session, ["<media> caption:"] * len(images), [[i] for i in images]),
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


def out_of_distribution(session: palm_demo.Session, cases: Cases, folder: Path) -> Iterator[Row]:
    """Whether parts of pictures that are no drawings have higher OOD scores than scenes of the world."""
    strange = [open_image(path) for path in sorted(folder.iterdir())]
    scenes = cases.draw("familiarity/scenes", lambda rng: _any_scene(rng, cases.atlas))
    parts = cases.draw("familiarity/strange", lambda rng: _square(rng, rng.choice(strange)))
    known = [session.ood_score(world.render(scene, atlas=cases.atlas)) for scene in tqdm(scenes, leave=False)]
    unknown = [session.ood_score(part) for part in tqdm(parts, leave=False)]
    difference = np.subtract.outer(unknown, known)
    value = (difference > 0).mean() + (difference == 0).mean() / 2
    what = f"OOD score, AUROC of scenes against squares of {len(strange)} pictures that are no drawings"
    yield Row(what, value, "0.500", len(scenes))
    for whose, values in (("such squares", unknown), ("scenes", known)):
        yield Row(
            f"{whose} that are called strange",
            np.mean(np.array(values) > OUT_OF_DISTRIBUTION),
            "–",
            len(values),
        )


def _any_scene(rng: random.Random, atlas: world.Atlas) -> world.Scene:
    return rng.choice((world.single_scene, world.pair_scene, world.count_scene))(rng, atlas=atlas)


def _square(rng: random.Random, picture: Image.Image) -> Image.Image:
    """At least two fifths of its shorter side wide."""
    shorter = min(picture.size)
    side = rng.randint(2 * shorter // 5, shorter)
    left, top = (rng.randint(0, length - side) for length in picture.size)
    return picture.crop((left, top, left + side, top + side))
