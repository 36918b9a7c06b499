"""The clock of the machine or of the database is set by an hour: no run is lost, doubled or overtaken, none waits for long."""

import asyncio
import contextlib

import httpx
import pytest

from tests.clocks import MORNING, ManualClock, SettableClock
from tests.contract.test_runs import run as made
from tests.risk.cluster_tools import APP, Times
from tests.storages import KINDS
from threadloom.clock import MINUTE, SECOND, ClockStepDetector, SilenceTracker
from threadloom.config import load
from threadloom.engine.events import EventIds
from threadloom.engine.lease import Sweeper
from threadloom.services import schedule
from threadloom.types import Delivery, Event
from threadloom.wiring import Server

pytestmark = pytest.mark.anyio

HOUR = 3600
LEASE = 3


@pytest.fixture(params=KINDS)
def where(request):
    """What the environment says of the database."""
    return {} if request.param == "sqlite" else {"DATABASE_URI": request.getfixturevalue("database")}


@contextlib.asynccontextmanager
async def serving(where, folder, *, jobs, ahead=0):
    """A whole server in this process, on a real database, whose clock can be set, and is by `ahead` seconds when it starts."""
    env = {"N_JOBS_PER_WORKER": str(jobs), "CRON_SCHEDULER_SLEEP_TIME": "0.1", **where}
    clock = SettableClock()
    clock.set(ahead)
    server = Server(load(APP, env, {} if where else {"data": folder}), clock=clock, grace=0)
    assert (server.settings.postgres_uri is None) == (not where)
    server.steps.patience = 0.1
    async with server.live():
        transport = httpx.ASGITransport(app=server.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=60) as client:
            yield client, clock


async def start(client, *, thread=None, todo=1, pause=0.05, **more):
    """Starts a run; gives its thread and itself."""
    thread = thread or (await client.post("/threads", json={})).json()["thread_id"]
    body = {"assistant_id": "steps", "input": {"todo": todo, "pause": pause}, **more}
    answer = (await client.post(f"/threads/{thread}/runs", json=body)).raise_for_status()
    return thread, answer.json()["run_id"]


async def ended(client, thread, run, seconds=20):
    async with asyncio.timeout(seconds):
        await client.get(f"/threads/{thread}/runs/{run}/join")
    found = (await client.get(f"/threads/{thread}/runs/{run}")).json()
    assert found["status"] == "success"
    return found


def order(times, runs):
    """The runs in the order in which they began their first step."""
    spans = Times(times).spans
    return sorted(runs, key=lambda run: min(begin for begin, *_ in spans[run]))


async def test_set_back_under_load(where, tmp_path, monkeypatch):
    """Queued runs begin in the order in which they were made, on one thread and on many; a delayed run waits no longer than its
    delay again, and never less; a cron goes on; ids of events grow."""
    monkeypatch.setenv("RISK_TIMES", str(tmp_path / "times"))
    async with serving(where, tmp_path, jobs=1) as (client, clock):
        cron = {"assistant_id": "counter", "schedule": "* * * * * *", "input": {"n": 1}, "on_run_completed": "keep"}
        made = (await client.post("/runs/crons", json=cron)).raise_for_status().json()
        # One place, taken for a while; a queue on its thread and one run on another.
        thread, first = await start(client, pause=1.5, stream_resumable=True)
        _, second = await start(client, thread=thread, stream_resumable=True)
        other, third = await start(client)
        began = clock.steady()
        late, delayed = await start(client, after_seconds=1.5)
        clock.set(-HOUR)
        _, fourth = await start(client, thread=thread, stream_resumable=True)
        for place, run in ((thread, first), (thread, second), (other, third), (thread, fourth), (late, delayed)):
            await ended(client, place, run)
        assert order(tmp_path / "times", [second, third, fourth]) == [second, third, fourth]
        [(begin, *_)] = Times(tmp_path / "times").spans[delayed]
        assert 1.5 <= begin - began / SECOND < 15
        ids = [await told(client, thread, run) for run in (first, second, fourth)]
        assert [one for run in ids for one in run] == sorted({one for run in ids for one in run})
        # The cron has fired since, by the new clock.
        async with asyncio.timeout(20):
            while True:
                [shown] = (await client.post("/runs/crons/search", json={})).json()
                runs = (await client.post("/threads/search", json={"metadata": {"cron_id": made["cron_id"]}})).json()
                if shown["next_run_date"] < made["next_run_date"] and len(runs) >= 2:
                    break
                await asyncio.sleep(0.05)


async def told(client, thread, run):
    """The ids of the events of a run."""
    return ids_of(await client.get(f"/threads/{thread}/runs/{run}/stream", headers={"Last-Event-ID": "-"}))


def ids_of(answer):
    lines = [line for line in answer.text.splitlines() if line.startswith("id: ")]
    return [tuple(int(part) for part in line.removeprefix("id: ").split("-")) for line in lines]


