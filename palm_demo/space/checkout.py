"""The files of a Space: those tracked by git, those the Spacefile allows, and those the app needs."""

import ast
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from palm_demo.concurrency import locked_cached_property
from palm_demo.errors import SpaceError
from palm_demo.internals.hub_client import matching
from palm_demo.settings import Settings, load_settings
from palm_demo.yaml_files import lines_of

ALWAYS = ("Spacefile", "README.md", "requirements.txt")
DATA = "assets/"


@dataclass(frozen=True)
class Checkout:
    """A git checkout with a Spacefile. Names of files are relative paths with forward slashes."""

    root: Path

    @property
    def spacefile(self) -> Path:
        """The path of the Spacefile."""
        return self.root / "Spacefile"

    @locked_cached_property
    def settings(self) -> Settings:
        """The settings in the Spacefile. Raises FileError when it has mistakes."""
        return load_settings(self.spacefile)

    @locked_cached_property
    def tracked(self) -> list[str]:
        """Names of the files that git tracks and that exist. Raises SpaceError outside of git."""
        return self._listed()

    @locked_cached_property
    def allowed(self) -> list[str]:
        """The tracked files that the Spacefile allows, which go to the Space."""
        return self.matching(self.settings.files.allow)

    @property
    def left_out(self) -> list[str]:
        """Files that the Spacefile allows but git does not track."""
        return matching(self._listed("--others", "--exclude-standard"), self.settings.files.allow)

    @property
    def needed(self) -> set[str]:
        """The files that the app cannot run without.

        These are the modules that it imports, directly or not, the data beside them and in assets/,
        and what the Hub reads.
        """
        modules = self._imported(self.settings.runtime.app_file)
        packages = {PurePosixPath(name).parent for name in modules} - {PurePosixPath(".")}
        files = [name for name in self.tracked if not name.endswith(".py")]
        data = {name for name in files if name.startswith(DATA) or PurePosixPath(name).parent in packages}
        return modules | data | set(ALWAYS)

    def matching(self, patterns: tuple[str, ...]) -> list[str]:
        """The tracked files that match one of the patterns, as the Hub's client matches them."""
        return matching(self.tracked, patterns)

    def bytes_of(self, name: str) -> int:
        """The size of a file in bytes."""
        return (self.root / name).stat().st_size

    def line_of(self, key: str) -> str:
        """The place of a key in the Spacefile, such as Spacefile:12."""
        return f"{self.spacefile.name}:{lines_of(self.spacefile).get(key, 1)}"

    def _listed(self, *options: str) -> list[str]:
        command = ["git", "ls-files", "-z", *options]
        try:
            listed = subprocess.run(command, cwd=self.root, capture_output=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError) as error:
            raise SpaceError(
                f"git does not say which files belong to {self.root}; work in a clone of the repository"
            ) from error
        names = [name for name in os.fsdecode(listed).split("\0") if name]
        return sorted(name for name in set(names) if (self.root / name).is_file())

    def _imported(self, start: str) -> set[str]:
        """A file and all files of the checkout that it imports, directly or not."""
        modules = {_dotted(name): name for name in self.tracked if name.endswith(".py")}
        found: set[str] = set()
        ahead = [start] if start in self.tracked else []
        while ahead:
            name = ahead.pop()
            if name not in found:
                found.add(name)
                ahead += [modules[module] for module in _mentioned(self.root / name) if module in modules]
        return found | {start}


def _dotted(name: str) -> str:
    return name.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def _mentioned(path: Path) -> Iterator[str]:
    """The modules that a file imports anywhere, with the packages that contain them."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError) as error:
        raise SpaceError(f"{path} is not Python: {error}; mend it first") from error
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[:length]) for length in range(1, len(parts) + 1))
