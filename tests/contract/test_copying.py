"""Many copies at once: each is asked about, all are made or none, and each is a thread of its own."""

import pytest

from tests.contract.copied import service
from tests.contract.test_lineage import checkpoint, ids, put
from tests.contract.test_threads import thread
from tests.storages import rows_of
from threadloom.auth.authorize import OPEN
from threadloom.errors import Conflict, Denied, NotFound
from threadloom.services.requests import ThreadCopy
from threadloom.storage.filters import Equals
from threadloom.types import SYSTEM, Caller

pytestmark = pytest.mark.anyio

ANN = Caller(user_id="ann", user=object())


class Owned:
    """Every thread is its maker's. `spoiled`: the number of a copy whose handler does something else."""

    def __init__(self, spoiled=None, spoil=None):
        self.made = 0
        self.spoiled = spoiled
        self.spoil = spoil

    def asks(self, caller):
        return True

    async def ask(self, caller, resource, action, value):
        if action == "create":
            self.made += 1
            value["metadata"] |= {"owner": "ann", "number": self.made}
            if self.made == self.spoiled:
                self.spoil(value)
        return Equals("owner", "ann")


@pytest.fixture
async def source(storage):
    shown = {"values_json": b'{"n":1}', "interrupts_json": b"{}", "config": {"tags": ["t"]}}
    await storage.write(lambda tx: tx.threads.insert(thread("source", metadata={"owner": "ann", "k": 1}, **shown)))
    await put(storage, checkpoint("source", "1"), checkpoint("source", "2", "1"))
    return storage


async def found(storage, thread_id):
    return await storage.read(lambda tx: tx.threads.get(thread_id))


async def test_each_is_what_its_handler_made_of_it(source):
    made = (await service(source, Owned()).copy(ANN, "source", ThreadCopy(count=3, metadata={"k": 2}))).threads
    assert [copy.metadata for copy in made] == [{"owner": "ann", "k": 2, "number": number} for number in (1, 2, 3)]
    for copy in made:
        assert await found(source, copy.thread_id) == copy
        assert (copy.values_json, copy.config, copy.forked_from.user_id) == (b'{"n":1}', {"tags": ["t"]}, "ann")
        assert await ids(source, copy.thread_id) == ["2", "1"]
    await put(source, checkpoint(made[0].thread_id, "3", "2"))
    assert [await ids(source, one) for one in (made[1].thread_id, "source")] == [["2", "1"]] * 2


async def test_at_a_checkpoint(source):
    made = (await service(source).copy(SYSTEM, "source", ThreadCopy(count=2, checkpoint_id="1"))).threads
    for copy in made:
        assert await found(source, copy.thread_id) == copy
        assert (copy.forked_from.checkpoint_id, copy.forked_from.user_id) == ("1", None)
        assert await ids(source, copy.thread_id) == ["1"]


def refuse(value):
    raise Denied(403, "not yours")


@pytest.mark.parametrize(
    ("guard", "asked", "refusal"),
    [
        (lambda: Owned(2, refuse), ThreadCopy(count=3), Denied),
        (lambda: Owned(3, lambda value: value["metadata"].update(owner="bob")), ThreadCopy(count=3), Conflict),
        (lambda: OPEN, ThreadCopy(count=2, checkpoint_id="9"), NotFound),
    ],
)
async def test_all_or_none(source, guard, asked, refusal):
    with pytest.raises(refusal):
        await service(source, guard()).copy(ANN, "source", asked)
    for table, number in {"threads": 1, "heads": 1, "segments": 1, "forks": 0}.items():
        assert rows_of(source, f"SELECT count(*) FROM {table}") == [(number,)]


async def test_of_a_thread_that_is_not_there(storage):
    with pytest.raises(Conflict):
        await service(storage).copy(SYSTEM, "none", ThreadCopy(count=2))