async def test_set_back_while_no_server_runs(tmp_path):
    """What waits for its time waits for its delay once more, and the next event of a thread has a larger id than the last."""

    async def stream(client, thread):
        body = {"assistant_id": "counter", "input": {"n": 1}, "stream_resumable": True}
        answer = await client.post(f"/threads/{thread}/runs/stream", json=body)
        return ids_of(answer)

    async with serving({}, tmp_path, jobs=4) as (client, _):
        thread = (await client.post("/threads", json={})).json()["thread_id"]
        before = await stream(client, thread)
        late, delayed = await start(client, after_seconds=2)
    async with serving({}, tmp_path, jobs=4, ahead=-HOUR) as (client, _):
        assert before[-1] < (await stream(client, thread))[0]
        await ended(client, late, delayed)


@pytest.mark.parametrize("step", [HOUR, -HOUR])
async def test_the_databases_clock_is_set_while_runs_are_executed(step, database, tmp_path, monkeypatch):
    """Two processes, of which one sees it first: it takes up no run of the other's, and no step is executed twice."""
    monkeypatch.setenv("RISK_TIMES", str(tmp_path / "times"))
    where = {"DATABASE_URI": database}
    async with (
        serving(where, tmp_path, jobs=10) as (client, clock),
        serving(where, tmp_path, jobs=10) as (_, other),
    ):
        runs = [await start(client, todo=8, pause=0.5) for _ in range(6)]
        await asyncio.sleep(0.5)
        other.set(step)
        await asyncio.sleep(LEASE / 2)
        clock.set(step)
        for thread, run in runs:
            await ended(client, thread, run)
        times = Times(tmp_path / "times")
        times.check_alone({})
        for _, run in runs:
            assert sorted(number for _, _, number, _ in times.spans[run]) == list(range(8))


# --- the parts, each with a clock that the test moves ---


def run(run_id, thread_id="t", delay=0, now=MORNING):
    return made(run_id, thread_id, now + delay * SECOND, created_at=now, updated_at=now)


class Observer:
    """A worker's look at the leases of all, with a clock of its own."""

    def __init__(self, storage):
        self.clock = ManualClock()
        self.sweeper = Sweeper(storage=storage, clock=self.clock, worker="observer", seconds=30, attempts=3)

    async def pass_by(self, seconds):
        """Lets time pass in which it looks as often as it does; gives the runs that it took up."""
        found = []
        for _ in range(int(seconds / self.sweeper.every)):
            self.clock.move(self.sweeper.every)
            found += [one.run_id for one in (await self.sweeper.sweep()).requeued]
        return found


async def held(storage, lease=MORNING + 30 * SECOND):
    await storage.write(lambda tx: tx.runs.insert(run("a")))
    [claimed] = await storage.write(lambda tx: tx.runs.claim("w", MORNING, lease, 1))
    return [(claimed.run_id, claimed.fence)]


async def test_a_lease_is_over_when_it_was_not_renewed_for_its_length_as_the_observer_saw(storage):
    await held(storage)
    observer = Observer(storage)
    assert await observer.pass_by(30) == []  # from the first look on, not from before
    assert await observer.pass_by(6) == ["a"]


@pytest.mark.parametrize("step", [10 * HOUR, -10 * HOUR])
async def test_whoever_sets_clocks_makes_no_lease_be_over(storage, step):
    leases = await held(storage)
    observer, owners = Observer(storage), ManualClock()
    await observer.pass_by(6)
    for clock in (observer.clock, owners):
        clock.set(step)
        for _ in range(6):
            # The owner renews by its own clock, which was set or not yet.
            await storage.write(lambda tx: tx.runs.renew(leases, owners.now() + 30 * SECOND))
            assert await observer.pass_by(15) == []
    assert await observer.pass_by(36) == ["a"]


async def test_an_observer_that_was_paused_takes_nobody_for_lost_at_once(storage):
    await held(storage)
    observer = Observer(storage)
    await observer.pass_by(6)
    observer.clock.move(HOUR)
    assert (await observer.sweeper.sweep()).requeued == []
    assert await observer.pass_by(30) == ["a"]


def test_who_stops_showing_signs_is_forgotten():
    silences = SilenceTracker(10, 100)
    assert silences.look(0, 0, {"a": 1}) == []
    assert silences.look(9, 9, {}) == []
    assert silences.look(18, 18, {"a": 1}) == []
    assert silences.look(27, 30, {"a": 1, "b": 1}) == []
    assert silences.look(31, 31, {"a": 1, "b": 2}) == ["a"]


def test_only_steps_count_as_steps():
    clock = ManualClock()
    steps = ClockStepDetector(clock)
    clock.move(HOUR)
    assert steps.look() == 0
    clock.set(0.5)
    assert steps.look() == 0
    clock.set(-HOUR)
    assert (steps.look(), steps.look()) == (-HOUR * SECOND, 0)


