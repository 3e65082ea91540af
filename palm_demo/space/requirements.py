"""The lines of requirements.txt, which the Hub installs."""

from collections.abc import Iterator

from packaging.requirements import InvalidRequirement, Requirement

from palm_demo.space.checkout import Checkout

FILE = "requirements.txt"


def lines(checkout: Checkout) -> Iterator[tuple[str, str]]:
    """Where it stands, such as requirements.txt:12, and what: neither comments nor options. None without
    the file, which is needed and so found elsewhere."""
    path = checkout.root / FILE
    if not path.is_file():
        return
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        wanted = line.partition("#")[0].strip()
        if wanted and not wanted.startswith("-"):
            yield f"{FILE}:{number}", wanted


def required(checkout: Checkout) -> Iterator[tuple[str, Requirement]]:
    """The same, of lines that are requirements."""
    for place, wanted in lines(checkout):
        try:
            yield place, Requirement(wanted)
        except InvalidRequirement:
            continue
