"""Text: how well unread books are predicted, whether authors are told apart, and how texts read."""

import json
import re
from collections.abc import Iterator, Sequence, Set
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

import palm_demo
from benchmarks.quality.rows import Row
from palm_demo.training.prose import held_out_books, index, training_books

CHARACTERS = 20_000
PASSAGE = 1_000
CONTINUED, NEW_TOKENS, OPENING = 50, 200, 80
GRAM = 4
WORD = re.compile(r"[a-z]+(?:['’][a-z]+)?")


class Unread:
    """The beginnings of those books of a corpus that no recipe reads: all of them where there is no index.

    Attributes:
        texts: by the book's number.
        authors: shelves, by the book's number.
        words: all that stand in the other books.
    """

    def __init__(self, corpus: Path):
        rows = index(corpus)
        books = held_out_books(corpus) if rows else sorted(corpus.glob("*.txt"))
        self.texts = {book.stem: book.read_text(encoding="utf-8")[:CHARACTERS] for book in books}
        shelves = {row["id"]: row["shelf"] for row in rows}
        self.authors = {stem: shelves.get(stem) for stem in self.texts}
        read = training_books(corpus) if rows else []
        self.words = {word for book in read for word in words(book.read_text(encoding="utf-8"))}


def predicted(session: palm_demo.Session, unread: Unread) -> Iterator[Row]:
    """Bits per byte, and whether authors are told apart."""
    base = [session.bits_per_byte(text) for text in tqdm(unread.texts.values(), leave=False)]
    yield Row(f"bits per byte on {len(base)} unread books", np.mean(base), "8", len(base))
    for form, written in (("", str), (", typographic", typographic)):
        told = [
            likeliest(session, written(text[start : start + PASSAGE])) == unread.authors[stem]
            for stem, text in unread.texts.items()
            if unread.authors[stem] in session.scopes
            for start in range(0, len(text) - PASSAGE + 1, PASSAGE)
        ]
        if told:
            what = f"author of {PASSAGE:,} characters told among {len(session.scopes)}{form}"
            yield Row(what, np.mean(told), f"{1 / len(session.scopes):.3f}", len(told))


def likeliest(session: palm_demo.Session, text: str) -> str:
    probabilities = session.who_wrote(text)
    return max(probabilities, key=probabilities.get)


def typographic(text: str) -> str:
    """The text as a word processor writes it: curly quotes, dashes, ellipses."""
    text = re.sub(r'(^|[\s(\[-])"', r"\1“", text).replace('"', "”")
    text = re.sub(r"(^|[\s(\[“-])'", r"\1‘", text).replace("'", "’")
    return text.replace("--", "—").replace("...", "…")


def written(session: palm_demo.Session, unread: Unread, kept: Path | None) -> Iterator[Row]:
    """Whether texts go in circles: openings of unread books, continued as `stream` does by default.

    kept: where the texts are written, to be read.
    """
    openings = _openings(unread)
    texts = [
        session.generate(opening, max_new_tokens=NEW_TOKENS, seed=number)
        for number, opening in enumerate(tqdm(openings, leave=False))
    ]
    books = _passages(session, unread)
    what = f"of {len(texts)} texts of {NEW_TOKENS} tokens"
    rates = {
        f"distinct {GRAM}-grams": distinct_grams,
        "repeated lines": repeated_lines,
        "paragraphs with an open quotation mark": unclosed,
    }
    if unread.words:
        rates["words that no read book has"] = partial(unheard_of, heard=unread.words)
    for name, rate in rates.items():
        by_books = np.mean([rate(text) for text in books])
        yield Row(f"{name} {what}", np.mean([rate(t) for t in texts]), f"books {by_books:.3f}", len(texts))
    if kept:
        pairs = zip(openings, texts, strict=True)
        kept.write_text(
            "\n\n---\n\n".join(f"{opening} || {text}" for opening, text in pairs), encoding="utf-8"
        )


def _openings(unread: Unread) -> list[str]:
    """Pieces of the unread books that begin and end between words."""
    texts = list(unread.texts.values())
    found = []
    for number in range(CONTINUED):
        text = texts[number % len(texts)]
        start = CHARACTERS // CONTINUED * number % (len(text) - 2 * OPENING)
        piece = text[start : start + OPENING].split(maxsplit=1)[-1].rsplit(maxsplit=1)[0]
        found.append(piece.strip())
    return found


def _passages(session: palm_demo.Session, unread: Unread) -> list[str]:
    """Passages of the unread books, as long as the texts."""
    encode, decode = session.palm.tokenizer.encode, session.palm.tokenizer.decode
    return [decode(encode(text)[1000 : 1000 + NEW_TOKENS]) for text in unread.texts.values()]


def distinct_grams(text: str) -> float:
    """The part of a text's word 4-grams that are not there twice."""
    words = text.split()
    grams = [tuple(words[i : i + GRAM]) for i in range(len(words) - GRAM + 1)]
    return len(set(grams)) / len(grams) if grams else 1.0


def words(text: str) -> list[str]:
    return WORD.findall(text.lower())


