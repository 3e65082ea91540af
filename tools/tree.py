"""`python tools/tree.py`: writes the tree of docs/architecture.md, a line for each module and package, from
the first sentences of their docstrings."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"
TREES = ("palm_demo", "benchmarks")
TREE = re.compile(r"(?<=^## The tree\n\n```text\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)
TOLD_AT = 28
"""Column of the sentences."""


def tree(root: Path = ROOT) -> str:
    """The lines of all packages in TREES, as git knows them."""
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=root, capture_output=True, text=True, check=True)
    modules = {Path(name) for name in listed.stdout.splitlines() if (root / name).is_file()}
    return "".join(line for top in TREES for line in _package(root, Path(top), modules, 0))


def with_tree(page: str, lines: str) -> str:
    """The page with these lines for its tree."""
    return TREE.sub(lambda _: lines, page)


def _package(root: Path, folder: Path, modules: set[Path], depth: int) -> Iterator[str]:
    yield _line(depth, f"{folder.name}/", root / folder / "__init__.py")
    here = sorted(name for name in modules if name.parent == folder and name.name != "__init__.py")
    yield from (_line(depth + 1, name.name, root / name) for name in here)
    for inner in sorted({name.parent for name in modules if name.parent.parent == folder}):
        yield from _package(root, inner, modules, depth + 1)


def _line(depth: int, name: str, module: Path) -> str:
    return f"{'  ' * depth}{name}".ljust(TOLD_AT) + f"{first_sentence(module)}\n"


def first_sentence(module: Path) -> str:
    """Of a module's docstring, without the full stop. Raises ValueError where it has none."""
    told = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8")))
    if told is None:
        raise ValueError(f"{module} has no docstring; say in one sentence what it is for")
    sentence = re.split(r"(?<!al)\.\s+(?=[A-Z`])", re.sub(r"\s+", " ", told.split("\n\n")[0]))[0]
    return sentence.rstrip(".:")


if __name__ == "__main__":
    PAGE.write_text(with_tree(PAGE.read_text(encoding="utf-8"), tree()), encoding="utf-8")
