"""What the risk tests share."""

import pytest

from tests.savers import SAVERS, saver_of
from tests.storages import KINDS, opened


@pytest.fixture(params=KINDS)
async def storage(request, tmp_path):
    """An open, empty storage of each kind."""
    async with opened(request.param, request, tmp_path) as storage:
        yield storage


@pytest.fixture(params=SAVERS)
async def saver(storage, request):
    async with saver_of(storage, request.param) as saver:
        yield saver