async def test_a_queue_keeps_the_order_of_making_whatever_the_clock_said(storage):
    for number, hours in enumerate((0, -2, 3, -1)):
        for thread in ("t", f"own {number}"):
            one = run(f"{thread} {number}", thread, now=MORNING + hours * HOUR * SECOND)
            await storage.write(lambda tx, one=one: tx.runs.insert(one))
    claimed = []
    while found := await storage.write(lambda tx: tx.runs.claim("w", MORNING - 9 * HOUR * SECOND, MORNING, 1)):
        claimed += [one.run_id for one in found]
        await storage.write(lambda tx: tx.runs.set_status(found[0].run_id, "success", updated_at=MORNING))
    assert claimed == [f"{thread} {number}" for number in range(4) for thread in ("t", f"own {number}")]


async def test_a_delay_begins_again_and_what_was_due_once_stays_due(storage):
    async def put(tx):
        await tx.runs.insert(run("busy"))
        await tx.runs.insert(run("due", delay=60))
        await tx.runs.insert(run("delayed", "u", delay=600))

    await storage.write(put)
    assert len(await claim(storage, MORNING + 61 * SECOND)) == 1
    back = MORNING - HOUR * SECOND
    assert await storage.write(lambda tx: tx.runs.recompute_delays(back, 2 * SECOND)) == 1
    assert await storage.write(lambda tx: tx.runs.recompute_delays(back, 2 * SECOND)) == 0
    await storage.write(lambda tx: tx.runs.set_status("busy", "success", updated_at=back))
    assert await claim(storage, back) == ["due"]
    assert await claim(storage, back + 599 * SECOND) == []
    assert await claim(storage, back + 600 * SECOND) == ["delayed"]


async def claim(storage, now):
    return [one.run_id for one in await storage.write(lambda tx: tx.runs.claim("w", now, now + 30 * SECOND, 10))]


async def test_ids_of_stored_events_grow_although_a_process_begins_with_a_clock_set_back(storage):
    def event(numbers):
        ms, n = numbers.next()
        return Event(thread_id="t", run_id="r", name="values", mode="values", data=b"1", ms=ms, n=n)

    clock = ManualClock()
    before = EventIds(clock)
    first = await storage.write(lambda tx: tx.events.append([event(before), event(before)]))
    clock.set(-HOUR)
    after = EventIds(clock)
    second = await storage.write(lambda tx: tx.events.append([event(after), event(after)]))
    ids = [(one.ms, one.n) for one in [*first, *second]]
    assert ids == sorted(set(ids))
    assert [(one.ms, one.n) for one in await storage.read(lambda tx: tx.events.of_thread("t"))] == ids


async def test_a_delivery_is_not_held_up_by_the_hour(storage):
    def delivery(name, *, due=MORNING + MINUTE, worker=None):
        return Delivery(
            delivery_id=name,
            run_id="r",
            thread_id="t",
            url="http://127.0.0.1/",
            body_json=b"{}",
            created_at=MORNING,
            updated_at=MORNING,
            due=due,
            worker=worker,
            claims=int(worker is not None),
            tries_left=3,
        )

    async def put(tx):
        for one in (
            delivery("waits"),
            delivery("claimed", worker="gone"),
            delivery("late", due=MORNING + HOUR * SECOND),
        ):
            await tx.deliveries.insert(one)

    await storage.write(put)
    back = MORNING - HOUR * SECOND
    await storage.write(lambda tx: tx.deliveries.recompute_due(back, 2 * SECOND, back + MINUTE))
    claimed = await storage.write(lambda tx: tx.deliveries.claim("w", back, back + MINUTE, 10))
    assert sorted(one.delivery_id for one in claimed) == ["late", "waits"]
    claimed = await storage.write(lambda tx: tx.deliveries.claim("w", back + MINUTE, back + 2 * MINUTE, 1))
    assert "claimed" in [one.delivery_id for one in claimed] or len(claimed) == 1


@pytest.mark.parametrize(
    ("text", "fired", "back", "minutes"),
    [
        ("* * * * *", 0, 60, 1),  # fires often: at once by the new clock
        ("0 * * * *", 0, 60, 60),
        ("0 9 * * *", 0, 60, 25 * 60),  # has fired at nine today, and nine comes again
        ("30 8 * * *", None, 60, 30),  # has not
        ("0 9 * * *", 0, 240, 240),  # the clock was far off: what it said counts for nothing
    ],
)
def test_a_cron_after_the_clock_was_set_back(text, fired, back, minutes):
    now = MORNING - back * MINUTE
    date = schedule.set_back(text, None, None, None if fired is None else MORNING + fired, now)
    assert date == now + minutes * MINUTE
