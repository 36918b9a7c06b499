"""A lease that is lost takes down the attempt that held it, and no later one of the same run."""

import time

from threadloom.clock import SystemClock
from threadloom.engine.lease import LeaseKeeper
from threadloom.types import Run


class Storage:
    """A database in which another attempt of the run begins before the renewal is written, so that nothing is renewed."""

    def __init__(self):
        self.meanwhile = lambda: None

    def write_now(self, work):
        self.meanwhile()
        return []


def test_the_attempt_that_is_lost_is_named_by_its_fence():
    storage, lost = Storage(), []
    keeper = LeaseKeeper(
        storage=storage,
        clock=SystemClock(),
        seconds=30,
        single_process=True,
        lost=lambda run_id, fence: lost.append((run_id, fence)),
        cancelled=lost.append,
    )
    first, second = (run_with(fence) for fence in (1, 2))

    def taken_up_again():
        keeper.release(first)
        keeper.hold(second, time.monotonic_ns() // 1000)

    keeper.hold(first, time.monotonic_ns() // 1000)
    storage.meanwhile = taken_up_again
    keeper.renew()
    assert lost == [("run", 1)]
    assert keeper.holds(second)


def run_with(fence):
    return Run(
        run_id="run",
        thread_id="thread",
        assistant_id="assistant",
        status="running",
        created_at=0,
        updated_at=0,
        metadata={},
        kwargs={},
        multitask_strategy="enqueue",
        due=0,
        fence=fence,
    )
