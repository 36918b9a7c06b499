"""Crons that come due: services over a real database, with a clock that the test moves. Runs are made, not executed."""

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace

import msgspec
import pytest

from tests.clocks import MORNING, ManualClock
from threadloom.auth.authorize import OPEN
from threadloom.auth.run_users import RunUsers
from threadloom.broker.local import LocalBroker
from threadloom.clock import SECOND, iso
from threadloom.config.settings import LimitSettings
from threadloom.engine.admission import NoStarter
from threadloom.engine.events import EventIds
from threadloom.errors import BadRequest, Invalid, NotFound
from threadloom.ids import default_assistant_id
from threadloom.services.assistants import AssistantService
from threadloom.services.crons import CronService, fire_forever
from threadloom.services.limits import Limits
from threadloom.services.requests import AssistantCreate, CronCreate, CronPatch, CronSearch
from threadloom.services.run_start import RunStartService
from threadloom.storage.threads import ThreadQuery
from threadloom.types import SYSTEM, Caller, RunStatus, Thread

pytestmark = pytest.mark.anyio

MINUTE = 60


class OneGraph:
    """A registry whose graphs nobody opens."""

    def __init__(self, *names):
        self.names = names

    def ids(self):
        return list(self.names)

    def config(self, graph_id):
        return {}

    def describe(self, graph_id):
        return None

    @asynccontextmanager
    async def open(self, graph_id, **how):
        raise AssertionError("no graph is needed to fire a cron")
        yield


class OpenPolicy:
    async def check(self, url):
        if "refused" in url:
            raise Invalid("Webhook host blocked")


class House:
    """The services that crons need, over one database."""

    def __init__(self, storage, clock):
        self.storage = storage
        self.clock = clock
        self.broker = LocalBroker()
        self.graphs = OneGraph("ticking")
        self.assistants = AssistantService(storage, OPEN, clock, self.graphs)
        self.starts = RunStartService(
            storage=storage,
            guard=OPEN,
            users=RunUsers(self.broker),
            broker=self.broker,
            clock=clock,
            numbers=EventIds(clock),
            assistants=self.assistants,
            webhooks=OpenPolicy(),
            starter=NoStarter(),
            limits=Limits(LimitSettings()),
            keep=120,
        )
        self.crons = CronService(self.storage, OPEN, self.clock, self.starts, self.assistants)

    async def scheduler(self, **settings):
        settings = SimpleNamespace(**{"cron_scheduler_sleep_time": 5, "ff_crons_enabled": True} | settings)
        await fire_forever(lambda: self.crons, self.clock, settings)

    async def cron(self, thread_id=None, caller=SYSTEM, **body):
        body = {"assistant_id": "ticking", "schedule": "* * * * *", "input": {"label": "x"}} | body
        return await self.crons.create(caller, thread_id, msgspec.convert(body, CronCreate), body)

    async def patch(self, cron, **body):
        return await self.crons.patch(SYSTEM, cron.cron_id, msgspec.convert(body, CronPatch), body)

    async def get(self, cron):
        return await self.crons.get(SYSTEM, cron.cron_id)

    async def thread(self, thread_id="00000000-0000-4000-8000-000000000001"):
        now = self.clock.now()
        thread = Thread(thread_id=thread_id, created_at=now, updated_at=now, state_updated_at=now, metadata={})
        await self.storage.write(lambda tx: tx.threads.insert(thread))
        return thread_id

    async def threads(self, **metadata):
        return await self.storage.read(lambda tx: tx.threads.search(ThreadQuery(metadata=metadata, limit=100)))

    async def made(self):
        threads = await self.storage.read(lambda tx: tx.runs.busy_threads())
        return [run for thread in threads for run in await self.storage.read(lambda tx, t=thread: tx.runs.active(t))]

    async def end(self, run, status: RunStatus = "success"):
        await self.storage.write(lambda tx: tx.runs.set_status(run.run_id, status, updated_at=self.clock.now()))


@pytest.fixture
async def house(storage):
    house = House(storage, ManualClock())
    await house.assistants.ensure_defaults()
    return house


async def test_nothing_fires_before_its_time(house):
    cron = await house.cron()
    assert cron.next_run_date == MORNING + MINUTE * SECOND
    house.clock.move(59.9)
    assert await house.crons.tick() == 0
    house.clock.move(0.1)
    assert await house.crons.tick() == 1
    assert await house.crons.tick() == 0


