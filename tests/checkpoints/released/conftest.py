"""Small files in the layouts of released weights, which the tests make themselves."""

import pytest
from PIL import Image


@pytest.fixture
def picture() -> Image.Image:
    """Wider than high, and partly transparent."""
    made = Image.new("RGBA", (30, 20), (200, 40, 40, 255))
    made.paste((0, 0, 0, 0), (0, 0, 10, 10))
    return made