def unheard_of(text: str, heard: Set[str]) -> float:
    """The part of a text's words that are not among these; the last may be cut off and does not count."""
    written = words(text)[:-1]
    return float(np.mean([word not in heard for word in written])) if written else 0.0


def repeated_lines(text: str) -> float:
    """The part of a text's lines that stood there before."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return 1 - len(set(lines)) / len(lines) if lines else 0.0


def unclosed(text: str) -> float:
    """The part of a text's paragraphs whose double quotation marks are an odd number; the last may be cut
    off and does not count."""
    paragraphs = [paragraph for paragraph in text.splitlines()[:-1] if '"' in paragraph]
    return float(np.mean([p.count('"') % 2 for p in paragraphs])) if paragraphs else 0.0


SAVED = 0.04
"""A scope is worth having if it saves this fraction of bits per byte on its author's unread book."""


class ScopeMatrix:
    """Bits per byte of each author's unread book under the base and under each scope."""

    def __init__(self, session: palm_demo.Session, unread: Unread):
        self.scopes = session.scopes
        of_author = {a: unread.texts[stem] for stem, a in unread.authors.items() if a in self.scopes}
        self.authors = [author for author in self.scopes if author in of_author]
        self.values = np.array(
            [
                [session.bits_per_byte(of_author[author], scope) for scope in (None, *self.scopes)]
                for author in tqdm(self.authors, leave=False)
            ]
        )

    def rows(self) -> Iterator[Row]:
        """What each scope gains on the unread book of its author."""
        for author, (base, *scoped) in zip(self.authors, self.values, strict=True):
            mine = scoped[self.scopes.index(author)]
            others = min(v for scope, v in zip(self.scopes, scoped, strict=True) if scope != author)
            what = f"scope {author}: bits per byte saved on its author's unread book"
            yield Row(what, 1 - mine / base, f"best other {1 - others / base:.3f}", 1)
        worth = [
            scoped[self.scopes.index(author)] <= min((1 - SAVED) * base, *scoped)
            for author, (base, *scoped) in zip(self.authors, self.values, strict=True)
        ]
        yield Row(f"scopes that save {SAVED:.0%} and beat every other", np.mean(worth), "0", len(worth))

    def table(self) -> str:
        """Markdown, the least of each row in bold."""
        lines = [f"| unread book of | base | {' | '.join(self.scopes)} |"]
        lines.append("|---" * (len(self.scopes) + 2) + "|")
        for author, values in zip(self.authors, self.values, strict=True):
            figures = [f"**{v:.3f}**" if v == values.min() else f"{v:.3f}" for v in values]
            lines.append(f"| {author} | {' | '.join(figures)} |")
        return "\n".join(lines)

    def plot(self, path: Path) -> None:
        """What each scope saves on each book, in percent of the base's bits, as a heat map."""
        from matplotlib.figure import Figure

        saved = 100 * (1 - self.values[:, 1:] / self.values[:, :1])
        figure = Figure(figsize=(1.5 + 0.7 * len(self.scopes), 1 + 0.5 * len(self.authors)), layout="tight")
        axes = figure.subplots()
        limit = np.abs(saved).max()
        axes.imshow(saved, cmap="RdBu", vmin=-limit, vmax=limit)
        axes.set_xticks(range(len(self.scopes)), self.scopes, rotation=45, ha="right")
        axes.set_yticks(range(len(self.authors)), self.authors)
        axes.set_xlabel("scope")
        axes.set_ylabel("unread book of")
        axes.set_title("bits per byte saved, % of the base")
        for (row, column), value in np.ndenumerate(saved):
            axes.text(column, row, f"{value:.1f}", ha="center", va="center")
        figure.savefig(path, dpi=110)


def plot_training(log: Path, path: Path) -> None:
    """Bits per byte on unread books over the hours of a training, from its `log.jsonl`."""
    from matplotlib.figure import Figure

    measured = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    figure = Figure(figsize=(6, 3.5), layout="tight")
    axes = figure.subplots()
    axes.plot([m["hours"] for m in measured], [m["bits_per_byte"] for m in measured])
    axes.set_xlabel("hours of training")
    axes.set_ylabel("bits per byte, unread books")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def by_the_hour(log: Path) -> str:
    """Markdown: the last measurement of each hour."""
    last = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        measured = json.loads(line)
        last[int(measured["hours"]) + 1] = measured
    lines = ["| hour | step | bits per byte |", "|---|---|---|"]
    lines += [f"| {hour} | {m['step']:,} | {m['bits_per_byte']:.3f} |" for hour, m in last.items()]
    return "\n".join(lines)


def text_rows(session: palm_demo.Session, corpus: Path, kept: Path | None) -> tuple[Sequence[Row], str]:
    """All rows about text, and the matrix of scopes as Markdown, plotted beside this file."""
    unread = Unread(corpus)
    rows = [*predicted(session, unread), *written(session, unread, kept)]
    matrix = ScopeMatrix(session, unread)
    if not matrix.authors:
        return rows, ""
    matrix.plot(Path(__file__).with_name("scopes.png"))
    return [*rows, *matrix.rows()], matrix.table()
