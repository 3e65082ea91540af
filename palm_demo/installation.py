"""Where this copy of palm_demo has its files: in a checkout, or inside a package that pip installed.

In a checkout `assets/` and the Spacefile lie beside the package; a wheel has them inside it, under `data/`
(`hatch_build.py` puts them there). No other module tells the two apart.
"""

import json
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from platformdirs import user_data_path

NAME = "palm-demo"
"""What pip calls it."""

PROFILE_VARIABLE, GALLERY_VARIABLE = "PALM_DEMO_PROFILE", "PALM_DEMO_GALLERY"
"""Of the environment: which weights, and the gallery of every profile, a folder or s3://…"""

_PACKAGE = Path(__file__).resolve().parent
_PACKAGED = _PACKAGE / "data"

INSTALLED = _PACKAGED.is_dir()
"""Whether pip put this copy here. An editable installation is a checkout."""

COMMAND = NAME if INSTALLED else f"python -m {_PACKAGE.name}"
"""How the command line is called. It works in a checkout that was never installed, too."""

ROOT = _PACKAGED if INSTALLED else _PACKAGE.parent
ASSETS = ROOT / "assets"
SPACEFILE = ROOT / "Spacefile"


def data_folder() -> Path:
    """Where a user's galleries lie by default: the checkout, or for an installed copy the user's own data
    folder, such as ~/.local/share/palm-demo on Linux. Nothing is made there."""
    return user_data_path(NAME, appauthor=False) if INSTALLED else ROOT


def pip_install(extra: str) -> str:
    """The command that adds an extra to this copy, and where to give it: `pip install -e ".[ray]"` in the
    checkout, or the same package again from where pip says that it came from.

    The command names no folder of this machine, for visitors of a page may read it. Double quotes are
    understood by every shell, also on Windows.
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
    """What pip wrote down (PEP 610) of a checkout, a file or a repository; nothing where it took an index."""
    try:
        recorded = distribution(NAME).read_text("direct_url.json")
    except PackageNotFoundError:
        return {}
    return json.loads(recorded) if recorded else {}
