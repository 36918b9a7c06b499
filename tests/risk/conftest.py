"""What the risk tests share."""

import pytest

from threadloom.checkpointer import Saver
from threadloom.storage.sqlite import SqliteStorage


@pytest.fixture
async def storage(tmp_path):
    storage = SqliteStorage(tmp_path)
    await storage.open()
    yield storage
    await storage.close()


@pytest.fixture
async def saver(storage):
    return Saver(storage)
