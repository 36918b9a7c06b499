"""What the risk tests share."""

import pytest

from tests.storages import KINDS, opened
from threadloom.checkpointer import Saver


@pytest.fixture(params=KINDS)
async def storage(request, tmp_path):
    """An open, empty storage of each kind."""
    async with opened(request.param, request, tmp_path) as storage:
        yield storage


@pytest.fixture
async def saver(storage):
    return Saver(storage)
