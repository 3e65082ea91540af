"""A small checkout with an app, and a Hub of the tests' own."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import huggingface_hub
import pytest

from palm_demo.settings import SPACEFILE
from palm_demo.space import deploying
from palm_demo.space.__main__ import app
from tests.hub import TOKEN, Hub, serve

APP = """from package import thing

print(thing)
"""

LOCK = """# tested together
gradio==6.31.0            # via spaces, package
orjson==3.13.0 ; python_full_version >= '3.11'  # via gradio
orjson==3.11.0 ; python_full_version < '3.11'  # via gradio
pytest==9.2.0             # via package
regex==2026.11.19         # via Transformers
sympy==1.14.0             # via torch
tomli==2.5.0 ; python_full_version < '3.11'  # via orjson
transformers==5.24.0      # via package
winsound==1.0 ; sys_platform == 'win32'  # via gradio
yarl==1.25.1              # via orjson, pytest
"""


def git(root: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True)


class Folder:
    """A checkout that tests change. `run` gives a command's status; what it says is captured."""

    def __init__(self, root: Path):
        self.root = root

    def write(self, name: str, content: str | bytes) -> None:
        """A file, which git knows from then on."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        git(self.root, "add", "--force", name)

    def change(self, name: str, old: str, new: str) -> None:
        text = (self.root / name).read_text(encoding="utf-8")
        assert old in text
        self.write(name, text.replace(old, new))

    def run(self, *arguments: str) -> int:
        return app(arguments, obj=self.root, standalone_mode=False) or 0


@pytest.fixture
def folder(tmp_path) -> Folder:
    """With nothing to mend in it."""
    root = tmp_path / "checkout"
    root.mkdir()
    git(root, "init", "--quiet")
    made = Folder(root)
    made.write("Spacefile", SPACEFILE.read_text(encoding="utf-8"))
    made.change("Spacefile", "    - LICENSE\n", "")
    made.change("Spacefile", "    - palm_demo/**\n", "    - package/**\n")
    made.write("README.md", "# A page\n\n---\n\nIts text.\n")
    made.write("requirements.txt", "gradio>=6.31,<7   # the page\n")
    made.write("constraints.txt", LOCK)
    made.write("app.py", APP)
    made.write("package/__init__.py", "")
    made.write("package/thing.py", "thing = 1\n")
    made.write("package/things.txt", "one\n")
    made.write("assets/weights.bin", bytes(range(256)))
    made.write("tests/test_app.py", "")
    assert made.run("render") == 0
    return made


@pytest.fixture
def hub(monkeypatch) -> Iterator[Hub]:
    """A Hub that this process' client takes for the real one, and whose owner is logged in."""
    with serve() as hub:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr(deploying, "POLL_SECONDS", 0.01)
        yield hub


@pytest.fixture
def lines(capsys) -> Callable[[], list[str]]:
    """What was said since it was asked last, on both streams."""

    def said() -> list[str]:
        told = capsys.readouterr()
        return [*told.out.splitlines(), *told.err.splitlines()]

    return said
