"""A model whose steps the tests let through."""

import pytest

from tests.inference.counted import Counted


@pytest.fixture
def counted():
    """Makes counting models, and sees that they end with every row free."""
    made = []

    def make(rows: int, waiting: int = 2) -> Counted:
        made.append(Counted(rows, waiting))
        return made[-1]

    yield make
    for model in made:
        model.let(10_000)
        model.batch.close()
        assert model.batch.free == model.batch.limits.rows
        assert model.tokens == []
