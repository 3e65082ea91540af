"""What `inside_zerogpu.py` and `inside_zerogpu_page.py` found in a process that they share."""

import ast
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
INSIDE = [Path(__file__).with_name(f"inside_zerogpu{part}.py") for part in ("", "_page")]
PLUGIN = "tests.serving.pretended_zerogpu"
PATIENCE_SECONDS = 300
TESTS = [
    node.name
    for file in INSIDE
    for node in ast.parse(file.read_text(encoding="utf-8")).body
    if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
]


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict[str, str]:
    """Name of a test -> what went wrong in it, nothing where it passed."""
    folder = tmp_path_factory.mktemp("zerogpu")
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", *INSIDE, "--noconftest", "-p", PLUGIN, f"--junitxml={report}"]
    set_here = {"OMP_NUM_THREADS": "1", "GRADIO_TEMP_DIR": str(folder), "GRADIO_ANALYTICS_ENABLED": "False"}
    with (folder / "said").open("w+") as said:
        inside = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **set_here},
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            inside.wait(PATIENCE_SECONDS)
        finally:
            with suppress(ProcessLookupError):  # the workers of one that was ended go on otherwise
                os.killpg(inside.pid, signal.SIGKILL)
        said.seek(0)
        assert report.is_file(), said.read()
    cases = ElementTree.parse(report).iter("testcase")
    return {case.get("name"): "\n".join(part.text or "" for part in case.iter("*")).strip() for case in cases}


@pytest.mark.parametrize("test", TESTS)
def test_on_zerogpu(found, test):
    assert found[test] == ""
