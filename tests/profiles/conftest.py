"""A Hub with released weights that are a few numbers large, and profiles that name them."""

from collections.abc import Iterator

import huggingface_hub
import pytest

from tests.hub import Hub, serve


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Iterator[Hub]:
    """A Hub that this process' client takes for the real one, with an empty cache and no token."""
    constants = huggingface_hub.constants
    with serve() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 2)
        monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
        for module in ("file_download", "utils._http"):
            monkeypatch.setattr(f"huggingface_hub.{module}.time", _Hasty)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield hub


class _Hasty:
    """The Hub's client rests between tries."""

    @staticmethod
    def sleep(seconds: float) -> None: ...
