"""One suite, many implementations: every test that takes `storage` runs on each storage there is."""

import pytest

from threadloom.storage.sqlite import SqliteStorage


@pytest.fixture(params=["sqlite"])
async def storage(request, tmp_path):
    """An open, empty storage."""
    made = SqliteStorage(tmp_path / "data")
    await made.open()
    yield made
    await made.close()
