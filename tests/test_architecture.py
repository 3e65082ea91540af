"""Rules of the code that import-linter does not check (its layers stand in pyproject.toml)."""

import ast
import importlib
import os
import re
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "palm_demo"
FILES = sorted(PACKAGE.rglob("*.py"))


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def package_of(module: str) -> str:
    return [*module.split("."), ""][1]


@cache
def imports(path: Path) -> frozenset[str]:
    """Modules that a file imports, wherever in it."""
    found, modules = set(), {dotted(file) for file in FILES}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            parts = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {part if part in modules else node.module for part in parts}
    return frozenset(found)


def test_undocumented_parts_of_libraries_are_imported_in_their_module_alone():
    hidden = re.compile(r"open_clip\.|gradio\.(?!components$)|.*hub\.repocard")
    knowing = {dotted(path) for path in FILES for module in imports(path) if hidden.match(module)}
    assert not {name for name in knowing if "internals" not in name and "insides" not in name}


def private_parts(path: Path) -> set[str]:
    """Names with an underscore before them that a file takes of torch, its tensors, gradio or its events."""
    text = path.read_text(encoding="utf-8")
    return set(re.findall(r"torch\.ops\.\w+|\b(?:torch|F|gr|weight|event|page|blocks)\._[a-z]\w+", text))


def test_private_parts_of_libraries_are_touched_in_their_module_alone():
    touching = {dotted(path) for path in FILES if private_parts(path)}
    assert touching == {"palm_demo.models.packed_weights", "palm_demo.ui.boundary.gradio_insides"}


def test_two_packages_alone_know_open_clip():
    knowing = [path for path in FILES if any(m.split(".")[0] == "open_clip" for m in imports(path))]
    assert {package_of(dotted(path)) for path in knowing} == {"models", "internals"}


def opens(path: Path) -> set[str]:
    """Whose `open` a file calls of those that decode pictures or videos."""
    calls = (
        node.func
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    )
    named = (call for call in calls if isinstance(call, ast.Attribute) and call.attr == "open")
    return {call.value.id for call in named if isinstance(call.value, ast.Name)} & {"Image", "av"}


def test_one_package_alone_decodes_pictures_and_videos_of_others():
    """The picture world opens its own sprites and writes its own videos, a gallery its own thumbnails."""
    opening = [path for path in FILES if opens(path)]
    assert {package_of(dotted(path)) for path in opening} <= {"media", "world", "gallery"}


def test_one_file_alone_knows_transformers():
    knowing = [path for path in FILES if any(m.split(".")[0] == "transformers" for m in imports(path))]
    assert [dotted(path) for path in knowing] == ["palm_demo.models.hf_language_models"]


def test_the_picture_world_needs_neither_torch_nor_the_rest():
    for path in PACKAGE.glob("world/**/*.py"):
        roots = {m.split(".")[0] for m in imports(path)}
        assert not roots & {"torch", "torchvision", "einops", "open_clip", "tokenizers"}
        known = {package_of(m) for m in imports(path) if m.startswith("palm_demo")}
        assert known <= {"world", "installation"}  # the latter: where the sprites are


FORBIDDEN = {"os.mkdir", "os.rename", "os.remove", "socket.connect", "subprocess.Popen"}
watched: list[tuple[str, tuple]] | None = None


def watch(event: str, arguments: tuple) -> None:
    """Notes what writes to a disk or reaches for a network while someone watches."""
    if watched is None:
        return
    opened_to_write = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if opened_to_write or event in FORBIDDEN:
        watched.append((event, arguments))


def test_importing_writes_nothing_and_calls_nobody(monkeypatch):
    """Modules of others are loaded by then: what is seen is what our own lines do."""
    global watched
    names = [dotted(path) for path in FILES if path.stem != "__main__"]
    for name in names:
        importlib.import_module(name)
    kept = {name: sys.modules.pop(name) for name in [*sys.modules] if name.split(".")[0] == "palm_demo"}
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    sys.addaudithook(watch)
    watched = []
    try:
        for name in names:
            importlib.import_module(name)
        assert watched == []
    finally:
        watched = None
        sys.modules.update(kept)
