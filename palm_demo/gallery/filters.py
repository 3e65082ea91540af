"""Which pictures a search looks at, without a visitor's text ever becoming SQL."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from palm_demo.arguments import is_unicode
from palm_demo.errors import GalleryError, shown

if TYPE_CHECKING:
    from lancedb.expr import Expr


FIRST_YEAR, LAST_YEAR = 1970, 2200
"""No picture was added before the first; nanoseconds since then fit 64 bits until after the last."""


@dataclass(frozen=True)
class Filters:
    """contains: words that the caption has, in that order, in any case. since: not added before then
    (UTC where it names no zone)."""

    contains: str | None = None
    since: datetime | None = None

    def __post_init__(self) -> None:
        """Raises GalleryError on words or a moment that no caption and no picture can have."""
        words = self.contains
        if words is not None and not (isinstance(words, str) and is_unicode(words)):
            raise GalleryError(f"contains is {shown(self.contains)}; give words (str) of valid Unicode")
        if self.since is not None:
            if not isinstance(self.since, datetime):
                raise GalleryError(f"since is {shown(self.since)}; give a datetime")
            if not FIRST_YEAR <= self.since.year <= LAST_YEAR:
                raise GalleryError(
                    f"since is in the year {self.since.year}; it can be {FIRST_YEAR} to {LAST_YEAR}"
                )

    def expression(self) -> Expr | None:
        """As LanceDB takes it: a tree of columns and values; None where everything may be found."""
        from lancedb.expr import col, lit  # importing lancedb takes over a second

        wanted = []
        if self.contains and self.contains.strip():
            wanted.append(col("caption").lower().contains(lit(self.contains.strip().lower())))
        if self.since is not None:
            wanted.append(col("added") >= lit(_in_utc(self.since)))
        if not wanted:
            return None
        both = wanted[0]
        for other in wanted[1:]:
            both &= other
        return both


EVERYTHING = Filters()


def read_since(text: str | None) -> datetime | None:
    """A day or a moment as people write it, "2026-01-31" or "2026-01-31T18:30"; None for no text.

    Raises GalleryError when it is neither.
    """
    if not text or not text.strip():
        return None
    try:
        return _in_utc(datetime.fromisoformat(text.strip()))
    except (ValueError, OverflowError) as error:
        raise GalleryError(f"{text!r:.40} is no date; write one such as 2026-01-31") from error


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment.astimezone(timezone.utc)
