"""An error that asks for an extra says how to get it, whichever way this copy was installed."""

import json
import os
from types import SimpleNamespace

import pytest

from palm_demo import installation
from palm_demo.installation import data_folder, pip_install

URL = "https://example.org/someone/palm_demo"
ORIGINS = {
    "an index": (None, 'pip install "palm-demo[ray]"'),
    "a folder": (
        {"url": "file:///home/me/palm_demo", "dir_info": {}},
        'pip install ".[ray]" in the checkout',
    ),
    "a repository": (
        {"url": URL, "vcs_info": {"vcs": "git", "commit_id": "a" * 40}},
        f'pip install "palm-demo[ray] @ git+{URL}"',
    ),
    "a branch": (
        {"url": URL, "vcs_info": {"vcs": "git", "commit_id": "a" * 40, "requested_revision": "dev"}},
        f'pip install "palm-demo[ray] @ git+{URL}@dev"',
    ),
    "a wheel": (
        {"url": "file:///home/me/palm_demo-0.1.0-py3-none-any.whl", "archive_info": {}},
        'pip install "palm_demo-0.1.0-py3-none-any.whl[ray]" beside that file',
    ),
    "a wheel elsewhere": (
        {"url": f"{URL}/palm_demo.whl", "archive_info": {}},
        f'pip install "palm-demo[ray] @ {URL}/palm_demo.whl"',
    ),
}


@pytest.mark.parametrize(("origin", "told"), ORIGINS.values(), ids=ORIGINS)
def test_an_extra_comes_from_where_the_package_came_from(origin, told, monkeypatch):
    recorded = None if origin is None else json.dumps(origin)
    monkeypatch.setattr(installation, "INSTALLED", True)
    monkeypatch.setattr(installation, "distribution", lambda _: SimpleNamespace(read_text=lambda _: recorded))
    assert pip_install("ray") == told
    assert "/home/me" not in told


def test_a_checkout_is_installed_where_it_lies():
    assert pip_install("mcp") == 'pip install -e ".[mcp]" in the checkout'


def test_a_copy_that_pip_installed_keeps_galleries_with_its_user(tmp_path, monkeypatch):
    monkeypatch.setattr(installation, "INSTALLED", True)
    monkeypatch.setenv("XDG_DATA_HOME" if os.name == "posix" else "LOCALAPPDATA", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tmp_path in data_folder().parents and data_folder().name == "palm-demo"
    assert not data_folder().exists()
