"""The tree of docs/architecture.md is the tree."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
LINE = re.compile(r"^    ( *)(\S+)  +\S.*$")


def listed() -> set[str]:
    """Paths of the tree of docs/architecture.md, by its indentation."""
    text = (
        (ROOT / "docs/architecture.md").read_text(encoding="utf-8").split("## The tree")[1].split("\n## ")[0]
    )
    folders: list[str] = []
    found = set()
    for line in text.splitlines():
        if match := LINE.match(line):
            depth = len(match[1]) // 2
            path = "".join([*folders[:depth], match[2]])
            if path.endswith("/"):
                folders[depth:] = [match[2]]
            found.add(path)
    return found


def tracked() -> set[str]:
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(names.stdout.split())


def test_every_module_stands_in_the_tree():
    modules = {n for n in tracked() if n.startswith("palm_demo/") and n.endswith(".py")}
    modules |= {n for n in tracked() if n.startswith("benchmarks/") and n.endswith(".py")}
    assert {m for m in modules if not m.endswith("__init__.py")} <= listed()


def test_everything_in_the_tree_exists():
    assert listed()
    assert [path for path in sorted(listed()) if not (ROOT / path).exists()] == []
