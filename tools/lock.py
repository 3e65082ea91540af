"""`python tools/lock.py {current,newest,oldest}`: prints versions within the ranges, found by uv.

current: those of constraints.txt, and new ones only of what is newly asked for or has left its range.
newest: of all extras, for every Python and system that pyproject.toml names, as in constraints.txt.
oldest: the lowest of all that the ranges name, for this Python, with the newest of what those bring.
"""

import fnmatch
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
PROJECT = ROOT / "pyproject.toml"
LOCK = ROOT / "constraints.txt"

BUILDS = ("torch", "torchvision")
"""Their builds differ by machine, so they are bounded by the ranges and not pinned."""
OF_BUILDS = ("triton", "nvidia-*", "cuda-*")
"""What comes with such a build alone."""

EVERYWHERE = (
    " and (sys_platform == 'darwin' or sys_platform == 'linux' or sys_platform == 'win32')",
    " and python_full_version < '3.14'",
    "python_full_version < '3.14' and ",
    " ; python_full_version < '3.14'",
)
"""What uv adds to markers for the environments of pyproject.toml, in all of which a lock is used."""

HEADER = """\
# Versions that were tested together, for `pip install -c constraints.txt`; written by `make upgrade`. torch
# and torchvision are missing, whose builds differ by machine: their ranges in requirements.txt bound them.
# After each version stands what asks for it.
"""


def current() -> Iterator[str]:
    yield from _lock(LOCK.read_text(encoding="utf-8"))


def newest() -> Iterator[str]:
    yield from _lock()


def _lock(preferred: str = "") -> Iterator[str]:
    """The lines of a lock, with versions of another one wherever the ranges admit them."""
    lowest = re.search(r'requires-python = ">=([\d.]+)"', PROJECT.read_text(encoding="utf-8"))[1]
    yield from HEADER.splitlines()
    lines = _resolved("--universal", "--python-version", lowest, "--all-extras", preferred=preferred)
    yield from _without((*BUILDS, *OF_BUILDS), lines)


def oldest() -> Iterator[str]:
    """Exact versions for one Python. A version without a wheel for it is too old."""
    names = [match[1] for match in re.finditer(r"^([a-z][\w-]*)==", LOCK.read_text(encoding="utf-8"), re.M)]
    wheels = [f"--only-binary={name}" for name in sorted({*names, *BUILDS})]
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    options = ("--resolution=lowest-direct", "--python-version", python, "--extra=test", *wheels)
    yield from _without(OF_BUILDS, _resolved(*options))


def _resolved(*options: str, preferred: str = "") -> list[str]:
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header"]
    command += ["--annotation-style=line", *options, str(PROJECT)]
    with TemporaryDirectory() as folder:
        versions = Path(folder, LOCK.name)
        versions.write_text(preferred, encoding="utf-8")
        subprocess.run([*command, "--output-file", versions], stdout=subprocess.DEVNULL, check=True)
        return versions.read_text(encoding="utf-8").splitlines()


def _without(patterns: tuple[str, ...], lines: list[str]) -> Iterator[str]:
    for line in lines:
        if not any(fnmatch.fnmatch(line.partition("==")[0], pattern) for pattern in patterns):
            version, via, askers = line.partition("  # via ")
            for part in EVERYWHERE:
                version = version.replace(part, "")
            yield version + via + askers.replace(" (pyproject.toml)", "").replace(", -c (workspace)", "")


if __name__ == "__main__":
    verbs = {"current": current, "newest": newest, "oldest": oldest}
    if len(sys.argv) != 2 or sys.argv[1] not in verbs:
        sys.exit(__doc__)
    try:
        print(*verbs[sys.argv[1]](), sep="\n")
    except subprocess.CalledProcessError as error:
        sys.exit(f"uv found no versions that fit together (status {error.returncode}); it says why above")
