"""Where a tab comes from: its paper, and the lines of code that do what the paper says."""

import html
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import palm_demo

ROOT = Path(palm_demo.__file__).parents[1]


class Paper(NamedTuple):
    title: str
    authors: str
    address: str


def sources(paper: Paper, code: Sequence[type | Callable], repository: str | None) -> str:
    """A paragraph of HTML.

    code: the classes and functions themselves, whose places are looked up and so are never out of date.
    repository: an address such as https://github.com/someone/palm_demo that the places link to; None
    shows them alone.
    """
    after = f"After {_link(paper.address, html.escape(paper.title))}, {html.escape(paper.authors)}."
    if not code:
        return f"<p class='paper'>{after}</p>"
    return f"<p class='paper'>{after} In code: {', '.join(_place(one, repository) for one in code)}.</p>"


def _place(one: type | Callable, repository: str | None) -> str:
    one = inspect.unwrap(one)
    path = Path(inspect.getfile(one)).relative_to(ROOT).as_posix()
    shown = f"<code>{path} · {html.escape(one.__qualname__)}</code>"
    if repository is None:
        return shown
    _, line = inspect.getsourcelines(one)
    return _link(f"{repository}/blob/main/{path}#L{line}", shown)


def _link(address: str, shown: str) -> str:
    return f"<a href='{html.escape(address)}' target='_blank' rel='noopener'>{shown}</a>"
