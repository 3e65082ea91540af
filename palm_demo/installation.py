"""Where this copy of palm_demo has its files: in a checkout, or inside an installed package.

In a checkout, `assets/` and the Spacefile are beside the package; in a wheel they are inside it, under
`data/` (`hatch_build.py` puts them there). No other module distinguishes the two.
"""

import json
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from platformdirs import user_data_path

NAME = "palm-demo"
"""The name of the distribution and of the command."""

PROFILE_VARIABLE, GALLERY_VARIABLE = "PALM_DEMO_PROFILE", "PALM_DEMO_GALLERY"
"""Environment variables that name the weights, and the gallery of every profile, a folder or s3://…."""

_PACKAGE = Path(__file__).resolve().parent
_PACKAGED = _PACKAGE / "data"

INSTALLED = _PACKAGED.is_dir()
"""Whether pip installed this copy. An editable installation is a checkout."""

COMMAND = NAME if INSTALLED else f"python -m {_PACKAGE.name}"
"""How to call the command line. This also works in a checkout that was never installed."""

ROOT = _PACKAGED if INSTALLED else _PACKAGE.parent
ASSETS = ROOT / "assets"
SPACEFILE = ROOT / "Spacefile"


def data_folder() -> Path:
    """The folder for a user's galleries: the checkout, or the user's data folder for an installed copy.

    The data folder is for example ~/.local/share/palm-demo on Linux. Nothing is made there.
    """
    return user_data_path(NAME, appauthor=False) if INSTALLED else ROOT


def pip_install(extra: str) -> str:
    """The command that adds an extra to this copy, and where to run it.

    It is `pip install -e ".[ray]"` in the checkout, or the same package again from where pip got it.
    The command names no folder of this machine, because visitors of a page may read it. All shells
    understand double quotes, also on Windows.
    """
    if not INSTALLED:
        return f'pip install -e ".[{extra}]" in the checkout'
    origin = _origin()
    if "dir_info" in origin:
        return f'pip install ".[{extra}]" in the checkout'
    if repository := origin.get("vcs_info"):
        revision = f"@{repository['requested_revision']}" if "requested_revision" in repository else ""
        return f'pip install "{NAME}[{extra}] @ {repository["vcs"]}+{origin["url"]}{revision}"'
    if origin.get("url", "").startswith("file:"):
        wheel = origin["url"].rpartition("/")[2]
        return f'pip install "{wheel}[{extra}]" beside that file'
    address = f" @ {origin['url']}" if origin else ""
    return f'pip install "{NAME}[{extra}]{address}"'


def _origin() -> dict:
    """What pip recorded (PEP 610) about a checkout, file or repository; empty for a package from an
    index."""
    try:
        recorded = distribution(NAME).read_text("direct_url.json")
    except PackageNotFoundError:
        return {}
    return json.loads(recorded) if recorded else {}
