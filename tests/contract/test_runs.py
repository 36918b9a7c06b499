"""What every storage does with runs, their queue and their outcomes."""

import asyncio
import random

import pytest

from threadloom.storage.queue import Claim, Lease, QueuePeek, Renewal, RunState
from threadloom.types import Outcome, Run

pytestmark = pytest.mark.anyio


def run(run_id="r", thread_id="t", due=None, **fields):
    """A run that begins as soon as it can, or one made at 10 that waits until `due`."""
    fields = {"status": "pending", "created_at": 10, "updated_at": 10, "metadata": {}, "kwargs": {}} | fields
    due = fields["created_at"] if due is None else due
    return Run(run_id=run_id, thread_id=thread_id, assistant_id="a", multitask_strategy="enqueue", due=due, **fields)


async def put(storage, *runs):
    async def work(tx):
        return [await tx.runs.insert(one) for one in runs]

    return await storage.write(work)


async def get(storage, run_id="r"):
    return await storage.read(lambda tx: tx.runs.get(run_id))


async def claim(storage, now=100, limit=10, worker="w"):
    return await storage.write(lambda tx: tx.runs.claim(worker, now, now + 30, limit))


async def claim_ids(storage, now=100, limit=10):
    return [one.run_id for one in await claim(storage, now, limit)]


async def end(storage, run_id, status="success", at=50):
    await storage.write(lambda tx: tx.runs.set_status(run_id, status, updated_at=at, ended_at=at))


async def test_what_was_put_is_read_again(storage):
    wanted = run(metadata={"ä": [1.0, None]}, kwargs={"input": {"x": "\0"}, "z": 1, "a": 2})
    (stored,) = await put(storage, wanted)
    assert stored.order > 0
    found = await get(storage)
    assert found == stored
    assert list(found.kwargs) == ["input", "z", "a"]
    assert await get(storage, "other") is None


async def test_runs_of_a_thread_come_newest_first_and_active_ones_oldest_first(storage):
    await put(storage, run("a"), run("b"), run("c", "u"), run("d"))
    await end(storage, "b")

    async def work(tx):
        return (
            [one.run_id for one in await tx.runs.of_thread("t")],
            [one.run_id for one in await tx.runs.of_thread("t", limit=1, offset=1)],
            [one.run_id for one in await tx.runs.of_thread("t", status="success")],
            [one.run_id for one in await tx.runs.active("t")],
            [one.run_id for one in await tx.runs.active("t", limit=1)],
            await tx.runs.busy_threads(),
            await tx.runs.has_active("t"),
            await tx.runs.has_active("v"),
        )

    expected = (["d", "b", "a"], ["b"], ["b"], ["a", "d"], ["a"], ["t", "u"], True, False)
    assert await storage.read(work) == expected


async def test_a_claim_gives_attempt_fence_and_lease(storage):
    await put(storage, run("a"), run("b", "u"))
    first, second = await claim(storage)
    assert (first.run_id, first.status, first.attempt, first.lease, first.started_at) == ("a", "running", 1, 130, 100)
    assert second.fence > first.fence > 0
    assert await get(storage, "a") == first
    assert await claim(storage) == []


async def test_a_thread_has_one_running_run_and_the_first_made_that_is_due_comes_first(storage):
    await put(storage, run("a", "t", 30), run("b", "t", 20), run("c", "u", 25), run("later", "v", 101))
    assert await storage.read(lambda tx: tx.runs.peek(100)) == QueuePeek(True, 101)
    assert await claim_ids(storage, now=19) == []
    assert await claim_ids(storage, now=24) == ["b"]
    assert await claim_ids(storage) == ["c"]
    assert await storage.read(lambda tx: tx.runs.peek(100)) == QueuePeek(False, 101)
    await end(storage, "b")
    assert await claim_ids(storage) == ["a"]
    assert await claim_ids(storage, now=101) == ["later"]
    assert await storage.read(lambda tx: tx.runs.peek(101)) == QueuePeek(False, None)


