"""A Hub with released weights that are a few numbers large, and a profile that names them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import huggingface_hub
import pytest

from tests.hub import Hub, serve

from .weights import PROFILE, publish


class _Hasty:
    """The Hub's client rests between tries."""

    @staticmethod
    def sleep(seconds: float) -> None: ...


@contextmanager
def taken_for_the_hub(cache: Path) -> Iterator[Hub]:
    """A Hub that this process' client takes for the real one, with an empty cache and no token."""
    with serve() as hub, pytest.MonkeyPatch.context() as patch:
        settings = {
            "ENDPOINT": hub.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_CACHE": str(cache),
            "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_ETAG_TIMEOUT": 2,
            "HF_HUB_DOWNLOAD_TIMEOUT": 0.2,
        }
        for name, value in settings.items():
            patch.setattr(huggingface_hub.constants, name, value)
        for module in ("file_download", "utils._http"):
            patch.setattr(f"huggingface_hub.{module}.time", _Hasty)
        patch.delenv("HF_TOKEN", raising=False)
        yield hub


@pytest.fixture
def hub(tmp_path) -> Iterator[Hub]:
    with taken_for_the_hub(tmp_path / "cache") as hub:
        yield hub


@pytest.fixture(scope="module")
def filled_hub(tmp_path_factory) -> Iterator[Hub]:
    """With all that the profile names."""
    with taken_for_the_hub(tmp_path_factory.mktemp("cache")) as hub:
        publish(hub)
        yield hub


@pytest.fixture(scope="session")
def profile(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("profile") / "small.yaml"
    path.write_text(PROFILE, encoding="utf-8")
    return path
