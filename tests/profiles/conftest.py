"""A Hub to fill."""

from collections.abc import Iterator

import pytest

from tests.hub import Hub, taken_for_the_hub


@pytest.fixture
def hub(tmp_path) -> Iterator[Hub]:
    with taken_for_the_hub(tmp_path / "cache") as hub:
        yield hub
