"""What every storage does with deliveries."""

import msgspec
import pytest

from threadloom.storage.deliveries import DeliveryQuery
from threadloom.types import Delivery

pytestmark = pytest.mark.anyio


def delivery(delivery_id="d", **fields):
    base = {"run_id": "r", "thread_id": "t", "url": "http://x/?k=1", "body_json": b'{"n":1}', "due": 10}
    return Delivery(delivery_id=delivery_id, **base | {"created_at": 5, "updated_at": 5, "tries_left": 3} | fields)


async def put(storage, *deliveries):
    async def work(tx):
        for one in deliveries:
            await tx.deliveries.insert(one)

    await storage.write(work)


async def get(storage, delivery_id="d"):
    return await storage.read(lambda tx: tx.deliveries.get(delivery_id))


async def claim(storage, now, *, until=100, limit=10):
    claimed = await storage.write(lambda tx: tx.deliveries.claim("w", now, until, limit))
    return [one.delivery_id for one in claimed]


async def ids(storage, **query):
    return [one.delivery_id for one in await storage.read(lambda tx: tx.deliveries.search(DeliveryQuery(**query)))]


async def test_what_was_put_is_read_again(storage):
    wanted = delivery(
        status="failed",
        worker="w",
        claims=3,
        tries=[{"at": 1, "status": 500, "error": "it answered 500"}],
        expires_at=9,
    )
    await put(storage, wanted)
    assert await get(storage) == wanted
    assert await get(storage, "other") is None


async def test_what_is_due_is_claimed_once_the_longest_overdue_first(storage):
    assert await storage.read(lambda tx: tx.deliveries.next_due()) is None
    await put(
        storage, delivery("a", due=20), delivery("b", due=10), delivery("c", due=31), delivery("d", status="failed")
    )
    assert await storage.read(lambda tx: tx.deliveries.next_due()) == 10
    assert await claim(storage, 30, limit=1) == ["b"]
    assert await claim(storage, 30) == ["a"]
    assert await claim(storage, 30) == []
    assert (await get(storage, "a")) == delivery("a", due=100, worker="w", claims=1)
    assert await claim(storage, 100) == ["c", "a", "b"]


async def test_hosts_can_be_passed_over_however_much_waits_for_them(storage):
    await put(
        storage,
        *(delivery(f"dead{n}", host="dead.example", due=1 + n) for n in range(30)),
        *(delivery(f"slow{n}", host="slow.example", due=2) for n in range(3)),
        delivery("own", due=40),
        delivery("a", host="a.example", due=35),
        delivery("b", host="b.example", due=33),
        delivery("later", host="b.example", due=50),
    )
    passed = ["dead.example", "slow.example"]

    async def next_due(*passed):
        return await storage.read(lambda tx: tx.deliveries.next_due(passed))

    async def claim_beside(now, limit):
        claimed = await storage.write(lambda tx: tx.deliveries.claim("w", now, 100, limit, passed))
        return [one.delivery_id for one in claimed]

    assert await next_due() == 1
    assert await next_due("dead.example") == 2
    assert await next_due(*passed) == 33
    assert await claim_beside(32, 9) == []
    assert await claim_beside(45, 1) == ["b"]
    assert await claim_beside(45, 9) == ["a", "own"]
    assert await next_due(*passed, "") == 50
    assert await next_due(*passed, "", "a.example", "b.example") is None
    assert len(await claim(storage, 90, limit=100)) == 34


async def test_only_the_newest_claim_may_write_how_a_try_went(storage):
    await put(storage, delivery())
    [first] = await storage.write(lambda tx: tx.deliveries.claim("one", 10, 20, 1))
    [second] = await storage.write(lambda tx: tx.deliveries.claim("two", 20, 30, 1))
    done = msgspec.structs.replace(
        second, status="delivered", tries_left=2, tries=[{"at": 20}], updated_at=21, expires_at=99
    )
    assert not await storage.write(lambda tx: tx.deliveries.note(first))
    assert await storage.write(lambda tx: tx.deliveries.note(done))
    assert await get(storage) == msgspec.structs.replace(done, worker=None)
    assert not await storage.write(lambda tx: tx.deliveries.note(done))


async def test_claims_of_nobody_are_given_up(storage):
    await put(storage, delivery(), delivery("late", due=50))
    assert await claim(storage, 10) == ["d"]
    await storage.write(lambda tx: tx.deliveries.release(30))
    assert (await get(storage)).due == 30
    assert (await get(storage, "late")).due == 50
    assert await claim(storage, 30) == ["d"]


async def test_one_can_be_made_again_but_not_while_a_try_is_under_way(storage):
    await put(storage, delivery(status="failed", tries_left=0, expires_at=90), delivery("claimed", due=1))
    again = await storage.write(lambda tx: tx.deliveries.again("d", 40, 7))
    assert again == await get(storage) == delivery(due=40, updated_at=40, tries_left=7)
    assert await claim(storage, 1) == ["claimed"]
    assert await storage.write(lambda tx: tx.deliveries.again("claimed", 40, 7)) is None
    assert await storage.write(lambda tx: tx.deliveries.again("other", 40, 7)) is None


@pytest.mark.parametrize("kind", ["run", "thread"])
async def test_those_of_what_goes_go_too_the_pending_ones_once_they_are_made(storage, kind):
    other = {f"{kind}_id": "other"}
    await put(
        storage, delivery("done", status="delivered"), delivery("due"), delivery("others", status="failed", **other)
    )
    gone = {"run": "r", "thread": "t"}[kind]
    await storage.write(lambda tx: getattr(tx.deliveries, f"delete_of_{kind}")(gone, 60))
    assert await ids(storage) == ["others", "due"]
    await storage.write(lambda tx: tx.deliveries.delete_expired(70))
    assert await ids(storage) == ["others", "due"]
    [due] = await storage.write(lambda tx: tx.deliveries.claim("w", 10, 20, 1))
    made = msgspec.structs.replace(due, status="delivered", expires_at=1000)
    assert await storage.write(lambda tx: tx.deliveries.note(made))
    assert await storage.write(lambda tx: tx.deliveries.delete_expired(59)) == 0
    assert await storage.write(lambda tx: tx.deliveries.delete_expired(60)) == 1
    assert await ids(storage) == ["others"]


async def test_deliveries_are_found_newest_first_and_without_their_bodies(storage):
    await put(storage, delivery("a", run_id="x"), delivery("b", thread_id="y"), delivery("c", status="failed"))
    assert await ids(storage) == ["c", "b", "a"]
    assert await ids(storage, limit=1, offset=1) == ["b"]
    assert await ids(storage, run_id="x") == ["a"]
    assert await ids(storage, thread_id="y") == ["b"]
    assert await ids(storage, status="pending", run_id="r") == ["b"]
    assert await storage.read(lambda tx: tx.deliveries.count(DeliveryQuery(status="pending", limit=1))) == 2
    [found] = await storage.read(lambda tx: tx.deliveries.search(DeliveryQuery(run_id="x")))
    assert found == delivery("a", run_id="x", body_json=b"")
