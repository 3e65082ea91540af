"""What README and docs print can be typed: in an empty folder, by somebody who has installed the package."""

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.package.conftest import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)

NOT_RUN = {
    "make ": "downloads, or runs all tests",
    "pip install": "downloads",
    "/ADDRESS/": "an address to fill in",
    r"Scripts\palm-demo": "Windows",
    "palm-demo serve": "tests/serving runs it",
    "--engine ray": "tests/serving and tests/gallery run it, in a minute each",
    "s3://": "tests/gallery runs it, with a server",
    "palm_demo.space": "a checkout, and an account on the Hub: tests/space runs it",
    "PALM_DEMO_MCP": "tests/ui runs it",
    "gradio_client": "tests/ui runs it",
    "benchmarks.": "hours",
    "palm_demo.training": "days",
    'load("hub")': "downloads",
    "palm_1b_8k_v0.pt": "downloads",
    "snapshot_download": "downloads",
}
"""What a block has in it that is not run here, and why."""

RUN_PYTHON = """
import ast, sys
names = {}
for block in ast.literal_eval(sys.stdin.read()):
    lines = block.splitlines()
    for statement in ast.parse(block).body:
        code = ast.unparse(statement)
        if not isinstance(statement, ast.Expr):
            exec(code, names)
            continue
        value = eval(code, names)
        _, told, wanted = lines[statement.end_lineno - 1].partition("  # -> ")
        assert not told or value == wanted, f"{code} gives {value!r}, not {wanted!r}"
"""
"""Blocks one after another, as in a console. `# -> words` after an expression says what it gives."""


def blocks(page: Path, language: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def runs(block: str) -> bool:
    return not any(part in block for part in NOT_RUN)


def run_of(page: Path, language: str) -> list[str]:
    return [block for block in blocks(page, language) if runs(block)]


def test_every_reason_not_to_run_a_block_has_one():
    every = [block for page in PAGES for language in ("python", "bash") for block in blocks(page, language)]
    assert [part for part in NOT_RUN if not any(part in block for block in every)] == []
    assert len([*filter(runs, every)]) >= 15


@every_page
def test_names_in_snippets_are_defined(page):
    """Those that are not run as well."""
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F821,F823,E9", "-"]
    text = "\n".join(blocks(page, "python"))
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@every_page
def test_files_in_snippets_are_written_by_snippets(page):
    text = "\n".join([*run_of(page, "python"), *run_of(page, "bash")])
    files = set(re.findall(r"[\w./-]+\.(?:png|mp4|txt|pt|jpg)\b", text))
    assert all(name.startswith("samples/") for name in files)
    assert not files or "samples samples" in text or 'write_samples("samples")' in text


@pytest.mark.slow
@every_page
def test_python_snippets_run_as_printed(page, installed, empty):
    done = subprocess.run(
        [installed.python, "-c", RUN_PYTHON],
        cwd=empty,
        env=installed.environ,
        input=repr(run_of(page, "python")),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@every_page
def test_shell_commands_run_as_printed(page, installed, empty):
    installed.run("bash", "-euo", "pipefail", "-c", "\n".join(run_of(page, "bash")), cwd=empty)


def searches() -> list[str]:
    """Searches for nothing but words, in the gallery that there is at first."""
    found = []
    for page in PAGES:
        for block in blocks(page, "python"):
            for node in ast.walk(ast.parse(block)):
                if isinstance(node, ast.Call) and getattr(node.func, "attr", None) == "search":
                    plain = {keyword.arg for keyword in node.keywords} <= {"k"}
                    found += [
                        words.value for words in node.args[:1] if plain and isinstance(words, ast.Constant)
                    ]
        for line in "".join(blocks(page, "bash")).splitlines():
            words = shlex.split(line, comments=True)
            found += [words[2]] if words[:2] == ["palm-demo", "search"] else []
    return sorted(set(found))


@pytest.mark.parametrize("words", searches())
def test_a_search_finds_what_it_says(words, session):
    assert words in session.search(words, k=1)[0].caption