async def test_a_firing_makes_a_run_and_says_so_on_the_cron(house):
    cron = await house.cron(caller=Caller(user_id="ann"), metadata={"mark": 1}, config={"tags": ["t"]})
    house.clock.move(MINUTE)
    await house.crons.tick()
    (run,) = await house.made()
    assert run.assistant_id == default_assistant_id("ticking")
    assert run.kwargs["input"] == {"label": "x"}
    assert run.kwargs["config"]["tags"] == ["t"]
    assert run.kwargs["config"]["configurable"]["cron_id"] == cron.cron_id
    assert run.kwargs["config"]["configurable"]["user_id"] == "ann"
    assert (run.metadata["mark"], run.metadata["cron_id"]) == (1, cron.cron_id)
    after = await house.get(cron)
    assert after.last_run_id == run.run_id
    assert after.last_error is None
    assert after.last_fired_at == house.clock.now()
    assert after.next_run_date == house.clock.now() + MINUTE * SECOND
    assert after.updated_at == cron.updated_at


async def test_a_cron_without_a_thread_makes_one_each_time(house):
    cron = await house.cron(metadata={"mark": 1})
    keeping = await house.cron(metadata={"mark": 2}, on_run_completed="keep")
    for _ in range(2):
        house.clock.move(MINUTE)
        await house.crons.tick()
    threads = await house.threads(mark=1)
    assert len({thread.thread_id for thread in threads}) == 2
    assert threads[0].metadata == {
        "mark": 1,
        "cron_id": cron.cron_id,
        "graph_id": "ticking",
        "assistant_id": default_assistant_id("ticking"),
    }
    assert len(await house.threads(cron_id=keeping.cron_id)) == 2
    temporary = {run.metadata["mark"]: run.temporary for run in await house.made()}
    assert temporary == {1: True, 2: False}


async def test_the_crons_own_id_is_no_context_of_the_graph(house):
    await house.cron()
    await house.cron(context={"tone": "warm"})
    house.clock.move(MINUTE)
    await house.crons.tick()
    bare, warm = await house.made()
    assert (bare.kwargs["context"], warm.kwargs["context"]) == ({}, {"tone": "warm"})


async def test_a_cron_of_a_thread_runs_there_with_its_strategy(house):
    thread_id = await house.thread()
    cron = await house.cron(thread_id, multitask_strategy="reject")
    house.clock.move(MINUTE)
    await house.crons.tick()
    (run,) = await house.made()
    assert (run.thread_id, run.multitask_strategy, run.temporary) == (thread_id, "reject", False)

    house.clock.move(MINUTE)
    assert await house.crons.tick() == 0, "the thread is still busy"
    refused = await house.get(cron)
    assert refused.last_run_id is None
    assert refused.last_error.startswith("Thread is already running a task")
    assert refused.next_run_date == house.clock.now() + MINUTE * SECOND

    await house.end(run)
    house.clock.move(MINUTE)
    assert await house.crons.tick() == 1
    assert (await house.get(cron)).last_error is None
    (thread,) = await house.threads()
    assert "cron_id" not in thread.metadata, "other runs of the thread are none of the cron's"


async def test_many_schedulers_fire_once(house):
    for _ in range(5):
        await house.cron(on_run_completed="keep")
    others = [CronService(house.storage, OPEN, house.clock, house.starts, house.assistants) for _ in range(4)]
    for _ in range(3):
        house.clock.move(MINUTE)
        fired = await asyncio.gather(*(one.tick() for one in others))
        assert sum(fired) == 5
    assert len(await house.made()) == 15


async def test_missed_firings_are_made_up_by_one(house):
    cron = await house.cron()
    house.clock.move(3 * 60 * MINUTE + 30)
    assert await house.crons.tick() == 1
    after = await house.get(cron)
    assert after.next_run_date == house.clock.now() + 30 * SECOND
    assert await house.crons.tick() == 0


async def test_after_its_end_a_cron_never_fires_and_shows_no_date(house):
    ends = iso(MORNING + 90 * SECOND)
    cron = await house.cron(end_time=ends)
    house.clock.move(MINUTE)
    assert await house.crons.tick() == 1
    after = await house.get(cron)
    assert (after.next_run_date, after.end_time) == (None, ends)
    house.clock.move(10 * MINUTE)
    assert await house.crons.tick() == 0


async def test_a_firing_missed_until_past_the_end_is_not_made_up(house):
    cron = await house.cron(end_time=iso(MORNING + 90 * SECOND))
    house.clock.move(10 * MINUTE)
    assert (await house.get(cron)).next_run_date is None
    assert await house.crons.tick() == 0
    after = await house.get(cron)
    assert (after.next_run_date, after.last_fired_at) == (None, None)


async def test_an_end_in_the_past_is_taken_but_never_fires(house):
    cron = await house.cron(end_time="2020-01-01")
    assert cron.next_run_date is None
    later = await house.patch(cron, end_time="2040-01-01")
    assert later.next_run_date == MORNING + MINUTE * SECOND
    ended = await house.patch(cron, end_time=iso(MORNING + 1))
    assert ended.next_run_date is None
    assert (await house.patch(cron, end_time=None)).next_run_date == MORNING + MINUTE * SECOND


async def test_a_schedule_that_runs_out_fires_its_last_time(house):
    cron = await house.cron(schedule="0 10 1 1 * 0 2026")
    house.clock.move(60 * MINUTE)
    assert await house.crons.tick() == 1
    assert (await house.get(cron)).next_run_date is None


