"""Which words find their pictures, and which find none: `python -m benchmarks.searching`, Markdown out.

Words are searched for in the gallery that a new page has: every noun that a picture shows, and every noun
that none shows. Labels are chosen for fresh drawings.
"""

import random
from collections.abc import Callable, Sequence

import numpy as np

import palm_demo
from benchmarks.measuring import table
from palm_demo import world
from palm_demo.gallery import Hit
from palm_demo.session.searching import LEAST, NONE, judged

MADE_UP = ("zzzz qqq", "asdf", "blorp", "wug", "lorem ipsum dolor", "123456", "SELECT * FROM pictures")
LABELS, DRAWINGS = 8, 200

Search = Callable[[palm_demo.Session, str], list[Hit]]


def as_the_page(session: palm_demo.Session, words: str) -> list[Hit]:
    return session.search(words, 1)


def by_pictures_alone(session: palm_demo.Session, words: str) -> list[Hit]:
    text, fit = judged(session, words)
    return session.gallery.find(text, 1, fit=fit, least=LEAST)


def shown() -> dict[str, frozenset[str]]:
    """Caption of each picture of a new gallery -> what it shows."""
    return {caption: frozenset(scene.names) for scene, caption in world.start_gallery()}


def searched(session: palm_demo.Session, search: Search) -> list[tuple[str, float | None, float, int]]:
    """What was searched for, the part that came first, the part that is said to be like it, and how many."""
    pictures, atlas = shown(), world.Atlas.load()
    there = sorted(frozenset().union(*pictures.values()))
    gone = [name for name in world.concepts() if name not in there]
    asked: dict[str, Sequence[tuple[str, str | None]]] = {
        "nouns": [(name, name) for name in there],
        "nouns with their article": [(world.with_article(name), name) for name in there],
        "plurals": [(atlas.concept(name).plural, name) for name in there],
        "nouns that no picture shows": [(name, None) for name in gone],
        "nouns that no picture shows, on a blue background": [
            (f"{name} on a blue background", None) for name in gone
        ],
        "words that are none": [(words, None) for words in MADE_UP],
    }
    rows = []
    for what, queries in asked.items():
        best = [search(session, words)[0] for words, _ in queries]
        names = [name for _, name in queries]
        first = np.mean([name in pictures[hit.caption] for hit, name in zip(best, names, strict=True)])
        rows.append((what, first if names[0] else None, np.mean([hit.alike for hit in best]), len(best)))
    return rows


def labelled(session: palm_demo.Session, draw: Callable[[random.Random], world.Scene]) -> tuple[float, float]:
    """The part of drawings of which a right label among others was chosen, and of those whose labels were all
    wrong the part of which none was."""
    right = none = 0
    for number in range(DRAWINGS):
        rng = random.Random(f"labels/{number}")
        scene = draw(rng)
        names = rng.sample(world.concepts(), LABELS + 2)
        wrong = [name for name in names if name not in scene.names][:LABELS]
        seen = session.encode_image(world.render(scene))
        chosen = session.classify(seen, [*wrong[1:], scene.names[0]])
        right += max(chosen, key=chosen.get) == scene.names[0]
        chosen = session.classify(seen, wrong)
        none += max(chosen, key=chosen.get) == NONE
    return right / DRAWINGS, none / DRAWINGS


def main() -> None:
    session = palm_demo.load()
    for title, search in (("As the page", as_the_page), ("By pictures alone", by_pictures_alone)):
        rows = [
            [what, "–" if first is None else f"{first:.3f}", f"{alike:.3f}", str(count)]
            for what, first, alike, count in searched(session, search)
        ]
        print("\n" + table([title, "comes first", "is like it", "of"], rows))
    rows = [
        [what, *(f"{part:.3f}" for part in labelled(session, draw))]
        for what, draw in (("of one thing", world.single_scene), ("of two", world.pair_scene))
    ]
    of = f"{DRAWINGS} drawings, {LABELS} labels"
    print("\n" + table([of, "the right one is chosen", "all wrong: none is"], rows))


if __name__ == "__main__":
    main()
