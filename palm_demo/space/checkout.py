"""The files of a Space: those that git knows, those that the Spacefile allows, those that the app needs."""

import ast
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
    """A folder of git's with a Spacefile in it. Names are paths from there, with slashes."""

    root: Path

    @property
    def spacefile(self) -> Path:
        return self.root / "Spacefile"

    @locked_cached_property
    def settings(self) -> Settings:
        """Raises FileError when the Spacefile has mistakes."""
        return load_settings(self.spacefile)

    @locked_cached_property
    def tracked(self) -> list[str]:
        """Names of the files that git knows and that are there. Raises SpaceError outside of git."""
        return self._listed()

    @locked_cached_property
    def allowed(self) -> list[str]:
        """The tracked files that the Spacefile allows: these go to the Space."""
        return self.matching(self.settings.files.allow)

    @property
    def left_out(self) -> list[str]:
        """Files that are allowed, but that git has not been told of."""
        return _matching(self._listed("--others", "--exclude-standard"), self.settings.files.allow)

    @property
    def needed(self) -> set[str]:
        """What the app cannot do without: the modules that it imports, and those that they import, the
        data beside them and in assets/, and what the Hub reads."""
        modules = self._imported(self.settings.runtime.app_file)
        packages = {PurePosixPath(name).parent for name in modules} - {PurePosixPath(".")}
        files = [name for name in self.tracked if not name.endswith(".py")]
        data = {name for name in files if name.startswith(DATA) or PurePosixPath(name).parent in packages}
        return modules | data | set(ALWAYS)

    def matching(self, patterns: tuple[str, ...]) -> list[str]:
        """The tracked files that one of the patterns fits, as the Hub's client reads patterns."""
        return _matching(self.tracked, patterns)

    def bytes_of(self, name: str) -> int:
        return (self.root / name).stat().st_size

    def line_of(self, key: str) -> str:
        """Where a key of the Spacefile stands, such as Spacefile:12."""
        return f"{self.spacefile.name}:{lines_of(self.spacefile).get(key, 1)}"

    def _listed(self, *options: str) -> list[str]:
        command = ["git", "ls-files", "-z", *options]
        try:
            listed = subprocess.run(command, cwd=self.root, capture_output=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError) as error:
            raise SpaceError(
                f"git does not say which files belong to {self.root}; work in a clone of the repository"
            ) from error
        names = [name for name in listed.decode().split("\0") if name]
        return sorted(name for name in set(names) if (self.root / name).is_file())

    def _imported(self, start: str) -> set[str]:
        """The file and all files of the checkout that it leads to by imports."""
        modules = {_dotted(name): name for name in self.tracked if name.endswith(".py")}
        found: set[str] = set()
        ahead = [start] if start in self.tracked else []
        while ahead:
            name = ahead.pop()
            if name not in found:
                found.add(name)
                ahead += [modules[module] for module in _mentioned(self.root / name) if module in modules]
        return found | {start}


def _matching(names: list[str], patterns: tuple[str, ...]) -> list[str]:
    return matching(names, patterns)


def _dotted(name: str) -> str:
    return name.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def _mentioned(path: Path) -> Iterator[str]:
    """Modules that a file imports, wherever in it, with the packages around them."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError) as error:
        raise SpaceError(f"{path} is no Python: {error}; mend it first") from error
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
