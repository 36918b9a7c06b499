"""Time to live: threads go, or shrink, when their time is over, and not before."""

import asyncio
import contextlib

import pytest

from tests.clocks import ManualClock
from threadloom.auth.authorize import OPEN
from threadloom.clock import MINUTE
from threadloom.config.settings import ThreadTtlSettings as Settings
from threadloom.services.requests import ThreadCreate, ThreadPatch, ThreadTtl
from threadloom.services.threads import LAST_MOMENT, ThreadService
from threadloom.services.ttl import ThreadSweeper
from threadloom.storage.lineage import CheckpointPut
from threadloom.types import SYSTEM, Run

pytestmark = pytest.mark.anyio

HOUR = 3600


class House:
    def __init__(self, storage):
        self.storage = storage
        self.clock = ManualClock()
        self.stopped = []
        self.gone = []

    def threads(self, **settings):
        async def stop(thread_id):
            self.stopped.append(thread_id)

        return ThreadService(
            storage=self.storage,
            guard=OPEN,
            clock=self.clock,
            ttl=Settings(**settings),
            supersteps=None,
            stop_runs=stop,
            gone=self.gone.append,
        )

    def sweeper(self, **settings):
        return ThreadSweeper(
            storage=self.storage, clock=self.clock, settings=Settings(**settings), gone=self.gone.append
        )

    async def made(self, minutes=10, strategy="delete", **settings):
        request = ThreadCreate(ttl=ThreadTtl(ttl=minutes, strategy=strategy))
        return (await self.threads(**settings).create(SYSTEM, request)).thread_id

    async def ttl(self, thread_id):
        return (await self.storage.read(lambda tx: tx.threads.get(thread_id))).ttl

    async def exists(self, thread_id):
        return await self.storage.read(lambda tx: tx.threads.get(thread_id)) is not None

    async def history(self, thread_id):
        return [row.checkpoint_id for row in await self.storage.read(lambda tx: tx.lineage.history(thread_id))]

    async def checkpoints(self, thread_id, *cids):
        async def work(tx):
            for parent, checkpoint_id in zip([None, *cids], cids, strict=False):
                put = CheckpointPut(
                    thread_id=thread_id,
                    namespace="",
                    checkpoint_id=checkpoint_id,
                    parent=parent,
                    body_type="json",
                    body=b"{}",
                    refs={},
                    blobs=[],
                    meta=b"{}",
                )
                await tx.lineage.put(put)

        await self.storage.write(work)

    async def run(self, thread_id, status="pending"):
        now = self.clock.now()
        run = Run(
            run_id=f"run-{thread_id}",
            thread_id=thread_id,
            assistant_id="a",
            status=status,
            created_at=now,
            updated_at=now,
            metadata={},
            kwargs={},
            multitask_strategy="enqueue",
            due=now,
        )
        await self.storage.write(lambda tx: tx.runs.insert(run))
        return run.run_id


@pytest.fixture
async def house(storage):
    return House(storage)


async def test_a_thread_goes_when_its_time_is_over_and_not_before(house):
    thread = await house.made(10)
    await house.checkpoints(thread, "1")
    house.clock.move(10 * 60 - 1)
    assert await house.sweeper().sweep() == 0
    house.clock.move(1)
    assert await house.sweeper().sweep() == 1
    assert not await house.exists(thread)
    assert await house.history(thread) == []


async def test_keep_latest_keeps_the_thread_and_its_newest_checkpoint_and_starts_again(house):
    thread = await house.made(10, "keep_latest")
    await house.checkpoints(thread, "1", "2", "3")
    house.clock.move(10 * 60)
    assert await house.sweeper().sweep() == 1
    assert await house.history(thread) == ["3"]
    assert (await house.ttl(thread)).expires_at == house.clock.now() + 10 * MINUTE
    assert await house.sweeper().sweep() == 0


async def test_a_thread_with_an_active_run_is_passed_over(house):
    thread = await house.made(1)
    run = await house.run(thread)
    house.clock.move(HOUR)
    assert await house.sweeper().sweep() == 0
    assert await house.exists(thread)
    await house.storage.write(lambda tx: tx.runs.set_status(run, "interrupted", updated_at=house.clock.now()))
    assert await house.sweeper().sweep() == 1


async def test_a_copys_history_outlives_its_original(house):
    thread = await house.made(1)
    await house.checkpoints(thread, "1", "2")
    await house.storage.write(lambda tx: tx.lineage.copy(thread, "copy"))
    house.clock.move(HOUR)
    await house.sweeper().sweep()
    assert await house.history("copy") == ["2", "1"]


async def test_a_sweep_takes_no_more_than_its_limit_and_the_longest_overdue_first(house):
    threads = [await house.made(minutes) for minutes in (3, 1, 2)]
    house.clock.move(HOUR)
    assert await house.sweeper(sweep_limit=2).sweep() == 2
    assert [await house.exists(thread) for thread in threads] == [True, False, False]


async def test_a_patch_starts_the_time_again(house):
    thread = await house.made(10)
    house.clock.move(9 * 60)
    patch = ThreadPatch(ttl=ThreadTtl(ttl=5, strategy="keep_latest"))
    ttl = (await house.threads().patch(SYSTEM, thread, patch)).ttl
    assert (ttl.minutes, ttl.strategy) == (5, "keep_latest")
    assert ttl.expires_at - house.clock.now() in (5 * MINUTE, 5 * MINUTE + 1)
    house.clock.move(2 * 60)
    assert await house.sweeper().sweep() == 0


async def test_a_patch_of_the_metadata_alone_leaves_the_time_as_it_is(house):
    thread = await house.made(10)
    before = await house.ttl(thread)
    house.clock.move(60)
    await house.threads().patch(SYSTEM, thread, ThreadPatch(metadata={"a": 1}))
    assert await house.ttl(thread) == before


async def test_the_settings_give_a_time_to_threads_that_ask_for_none(house):
    threads = house.threads(default_ttl=7, strategy="keep_latest")
    ttl = (await threads.create(SYSTEM, ThreadCreate())).ttl
    assert (ttl.minutes, ttl.strategy, ttl.expires_at) == (7, "keep_latest", house.clock.now() + 7 * MINUTE)
    assert (await threads.create(SYSTEM, ThreadCreate(ttl=ThreadTtl(ttl=1)))).ttl.minutes == 1
    assert (await house.threads().create(SYSTEM, ThreadCreate())).ttl is None


@pytest.mark.parametrize(("minutes", "moment"), [(0, None), (-5, None), (-1e300, 0), (1e300, LAST_MOMENT)])
async def test_any_number_of_minutes_is_a_moment(house, minutes, moment):
    thread = await house.made(minutes)
    assert (await house.ttl(thread)).expires_at == (
        moment if moment is not None else house.clock.now() + minutes * MINUTE
    )
    assert await house.sweeper().sweep() == (minutes <= 0)


async def test_the_sweeper_sweeps_at_once_and_then_by_its_interval(house):
    first, second = await house.made(0), await house.made(4)
    task = asyncio.create_task(house.sweeper(sweep_interval_minutes=5).run())
    await house.clock.asleep()
    assert not await house.exists(first)
    assert await house.exists(second)
    house.clock.move(5 * 60)
    await asyncio.sleep(0)
    while await house.exists(second):
        await house.clock.asleep()
        await asyncio.sleep(0.001)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
