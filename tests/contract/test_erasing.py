"""Who erases a thread with its copies is asked about every one of them."""

import pytest

from tests.clocks import ManualClock
from threadloom.errors import Conflict, Denied, NotFound
from threadloom.services.cascade_delete import CascadeDeleteService
from threadloom.storage.filters import Equals
from threadloom.types import Caller, ForkedFrom, Thread

pytestmark = pytest.mark.anyio

ANN = Caller(user_id="ann", user=object())


class Guarded:
    """Answers by the thread's id; True where nothing else was said."""

    def __init__(self, **answers):
        self.answers = answers
        self.asked = []

    async def ask(self, caller, resource, action, value):
        self.asked.append((resource, action, value["thread_id"]))
        answer = self.answers.get(value["thread_id"])
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
async def family(storage):
    """A thread of Ann's with her copy of it, and a copy of that of Bob's."""

    async def put(tx):
        for name, source, owner in (("a", None, "ann"), ("b", "a", "ann"), ("c", "b", "bob")):
            fork = source and ForkedFrom(thread_id=source, checkpoint_id=None, at=1)
            made = {"created_at": 1, "updated_at": 1, "state_updated_at": 1, "metadata": {"owner": owner}}
            await tx.threads.insert(Thread(thread_id=name, forked_from=fork, **made))

    await storage.write(put)
    return storage


async def erase(storage, guard, thread_id="a"):
    async def stop(thread_id):
        stopped.append(thread_id)

    stopped = []
    service = CascadeDeleteService(
        storage=storage, guard=guard, clock=ManualClock(), stop_runs=stop, gone=lambda _: None
    )
    try:
        return sorted(await service.delete_with_copies(ANN, thread_id))
    except Exception:
        assert stopped == [], "runs were stopped for nothing"
        raise


async def left(storage):
    async def work(tx):
        return [name for name in "abc" if await tx.threads.get(name) is not None]

    return await storage.read(work)


async def test_every_thread_is_asked_about(family):
    guard = Guarded()
    assert await erase(family, guard) == ["a", "b", "c"]
    assert guard.asked == [("threads", "delete", name) for name in "abc"]
    assert await left(family) == []


@pytest.mark.parametrize(
    ("answers", "refusal"),
    [
        ({"c": Denied(403, "not yours")}, Conflict),
        ({"c": Equals("owner", "ann")}, Conflict),
        ({"a": Denied(403, "not yours")}, Denied),
        ({"a": Equals("owner", "bob")}, NotFound),
        ({"b": Denied(500, "broken")}, Denied),
    ],
)
async def test_one_that_may_not_be_deleted_stands_in_the_way_of_all(family, answers, refusal):
    with pytest.raises(refusal):
        await erase(family, Guarded(**answers))
    assert await left(family) == ["a", "b", "c"]
