"""What every storage does with crons."""

import pytest

from tests.encryptions import CIPHERS
from threadloom.storage.crons import CronQuery
from threadloom.types import Cron

pytestmark = pytest.mark.anyio


@pytest.fixture(params=CIPHERS)
def cipher(request):
    return request.param


def cron(cron_id="c", **fields):
    fields = {"assistant_id": "a", "schedule": "* * * * *", "created_at": 10, "updated_at": 10} | fields
    return Cron(cron_id=cron_id, **fields)


async def put(storage, *crons):
    async def work(tx):
        for one in crons:
            await tx.crons.insert(one)

    await storage.write(work)


async def get(storage, cron_id="c"):
    return await storage.read(lambda tx: tx.crons.get(cron_id))


async def ids(storage, **query):
    return [one.cron_id for one in await storage.read(lambda tx: tx.crons.search(CronQuery(**query)))]


async def test_what_was_put_is_read_again(storage):
    wanted = cron(
        thread_id="t",
        user_id="u",
        user={"identity": "u", "display_name": "U", "permissions": ["p"]},
        timezone="Asia/Tokyo",
        end_time="2040-01-01T00:00:00Z",
        payload={"input": [1, {"x": None}]},
        next_run_date=99,
        metadata={"m": 1},
        on_run_completed="keep",
        enabled=False,
    )
    await put(storage, wanted)
    assert await get(storage) == wanted
    assert await get(storage, "other") is None


async def test_an_update_writes_what_a_caller_can_change_and_keeps_the_rest(storage):
    await put(storage, cron(next_run_date=50))
    await storage.write(lambda tx: tx.crons.advance("c", expected=50, following=60, fired_at=51))
    await storage.write(lambda tx: tx.crons.note("c", run_id="r", error=None))
    await storage.write(
        lambda tx: tx.crons.update(cron(schedule="@daily", next_run_date=70, metadata={"n": 1}, updated_at=11))
    )
    assert await get(storage) == cron(
        schedule="@daily", next_run_date=70, metadata={"n": 1}, updated_at=11, last_fired_at=51, last_run_id="r"
    )


async def test_due_are_enabled_ones_whose_date_has_come(storage):
    await put(
        storage,
        cron("late", next_run_date=20),
        cron("later", next_run_date=10),
        cron("now", next_run_date=30),
        cron("soon", next_run_date=31),
        cron("off", next_run_date=5, enabled=False),
        cron("never"),
    )
    due = await storage.read(lambda tx: tx.crons.due(30, 10))
    assert [one.cron_id for one in due] == ["later", "late", "now"]
    assert [one.cron_id for one in await storage.read(lambda tx: tx.crons.due(30, 1))] == ["later"]


async def test_only_one_can_move_the_date_on(storage):
    await put(storage, cron(next_run_date=20))

    async def advance(expected, following, fired_at=None):
        return await storage.write(
            lambda tx: tx.crons.advance("c", expected=expected, following=following, fired_at=fired_at)
        )

    assert await advance(20, 40, 21) is True
    assert await advance(20, 40, 22) is False
    found = await get(storage)
    assert (found.next_run_date, found.last_fired_at) == (40, 21)
    assert await advance(40, None) is True
    found = await get(storage)
    assert (found.next_run_date, found.last_fired_at) == (None, 21)


async def test_one_that_was_turned_off_is_not_moved(storage):
    await put(storage, cron(next_run_date=20, enabled=False))
    assert await storage.write(lambda tx: tx.crons.advance("c", expected=20, following=40)) is False


async def test_the_latest_firing_is_noted(storage):
    await put(storage, cron())
    await storage.write(lambda tx: tx.crons.note("c", run_id="r", error=None))
    assert (await get(storage)).last_run_id == "r"
    await storage.write(lambda tx: tx.crons.note("c", run_id=None, error="busy"))
    found = await get(storage)
    assert (found.last_run_id, found.last_error) == (None, "busy")


async def test_delete_one_or_those_of_a_thread_or_an_assistant(storage):
    await put(
        storage,
        cron("one"),
        cron("two", thread_id="t"),
        cron("three", thread_id="t", assistant_id="b"),
        cron("four", assistant_id="b"),
    )
    assert await storage.write(lambda tx: tx.crons.delete("one")) is True
    assert await storage.write(lambda tx: tx.crons.delete("one")) is False
    assert await storage.write(lambda tx: tx.crons.delete_of_thread("t")) == 2
    assert await storage.write(lambda tx: tx.crons.delete_of_assistant("b")) == 1
    assert await ids(storage) == []


async def test_search_filters_and_counts(storage):
    await put(
        storage,
        cron("a", metadata={"deep": {"x": 1, "y": 2}}),
        cron("b", metadata={"deep": {"x": 1}}, thread_id="t", enabled=False),
        cron("c", assistant_id="other"),
    )
    assert await ids(storage) == ["c", "b", "a"]
    assert await ids(storage, assistant_id="a") == ["b", "a"]
    assert await ids(storage, thread_id="t") == ["b"]
    assert await ids(storage, enabled=True) == ["c", "a"]
    assert await ids(storage, enabled=False) == ["b"]
    assert await ids(storage, metadata={"deep": {"x": 1}}) == ["b", "a"]
    assert await ids(storage, metadata={"deep": {"x": 1}}, enabled=True) == ["a"]
    assert await storage.read(lambda tx: tx.crons.count(CronQuery(enabled=True, limit=1, offset=9))) == 2


@pytest.mark.parametrize(
    ("sort_by", "ascending"),
    [
        ("cron_id", ["a", "b", "c"]),
        ("assistant_id", ["b", "c", "a"]),
        ("thread_id", ["c", "b", "a"]),
        ("next_run_date", ["b", "c", "a"]),
        ("end_time", ["c", "a", "b"]),
        ("created_at", ["c", "a", "b"]),
        ("updated_at", ["a", "c", "b"]),
    ],
)
async def test_search_sorts_both_ways_with_nulls_last_when_ascending(storage, sort_by, ascending):
    await put(
        storage,
        cron("a", assistant_id="z", created_at=2, updated_at=3, end_time="2040-01-01T01:00:00+02:00"),
        cron("b", assistant_id="y", thread_id="t2", next_run_date=1, created_at=3, updated_at=5),
        cron("c", assistant_id="y", thread_id="t1", next_run_date=2, created_at=1, updated_at=4, end_time="2039-12-31"),
    )
    assert await ids(storage, sort_by=sort_by, descending=False) == ascending
    assert await ids(storage, sort_by=sort_by) == ascending[::-1]
    assert await ids(storage, sort_by=sort_by, limit=1, offset=1) == [ascending[1]]
