"""What the README prints can be typed: in an empty folder, by somebody who has installed the package."""

import ast
import re
import shlex
import subprocess
import sys

import pytest

from tests.package.conftest import ROOT

NOT_RUN = {
    "make demo": "downloads",
    "pip install": "downloads",
    "/ADDRESS/": "an address to fill in",
    r"Scripts\palm-demo": "Windows",
    "--engine ray": "tests/serving and tests/gallery run it, in a minute each",
    "s3://": "tests/gallery runs it, with a server",
    "palm_demo.space deploy": "an account on the Hub",
    "PALM_DEMO_MCP": "tests/ui runs it",
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


def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## The house")[0]


def python_blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", readme(), re.MULTILINE | re.DOTALL)


def shell_blocks() -> list[str]:
    """Indented blocks, each after an empty line."""
    found = re.findall(r"(?:^ {4}\S.*\n)+", re.sub(r"```.*?```", "", readme(), flags=re.DOTALL), re.MULTILINE)
    return ["".join(line.removeprefix("    ") for line in block.splitlines(True)) for block in found]


def runs(block: str) -> bool:
    return not any(part in block for part in NOT_RUN)


def test_every_reason_not_to_run_a_block_has_one():
    blocks = python_blocks() + shell_blocks()
    assert [part for part in NOT_RUN if not any(part in block for block in blocks)] == []
    assert sum(map(runs, python_blocks())) >= 5 and sum(map(runs, shell_blocks())) >= 2


def test_names_in_snippets_are_defined():
    """Those that are not run as well."""
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F821,F823,E9", "-"]
    done = subprocess.run(
        command, input="\n".join(python_blocks()), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_files_in_snippets_are_written_by_snippets():
    text = "\n".join(filter(runs, python_blocks() + shell_blocks()))
    files = set(re.findall(r"[\w./-]+\.(?:png|mp4|txt|pt|jpg)\b", text))
    assert files and all(name.startswith("samples/") for name in files)


@pytest.mark.slow
def test_python_snippets_run_as_printed(installed, empty):
    blocks = repr([block for block in python_blocks() if runs(block)])
    done = subprocess.run(
        [installed.python, "-c", RUN_PYTHON],
        cwd=empty,
        env=installed.environ,
        input=blocks,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("block", [*filter(runs, shell_blocks())], ids=lambda block: block.split("  ")[0])
def test_shell_commands_run_as_printed(block, installed, empty):
    installed.run("bash", "-euo", "pipefail", "-c", block, cwd=empty)


def searches() -> list[str]:
    """What the README searches for, in the gallery that there is at first."""
    in_python = [
        ast.literal_eval(node.args[0])
        for block in python_blocks()
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.Call) and getattr(node.func, "attr", None) == "search"
    ]
    lines = [shlex.split(line) for block in shell_blocks() for line in block.splitlines()]
    return in_python + [line[2] for line in lines if line[:2] == ["palm-demo", "search"]]


@pytest.mark.parametrize("words", searches())
def test_a_search_finds_what_it_says(words, session):
    assert session.search(words, k=1)[0].caption == words