async def test_of_two_that_are_due_the_first_made_goes_first(storage):
    await put(storage, run("a", "t", 30), run("b", "t", 20))
    assert await claim_ids(storage, now=30) == ["a"]


async def test_the_smallest_priority_goes_first_and_of_those_the_first_made(storage):
    await put(
        storage,
        run("late", "t", 10, priority=5),
        run("plain", "u", 30),
        run("later", "v", 20),
        run("urgent", "w", 40, priority=-5),
        run("not yet", "x", 101, priority=-5),
    )
    assert (await get(storage, "urgent")).priority == -5
    assert await claim_ids(storage, limit=1) == ["urgent"]
    assert await claim_ids(storage, limit=2) == ["plain", "later"]
    assert await claim_ids(storage) == ["late"]
    assert await claim_ids(storage, now=101) == ["not yet"]


async def test_of_one_thread_the_first_made_goes_first_whatever_its_priority(storage):
    await put(storage, run("a", "t"), run("b", "t", priority=-5), run("c", "u", priority=-1))
    assert await claim_ids(storage, limit=1) == ["c"]
    assert await claim_ids(storage) == ["a"]
    await end(storage, "a")
    assert await claim_ids(storage) == ["b"]


async def test_a_run_that_is_given_back_keeps_its_priority(storage):
    await put(storage, run("plain"), run("urgent", "u", priority=-1))
    assert await claim_ids(storage, limit=1) == ["urgent"]
    await storage.write(lambda tx: tx.runs.requeue("urgent", attempt=1))
    assert await claim_ids(storage, limit=1) == ["urgent"]


async def test_a_run_is_taken_once(storage):
    await put(storage, run())
    taken = await storage.write(lambda tx: tx.runs.take("r", "w", 20, 50))
    assert (taken.status, taken.attempt, taken.lease) == ("running", 1, 50)
    assert await storage.write(lambda tx: tx.runs.take("r", "w", 20, 50)) is None
    assert await storage.write(lambda tx: tx.runs.take("none", "w", 20, 50)) is None


async def test_a_run_is_made_in_a_workers_hands(storage):
    made = run(metadata={"m": 1})
    claimed = await storage.write(lambda tx: tx.runs.insert(made, Claim("w", 20, 50)))
    assert (claimed.status, claimed.attempt, claimed.lease) == ("running", 1, 50)
    assert (claimed.started_at, claimed.updated_at) == (20, 20)
    assert await get(storage, "r") == claimed
    assert (made.status, made.order) == ("pending", claimed.order)
    await put(storage, run("next"))
    assert await claim_ids(storage) == []
    after = await storage.write(lambda tx: tx.runs.insert(run("other", "u"), Claim("w", 21, 50)))
    assert (after.fence > claimed.fence, after.order > claimed.order) == (True, True)
    assert await storage.write(lambda tx: tx.runs.renew([("r", claimed.fence)], 90)) == [Renewal("r", None)]


async def test_how_a_run_stands(storage):
    await put(storage, run("a"), run("b"))
    (a,) = await claim(storage)
    await storage.write(lambda tx: tx.runs.request_cancel("a", "rollback"))

    async def work(tx):
        return [await tx.runs.run_state(one) for one in ("a", "b", "none")]

    assert await storage.read(work) == [RunState("running", a.fence, "rollback"), RunState("pending", 0, None), None]


async def test_leases_are_renewed_for_those_who_hold_them(storage):
    await put(storage, run("a"), run("b", "u"), run("c", "v"))
    a, b, c = await claim(storage)
    await storage.write(lambda tx: tx.runs.request_cancel("b", "interrupt"))
    await end(storage, "c")
    held = [("a", a.fence), ("b", b.fence), ("c", c.fence), ("a", a.fence + 9), ("none", 1)]
    kept = await storage.write(lambda tx: tx.runs.renew(held, 500))
    assert sorted(kept, key=lambda one: one.run_id) == [Renewal("a", None), Renewal("b", "interrupt")]
    assert [(await get(storage, one)).lease for one in "abc"] == [500, 500, None]
    assert await storage.write(lambda tx: tx.runs.renew([], 500)) == []


