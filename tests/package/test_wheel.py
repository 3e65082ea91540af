"""What pip installs is the whole thing: it works in any folder, without the checkout, without a network."""

import hashlib
import json
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path
from zipfile import Path as InZip
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement

import palm_demo
from tests.package.conftest import ROOT, environment
from tests.ports import free_port

pytestmark = pytest.mark.slow

MOST_BYTES = 100_000_000
PATIENCE_SECONDS = 180
VERBS = """
import json
from random import Random
import palm_demo
from palm_demo import world

session = palm_demo.load()
cat = world.SceneSpec("cat", color="blue")
picture = world.render(world.scene_of_spec(Random("cat"), cat), 192)
print(json.dumps({
    "file": palm_demo.__file__,
    "version": palm_demo.__version__,
    "palm": session.generate("It was a dark night, and", scope="doyle", max_new_tokens=8, seed=1),
    "flamingo": session.answer("<media> question: what color is the background? answer:", [picture]),
    "mammut": session.caption(picture),
}))
"""


def contents(wheel: Path) -> dict[str, str]:
    """Name -> SHA-256."""
    with ZipFile(wheel) as archive:
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}


def metadata(wheel: Path) -> Distribution:
    (info,) = (path for path in InZip(wheel).iterdir() if path.name.endswith(".dist-info"))
    return PathDistribution(info)


def test_the_wheel_has_all_that_comes_along_and_stays_small(built):
    assert built.wheel.stat().st_size < MOST_BYTES and built.sdist.stat().st_size < MOST_BYTES
    names = contents(built.wheel).keys()
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "assets", "Spacefile", "palm_demo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    wanted = {name if name.startswith("palm_demo/") else f"palm_demo/data/{name}" for name in tracked}
    packed = {name for name in names if ".dist-info/" not in name}
    assert packed == wanted and "palm_demo/py.typed" in packed
    licences = {name.rpartition("/")[2] for name in names if "/licenses/" in name}
    assert licences == {"LICENSE", "LICENSE-APACHE-2.0.txt"}


def test_the_wheel_asks_for_what_a_space_installs(built):
    of_wheel = metadata(built.wheel)
    needs = [Requirement(line) for line in of_wheel.requires]
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    listed = [line.partition("#")[0].strip() for line in lines]
    of_no_extra = {str(need) for need in needs if "extra" not in str(need.marker)}
    assert of_no_extra == {str(Requirement(line.lower())) for line in listed if line}
    assert of_wheel.version == palm_demo.__version__
    assert [script.value for script in of_wheel.entry_points] == ["palm_demo.cli.main:main"]


def test_the_sdist_builds_the_same_wheel(built, tmp_path):
    command = [
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--wheel",
        "--outdir",
        str(tmp_path),
        str(ROOT),
    ]
    subprocess.run(command, capture_output=True, check=True)
    (from_checkout,) = tmp_path.glob("*.whl")
    assert from_checkout.name == built.wheel.name
    assert contents(from_checkout) == contents(built.wheel)
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "LICENSE", "Makefile", "tests/package/test_wheel.py"} <= names


def test_every_model_answers_in_an_empty_folder(installed, empty):
    said = json.loads(installed.run(installed.python, "-c", VERBS, cwd=empty))
    assert installed.folder in Path(said["file"]).parents
    assert said["version"] == palm_demo.__version__
    assert said["palm"].strip()
    assert (said["flamingo"], said["mammut"]) == ("blue", "a cat on a blue background")
    assert list(empty.iterdir()) == []


def test_the_command_tells_its_version_and_where_the_gallery_is(installed, empty):
    assert installed.run("palm-demo", "--version", cwd=empty) == f"palm-demo {palm_demo.__version__}\n"
    told = installed.run("palm-demo", "serve", "--help", cwd=empty)
    assert "Usage: palm-demo serve" in told and "--profile" in told
    find = "from palm_demo.session.starter_gallery import gallery_place; print(gallery_place())"
    assert installed.run(installed.python, "-c", find, cwd=empty).startswith(str(installed.home))


def test_the_page_comes_up_from_an_empty_folder(installed, empty):
    port = free_port()
    environ = {**installed.environ, "PORT": str(port)}
    log = empty.parent / "log"
    with log.open("w") as told:
        page = subprocess.Popen(["palm-demo", "serve"], cwd=empty, env=environ, stdout=told, stderr=told)
    try:
        address = f"http://127.0.0.1:{port}"
        assert answered(f"{address}/healthz", page) == b"ok", log.read_text()
        assert b"gradio" in answered(address, page)
    finally:
        page.terminate()
        page.wait()
    assert list(empty.iterdir()) == []
    assert [path.name for path in installed.home.rglob("gallery")] == ["gallery"]
    assert not list(installed.folder.rglob("gallery/*.lance"))


def test_an_editable_installation_stays_a_checkout(tmp_path, empty):
    build = f"from hatchling.build import build_editable; print(build_editable({str(tmp_path)!r}))"
    done = subprocess.run([sys.executable, "-c", build], cwd=ROOT, capture_output=True, text=True, check=True)
    wheel = tmp_path / done.stdout.split()[-1]
    assert not [name for name in contents(wheel) if name.startswith("palm_demo/")]
    editable = environment(tmp_path, wheel)
    code = "from palm_demo import installation as i; print(i.INSTALLED, i.ROOT, i.data_folder())"
    assert editable.run(editable.python, "-c", code, cwd=empty).split() == ["False", str(ROOT), str(ROOT)]


def answered(address: str, page: subprocess.Popen) -> bytes:
    """What a server says, once it says something."""
    until = time.monotonic() + PATIENCE_SECONDS
    while page.poll() is None and time.monotonic() < until:
        try:
            with urllib.request.urlopen(address) as answer:
                return answer.read()
        except urllib.error.URLError:
            time.sleep(0.2)
    return b""
