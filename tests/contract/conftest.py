"""The implementations that every contract test runs on."""

import pytest

from threadloom.storage.sqlite import SqliteStorage


@pytest.fixture(params=["sqlite"])
def storage(request):
    """An open, empty storage of each kind."""
    return request.getfixturevalue(request.param)


@pytest.fixture
async def sqlite(tmp_path):
    """An open, empty SQLite storage."""
    storage = SqliteStorage(tmp_path / "data")
    await storage.open()
    yield storage
    await storage.close()