async def test_a_rollback_is_not_softened(storage):
    await put(storage, run())
    await storage.write(lambda tx: tx.runs.request_cancel("r", "interrupt"))
    assert (await get(storage)).cancel is None
    await claim(storage)
    for action, expected in (("interrupt", "interrupt"), ("rollback", "rollback"), ("interrupt", "rollback")):
        await storage.write(lambda tx, action=action: tx.runs.request_cancel("r", action))
        assert (await get(storage)).cancel == expected


async def test_leases_that_nobody_renews_are_found_and_given_back(storage):
    await put(storage, run("a"), run("b", "u"), run("waits", "t"))
    a, b = await claim(storage, now=100, limit=2)
    leases = await storage.read(lambda tx: tx.runs.leases())
    assert leases == [Lease("a", a.fence, 130), Lease("b", b.fence, 130)]
    # Renewed by a clock that was set back far, and still told apart from before.
    await storage.write(lambda tx: tx.runs.renew([("b", b.fence)], 7))
    assert (await get(storage, "b")).lease == 131
    wrong = [Lease("a", a.fence + 9, 130), Lease("waits", 0, 130), Lease("none", 1, 130)]
    assert [one.run_id for one in await storage.write(lambda tx: tx.runs.still_held([*wrong, *leases]))] == ["a"]
    await storage.write(lambda tx: tx.runs.requeue("a", attempt=1))
    given = await get(storage, "a")
    assert (given.status, given.attempt, given.fence, given.lease, given.started_at) == ("pending", 1, 0, None, 100)
    (again,) = await claim(storage, now=200)
    assert (again.run_id, again.attempt, again.started_at) == ("a", 2, 100)


async def test_an_end_takes_lease_and_fence(storage):
    await put(storage, run())
    await claim(storage)
    await end(storage, "r", "error", at=140)
    ended = await get(storage)
    assert (ended.status, ended.updated_at, ended.ended_at, ended.lease, ended.fence) == ("error", 140, 140, None, 0)


async def test_deleted_runs_are_gone(storage):
    await put(storage, run("a"), run("b"), run("c", "u"))
    await storage.write(lambda tx: tx.runs.delete("a"))
    await storage.write(lambda tx: tx.runs.delete("a"))
    assert await claim_ids(storage) == ["b", "c"]
    await storage.write(lambda tx: tx.runs.delete_of_thread("t"))
    assert await storage.read(lambda tx: tx.runs.busy_threads()) == ["u"]


async def test_outcomes_come_and_go(storage):
    outcome = Outcome(
        run_id="r", thread_id="t", status="error", output_json=b'{"a":1}', error={"error": "\0"}, metadata={"m": 1}
    )

    async def found():
        return await storage.read(lambda tx: tx.runs.outcome("r"))

    assert await found() is None
    await storage.write(lambda tx: tx.runs.put_outcome(outcome))
    assert await found() == outcome
    await storage.write(lambda tx: tx.runs.expire_outcomes("t", 100))
    assert await storage.write(lambda tx: tx.runs.delete_expired_outcomes(100)) == 0
    other = Outcome(run_id="r", thread_id="t", status="success", output_json=b"1", error=None, metadata={})
    await storage.write(lambda tx: tx.runs.put_outcome(other))
    assert await storage.write(lambda tx: tx.runs.delete_expired_outcomes(101)) == 0
    assert await found() == other
    await storage.write(lambda tx: tx.runs.expire_outcomes("t", 100))
    assert await storage.write(lambda tx: tx.runs.delete_expired_outcomes(101)) == 1
    assert await found() is None
    await storage.write(lambda tx: tx.runs.put_outcome(other))
    await storage.write(lambda tx: tx.runs.delete_outcome("r"))
    assert await found() is None


