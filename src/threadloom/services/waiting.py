"""Waiting for what others are to tell, without trusting that they live to tell it."""

import asyncio
from collections.abc import Sequence

from threadloom.broker.base import EventsLost, EventsMissed, Follower
from threadloom.errors import StorageError, Unavailable
from threadloom.storage.base import Storage
from threadloom.types import ACTIVE, Event

SILENCE = 5.0
"""Seconds without a word of a run after which one looks whether it has ended: who was to say so may have died."""

LONG_SILENCE = 15.0
"""The same for readers of a whole thread, where silence is the rule."""


async def next_events(follower: Follower, run_id: str, after: tuple[int, int] = (0, 0)) -> Sequence[Event]:
    """The next events of a run whose `(ms, n)` is greater than `after`; none when nothing came for SILENCE seconds.

    Raises:
        EventsMissed: as `Follower.next`.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + SILENCE
    while True:
        left = max(0.0, deadline - loop.time())
        try:
            heard = await follower.next(left)
        except EventsLost as lost:
            if lost.run_id in ("", run_id):
                raise
            continue
        events = [event for event in heard if event.run_id == run_id and (event.ms, event.n) > after]
        if events or not left:
            return events


async def wait_for_end(follower: Follower, run_id: str) -> bool:
    """Waits for the last event of a run. False when it is time to look whether the run has ended."""
    try:
        return any(event.last for event in await next_events(follower, run_id))
    except EventsMissed:
        return False


async def is_over(storage: Storage, run_id: str) -> bool:
    """Whether a run has ended or is gone.

    Raises:
        Unavailable: the run is not over, and cannot end: the database takes nothing.
    """
    run = await storage.read(lambda tx: tx.runs.get(run_id))
    over = run is None or run.status not in ACTIVE
    if not over:
        try:
            await storage.probe()
        except StorageError as error:
            raise Unavailable(f"{error}; the run goes on when there is room again: join it then") from error
    return over
