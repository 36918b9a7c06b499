"""Savers for tests: one whose puts are waited for, and one whose puts are handed in as those of runs are."""

import contextlib

from threadloom.checkpointer import Saver

SAVERS = ("waiting", "trailing")


@contextlib.asynccontextmanager
async def saver_of(storage, kind):
    """A saver for the block, of either kind."""
    saver = Saver(storage)
    if kind == "waiting":
        yield saver
        return
    async with saver.deferring(None):
        yield saver