class Queue:
    """The queue as it is meant, in a few lines."""

    def __init__(self):
        self.runs = {}

    def claim(self, now, limit):
        def comes_first(run_id, thread, seq):
            return all(
                other == run_id
                or one["thread"] != thread
                or (
                    one["status"] != "running"
                    and not (one["status"] == "pending" and one["due"] <= now and one["seq"] < seq)
                )
                for other, one in self.runs.items()
            )

        found = sorted(
            (one["priority"], one["seq"], run_id)
            for run_id, one in self.runs.items()
            if one["status"] == "pending" and one["due"] <= now and comes_first(run_id, one["thread"], one["seq"])
        )
        claimed = [run_id for *_, run_id in found[:limit]]
        for run_id in claimed:
            self.runs[run_id]["status"] = "running"
        return claimed

    def some(self, chance, *statuses):
        found = sorted(run_id for run_id, one in self.runs.items() if one["status"] in statuses)
        return chance.choice(found) if found else None


@pytest.mark.parametrize("seed", range(8))
async def test_the_queue_does_what_it_is_meant_to(storage, seed):
    """Runs come, are claimed, end, are given back and are removed, at random; each claim finds exactly what it should."""
    chance = random.Random(seed)
    queue, made, now = Queue(), 0, 100

    async def step(tx):
        nonlocal made, now
        match chance.choice(
            ("insert", "insert", "insert", "claim", "claim", "take", "end", "requeue", "stop", "delete", "wait")
        ):
            case "insert":
                made += 1
                thread, due = f"t{chance.randrange(4)}", now + chance.choice((0, 0, 0, 0, 5, 20))
                priority = chance.choice((0, 0, 0, -5, 3))
                await tx.runs.insert(run(f"r{made:03}", thread, due, created_at=now, priority=priority))
                queue.runs[f"r{made:03}"] = {
                    "thread": thread,
                    "priority": priority,
                    "due": due,
                    "seq": made,
                    "status": "pending",
                }
            case "claim":
                limit = chance.randint(1, 3)
                if Queue.claim(copy(queue), now, 1):
                    assert (await tx.runs.peek(now)).claimable
                assert [one.run_id for one in await tx.runs.claim("w", now, now + 30, limit)] == queue.claim(now, limit)
            case "take" if run_id := queue.some(chance, "pending"):
                one = queue.runs[run_id]
                if not any(
                    other["thread"] == one["thread"] and other["status"] == "running" for other in queue.runs.values()
                ):
                    assert (await tx.runs.take(run_id, "w", now, now + 30)).run_id == run_id
                    one["status"], one["due"] = "running", 0
            case "end" if run_id := queue.some(chance, "running"):
                await tx.runs.set_status(run_id, "success", updated_at=now, ended_at=now)
                queue.runs[run_id]["status"] = "success"
            case "requeue" if run_id := queue.some(chance, "running"):
                await tx.runs.requeue(run_id, attempt=1)
                queue.runs[run_id]["status"] = "pending"
            case "stop" if run_id := queue.some(chance, "pending"):
                await tx.runs.set_status(run_id, "interrupted", updated_at=now, ended_at=now)
                queue.runs[run_id]["status"] = "interrupted"
            case "delete" if run_id := queue.some(chance, "pending", "running", "success"):
                await tx.runs.delete(run_id)
                del queue.runs[run_id]
            case "wait":
                now += chance.choice((1, 5, 20))

    for _ in range(150):
        await storage.write(step)


def copy(queue):
    twin = Queue()
    twin.runs = {run_id: dict(one) for run_id, one in queue.runs.items()}
    return twin


async def test_many_claim_at_once_and_each_run_is_claimed_once(storage):
    await put(storage, *(run(f"r{number:03}", f"t{number % 20}") for number in range(60)))
    claimed = []

    async def worker(name):
        for _ in range(200):
            found = await claim(storage, limit=3, worker=name)
            claimed.extend(one.run_id for one in found)
            for one in found:
                await end(storage, one.run_id)
            if len(claimed) >= 60:
                break

    await asyncio.gather(*(worker(f"w{number}") for number in range(5)))
    assert sorted(claimed) == [f"r{number:03}" for number in range(60)]
    for thread in range(20):
        of_thread = [one for one in claimed if int(one[1:]) % 20 == thread]
        assert of_thread == sorted(of_thread)
