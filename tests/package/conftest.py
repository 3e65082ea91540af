"""The package as a user has it: built, and installed where no checkout is in sight."""

import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]


class Built(NamedTuple):
    """sdist: made from the checkout. wheel: made from that sdist, as `build` and `pip` do it."""

    sdist: Path
    wheel: Path


@dataclass(frozen=True)
class Installed:
    """An environment with the package, in which torch and the rest are those that run the tests.
    home: of the user whom commands run as."""

    folder: Path
    home: Path

    @property
    def python(self) -> str:
        return str(self._scripts / f"python{'.exe' if os.name == 'nt' else ''}")

    @property
    def environ(self) -> Mapping[str, str]:
        """What a terminal with this environment activated has: nothing of the checkout's."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTHON", "PALM_DEMO_", "GRADIO_", "XDG_"))
        }
        path = f"{self._scripts}{os.pathsep}{kept['PATH']}"
        return {**kept, "PATH": path, "HOME": str(self.home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}

    def run(self, *command: str, cwd: Path) -> str:
        """What a command prints. Its output is part of the failure where it fails."""
        done = subprocess.run(
            command, cwd=cwd, env=self.environ, capture_output=True, encoding="utf-8", check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    @property
    def _scripts(self) -> Path:
        return self.folder / ("Scripts" if os.name == "nt" else "bin")


def environment(folder: Path, wheel: Path) -> Installed:
    """A fresh environment with this wheel. It borrows the packages of the running one, without their .pth
    files, so that an editable installation of the checkout is not among them."""
    venv.create(folder / "venv", with_pip=False)
    (folder / "home").mkdir()
    made = Installed(folder / "venv", folder / "home")
    pip = (sys.executable, "-m", "pip", "--quiet", "--python", made.python)
    subprocess.run([*pip, "install", "--no-index", "--no-deps", str(wheel)], check=True)
    own = made.run(
        made.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder
    ).strip()
    Path(own, "borrowed.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    return made


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Built:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return Built(sdist, wheel)


@pytest.fixture(scope="session")
def installed(built, tmp_path_factory) -> Installed:
    return environment(tmp_path_factory.mktemp("installed"), built.wheel)


@pytest.fixture
def empty(tmp_path) -> Path:
    """A folder with nothing in it, far from the checkout."""
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder
