"""What the bundled weights can do: `python -m benchmarks.quality`, Markdown out.

Every case is drawn fresh, with seeds that training never used. `--style-folder` adds a style that
the models never saw (see `assets/sprites/README.md`), `--corpus` text that was not read, `--strange`
pictures that are no drawings, `--photographs` those that were named by hand.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import palm_demo
from benchmarks.quality import photographs
from benchmarks.quality.pictures import captions, out_of_distribution, retrieval
from benchmarks.quality.questions import questions
from benchmarks.quality.rows import Cases, Row, keep, kept, table
from benchmarks.quality.texts import by_the_hour, plot_training, text_rows
from palm_demo import world

TRAINED = "six trained styles"


def seeing(session: palm_demo.Session, cases: Cases, strange: Path | None) -> Iterator[Row]:
    """All rows about pictures and videos."""
    yield from retrieval(session, cases)
    yield from captions(session, cases)
    yield from questions(session, cases)
    if strange:
        yield from out_of_distribution(session, cases, strange)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1000, help="fresh cases per row")
    parser.add_argument("--corpus", type=Path, help="folder of .txt files")
    parser.add_argument("--strange", type=Path, help="folder of pictures that are no drawings")
    parser.add_argument("--photographs", type=Path, help="folder by tools/photographs.py judge")
    parser.add_argument("--style-folder", type=Path, help="an atlas of a style never trained on")
    parser.add_argument("--texts", type=Path, help="where the texts that are written go, to be read")
    parser.add_argument("--log", type=Path, help="log.jsonl of PaLM's training: bits per byte by the hour")
    parser.add_argument("--keep", action="store_true", help="the next run calls these figures 'before'")
    given = parser.parse_args()
    session = palm_demo.load()
    atlases = {TRAINED: world.Atlas.load()}
    if given.style_folder:
        unseen = world.Atlas.load(given.style_folder)
        atlases[f"{', '.join(unseen.styles)}, never trained on"] = unseen
    columns = {
        title: [*seeing(session, Cases(given.cases, atlas), given.strange)]
        for title, atlas in atlases.items()
    }
    if given.photographs:
        cases = Cases(given.cases, atlases[TRAINED])
        columns[TRAINED] += photographs.rows(session, cases, given.photographs, given.strange)
    matrix = ""
    if given.corpus:
        rows, matrix = text_rows(session, given.corpus, given.texts)
        columns[TRAINED] += rows
    print(table(columns, kept()))
    print(f"\n{matrix}")
    if given.log:
        plot_training(given.log, Path(__file__).with_name("hours.png"))
        print(f"\n{by_the_hour(given.log)}")
    if given.keep:
        keep(columns)


if __name__ == "__main__":
    main()