async def test_one_that_is_off_keeps_its_date(house):
    cron = await house.cron()
    assert (await house.patch(cron, enabled=False)).next_run_date == cron.next_run_date
    house.clock.move(5 * MINUTE)
    assert await house.crons.tick() == 0
    assert (await house.patch(cron, enabled=True)).next_run_date == cron.next_run_date
    assert await house.crons.tick() == 1


async def test_a_graph_that_is_gone_is_said_on_the_cron(house):
    cron = await house.cron()
    house.graphs.names = ()
    house.clock.move(MINUTE)
    assert await house.crons.tick() == 0
    after = await house.get(cron)
    assert after.last_error == "Thread or assistant not found."
    assert after.next_run_date > house.clock.now()
    assert await house.made() == []


async def test_one_that_fails_does_not_hold_up_the_others(house):
    await house.cron(webhook="http://example.org/")
    thread_id = await house.thread()
    broken = await house.cron(thread_id)
    await house.storage.write(lambda tx: tx.threads.delete(thread_id))
    await house.cron()
    house.clock.move(MINUTE)
    assert await house.crons.tick() == 2
    assert (await house.get(broken)).last_error == "Thread or assistant not found."


async def test_the_scheduler_looks_at_once_and_then_at_intervals(house):
    cron = await house.cron()
    house.clock.move(5 * MINUTE)
    scheduler = asyncio.create_task(house.scheduler())
    try:
        for made in (1, 2):
            await house.clock.asleep()
            assert len(await house.made()) == made
            assert (await house.get(cron)).next_run_date == house.clock.now() + MINUTE * SECOND
            house.clock.move(MINUTE)
    finally:
        scheduler.cancel()


async def test_the_scheduler_can_be_switched_off(house):
    await house.cron()
    house.clock.move(5 * MINUTE)
    await house.scheduler(ff_crons_enabled=False)
    assert await house.made() == []


async def test_a_refused_cron_leaves_nothing_behind(house):
    for body, error in [
        ({"schedule": "soon"}, Invalid),
        ({"schedule": "0 0 30 2 *"}, BadRequest),
        ({"timezone": "Nope/Zone"}, Invalid),
        ({"end_time": "whenever"}, Invalid),
        ({"webhook": "http://refused.example"}, Invalid),
        ({"context": {"a": 1}, "config": {"configurable": {"b": 1}}}, BadRequest),
        ({"assistant_id": "nobody"}, NotFound),
    ]:
        with pytest.raises(error):
            await house.cron(**body)
    with pytest.raises(NotFound):
        await house.cron("00000000-0000-4000-8000-000000000009")
    assert (await house.crons.search(SYSTEM, CronSearch()))[2] == 0


async def test_a_refused_patch_changes_nothing(house):
    cron = await house.cron(context={"a": 1})
    for body, error in [
        ({}, BadRequest),
        ({"metadata": {"x": 1}, "schedule": "soon"}, Invalid),
        ({"metadata": {"x": 1}, "schedule": "0 0 30 2 *"}, BadRequest),
        ({"metadata": {"x": 1}, "timezone": ""}, Invalid),
        ({"metadata": {"x": 1}, "end_time": ""}, Invalid),
        ({"metadata": {"x": 1}, "config": {"configurable": {"b": 1}}}, BadRequest),
        ({"metadata": {"x": 1}, "webhook": "http://refused.example"}, Invalid),
    ]:
        with pytest.raises(error):
            await house.patch(cron, **body)
    assert await house.get(cron) == cron


async def test_a_patch_goes_into_the_payload_and_the_cron_id_stays(house):
    cron = await house.cron(extra={"kept": True})
    assert cron.payload["extra"] == {"kept": True}
    assert cron.payload["assistant_id"] == default_assistant_id("ticking")
    assert cron.payload["config"] == {"configurable": {"cron_id": cron.cron_id}}
    body = {"config": {"tags": ["t"], "configurable": {"cron_id": "forged"}}, "more": 1, "assistant_id": "else"}
    changed = await house.patch(cron, **body)
    assert changed.payload["config"] == {"tags": ["t"], "configurable": {"cron_id": cron.cron_id}}
    assert (changed.payload["more"], changed.payload["extra"]) == (1, {"kept": True})
    assert changed.payload["assistant_id"] == changed.assistant_id == default_assistant_id("ticking")
    assert (await house.patch(cron, timezone=None)).timezone is None


async def test_a_cron_goes_with_its_assistant(house):
    assistant = await house.assistants.create(SYSTEM, AssistantCreate(graph_id="ticking"))
    cron = await house.cron(assistant_id=assistant.assistant_id)
    await house.assistants.delete(SYSTEM, assistant.assistant_id)
    with pytest.raises(NotFound):
        await house.get(cron)
