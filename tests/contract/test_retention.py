"""What is kept only for a while: old runs go with their outcomes and events, and nothing else does."""

import asyncio

import pytest

from tests.clocks import ManualClock
from tests.encryptions import CIPHERS
from threadloom.clock import SECOND
from threadloom.engine.retention import BATCH, Retention
from threadloom.types import Event, Outcome, Run, Thread

pytestmark = pytest.mark.anyio


@pytest.fixture(params=CIPHERS)
def cipher(request):
    return request.param


DAY = 24 * 3600


class House:
    """A storage with a clock, and threads with runs that ended."""

    def __init__(self, storage):
        self.storage = storage
        self.clock = ManualClock()
        self.made = 0

    async def ended(self, thread_id="t", *, status="success", days_ago=0, thread_status="idle"):
        """A run that ended some days ago, with an outcome and an event."""
        self.made += 1
        run_id = f"r{self.made}"
        now = self.clock.now() - days_ago * DAY * SECOND

        async def work(tx):
            await tx.threads.insert(
                Thread(thread_id=thread_id, created_at=now, updated_at=now, state_updated_at=now, metadata={"mark": 1})
            )
            await tx.threads.update(thread_id, status=thread_status)
            run = Run(
                run_id=run_id,
                thread_id=thread_id,
                assistant_id="a",
                status="pending",
                created_at=now,
                updated_at=now,
                metadata={},
                kwargs={},
                multitask_strategy="enqueue",
                due=now,
            )
            await tx.runs.insert(run)
            if status == "pending":
                return
            await tx.runs.set_status(run_id, status, updated_at=now, ended_at=now)
            await tx.runs.put_outcome(
                Outcome(run_id=run_id, thread_id=thread_id, status=status, output_json=b"{}", error=None, metadata={})
            )
            await tx.events.append(
                [Event(thread_id=thread_id, run_id=run_id, name="values", mode="values", data=b"{}", ms=self.made)]
            )

        await self.storage.write(work)
        return run_id

    async def has(self, run_id):
        async def work(tx):
            row, outcome = await tx.runs.get(run_id), await tx.runs.outcome(run_id)
            events = await tx.events.of_run(run_id)
            assert (row is None) == (outcome is None) == (not events)
            return row is not None

        return await self.storage.read(work)

    def retention(self, days):
        return Retention(storage=self.storage, clock=self.clock, runs_days=days)


@pytest.fixture
def house(storage):
    return House(storage)


async def test_runs_go_when_their_time_is_over_and_not_before(house):
    old, young = await house.ended(days_ago=31, status="error"), await house.ended(days_ago=29)
    await house.retention(30).sweep()
    assert (await house.has(old), await house.has(young)) == (False, True)
    house.clock.move(1.5 * DAY)
    await house.retention(30).sweep()
    assert not await house.has(young)
    thread = await house.storage.read(lambda tx: tx.threads.get("t"))
    assert thread.metadata == {"mark": 1}


async def test_without_the_setting_runs_stay(house):
    run = await house.ended(days_ago=3650)
    await house.retention(None).sweep()
    assert await house.has(run)


async def test_parts_of_days_count(house):
    run = await house.ended()
    house.clock.move(3601)
    await house.retention(1 / 24).sweep()
    assert not await house.has(run)


async def test_runs_that_are_still_to_end_stay(house):
    run = await house.ended(status="pending", days_ago=100)
    await house.retention(30).sweep()
    assert (await house.storage.read(lambda tx: tx.runs.get(run))).status == "pending"


async def test_a_run_that_waits_for_an_answer_stays_until_it_is_answered(house):
    earlier = await house.ended(days_ago=100)
    asking = await house.ended(days_ago=99, thread_status="interrupted")
    await house.retention(30).sweep()
    assert (await house.has(earlier), await house.has(asking)) == (False, True)
    answered = await house.ended(days_ago=1, thread_status="idle")
    await house.retention(30).sweep()
    assert (await house.has(asking), await house.has(answered)) == (False, True)


async def test_more_than_one_batch_goes_in_one_sweep(house):
    for n in range(BATCH + 5):
        await house.ended(f"t{n}", days_ago=40)
    assert await house.retention(30).sweep() == BATCH + 5
    assert await house.storage.read(lambda tx: tx.runs.ended_before(house.clock.now(), 10)) == []


async def test_it_sweeps_by_itself(house):
    run = await house.ended(days_ago=31)
    sweeping = asyncio.create_task(house.retention(30).run())
    await house.clock.asleep()
    house.clock.move(31)
    for _ in range(1000):
        if not await house.has(run):
            break
        await asyncio.sleep(0)
        await house.storage.write(_nothing)
    assert not await house.has(run)
    sweeping.cancel()


async def _nothing(tx):
    """Lets the writer come to its queue."""
