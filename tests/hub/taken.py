"""A Hub that this process' client takes for the real one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import huggingface_hub
import pytest

from tests.hub.serving import serve
from tests.hub.state import Hub


class _Hasty:
    """The Hub's client rests between tries."""

    @staticmethod
    def sleep(seconds: float) -> None: ...


@contextmanager
def taken_for_the_hub(cache: Path) -> Iterator[Hub]:
    """Serves it, with an empty cache and no token."""
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
