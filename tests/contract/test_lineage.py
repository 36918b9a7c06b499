"""What every storage does with histories, beyond what the model test compares."""

import msgspec
import pytest

from threadloom.codec import to_json
from threadloom.errors import LostLeaseError, StaleRefsError
from threadloom.storage.lineage import Blob, CheckpointPut, PendingWrite, WritesPut
from threadloom.types import Run

pytestmark = pytest.mark.anyio


def checkpoint(thread, checkpoint_id, parent=None, *, namespace="", meta=None, **fields):
    fields = {"refs": {}, "blobs": []} | fields
    return CheckpointPut(
        thread_id=thread,
        namespace=namespace,
        checkpoint_id=checkpoint_id,
        parent=parent,
        body_type="t",
        body=checkpoint_id.encode(),
        meta=to_json(meta or {}),
        **fields,
    )


def writes(thread, checkpoint_id, *items, namespace="", **fields):
    """Writes given as (task, index, data)."""
    made = [PendingWrite(task, idx, "channel", "t", data, "") for task, idx, data in items]
    return WritesPut(thread_id=thread, namespace=namespace, checkpoint_id=checkpoint_id, writes=made, **fields)


async def put(storage, *items):
    async def work(tx):
        for item in items:
            await (tx.lineage.put(item) if isinstance(item, CheckpointPut) else tx.lineage.put_writes(item))

    await storage.write(work)


async def ids(storage, thread, **query):
    return [row.checkpoint_id for row in await storage.read(lambda tx: tx.lineage.history(thread, **query))]


async def data(storage, thread, checkpoint_id, namespace=""):
    row = await storage.read(lambda tx: tx.lineage.get(thread, namespace, checkpoint_id))
    return [(write.task_id, write.idx, write.data) for write in row.writes]


async def copy(storage, source, target, at=None):
    return await storage.write(lambda tx: tx.lineage.copy(source, target, at=at))


# --- fencing ---


async def claimed(storage, thread="t"):
    """A running run with its fence."""

    async def work(tx):
        await tx.runs.insert(
            Run(
                run_id="run",
                thread_id=thread,
                assistant_id="a",
                status="pending",
                created_at=1,
                updated_at=1,
                metadata={},
                kwargs={},
                multitask_strategy="enqueue",
                due=1,
            )
        )
        return await tx.runs.claim("worker", 10, 100, 1)

    return (await storage.write(work))[0]


async def test_a_run_writes_while_it_holds_its_fence(storage):
    run = await claimed(storage)
    held = {"run_id": run.run_id, "fence": run.fence}
    await put(storage, checkpoint("t", "1", **held), writes("t", "1", ("task", 0, b"x"), **held))
    assert await ids(storage, "t") == ["1"]
    assert await storage.read(lambda tx: tx.lineage.wrote("t", "run")) is False  # not said in the metadata
    await put(storage, checkpoint("t", "2", "1", meta={"run_id": "run"}, **held))
    assert await storage.read(lambda tx: tx.lineage.wrote("t", "run")) is True


@pytest.mark.parametrize("lost", ["ended", "another fence", "unknown run"])
async def test_a_run_that_lost_its_fence_stores_nothing(storage, lost):
    run = await claimed(storage)
    held = {"run_id": run.run_id, "fence": run.fence}
    if lost == "ended":
        await storage.write(lambda tx: tx.runs.set_status(run.run_id, "success", updated_at=20, ended_at=20))
    elif lost == "another fence":
        held["fence"] += 1
    else:
        held["run_id"] = "nobody"
    with pytest.raises(LostLeaseError):
        await put(storage, checkpoint("t", "1", **held))
    with pytest.raises(LostLeaseError):
        await put(storage, writes("t", "1", ("task", 0, b"x"), **held))
    assert await ids(storage, "t") == []
    assert not await storage.read(lambda tx: tx.lineage.exists("t"))


# --- inherited values ---


@pytest.mark.parametrize("gone", ["delete", "prune", "rollback"])
async def test_values_of_another_era_are_refused(storage, gone):
    blob = Blob(storage.new_blob_id(), "t", b"value")
    await put(storage, checkpoint("t", "0"), checkpoint("t", "1", "0", refs={"c": blob.id}, blobs=[blob], run_id="run"))
    row = await storage.read(lambda tx: tx.lineage.get("t", "", "1"))
    if gone == "rollback":
        await storage.write(lambda tx: tx.lineage.rollback("t", "run"))
    elif gone == "prune":
        await storage.write(lambda tx: tx.lineage.prune("t"))
    else:
        await storage.write(lambda tx: tx.lineage.delete("t"))
    left = await ids(storage, "t")
    with pytest.raises(StaleRefsError):
        await put(storage, checkpoint("t", "2", "1", refs={"c": blob.id}, era=row.era))
    assert await ids(storage, "t") == left


async def test_a_copy_has_an_era_of_its_own(storage):
    blob = Blob(storage.new_blob_id(), "t", b"value")
    await put(storage, checkpoint("t", "1", refs={"c": blob.id}, blobs=[blob]))
    await copy(storage, "t", "copy")
    row = await storage.read(lambda tx: tx.lineage.get("copy", "", "1"))
    await storage.write(lambda tx: tx.lineage.delete("t"))
    await put(storage, checkpoint("copy", "2", "1", refs={"c": blob.id}, era=row.era))
    newest = await storage.read(lambda tx: tx.lineage.latest("copy", ""))
    assert newest.blobs == {blob.id: blob}


# --- copies ---


async def test_a_cut_takes_everything_up_to_the_checkpoint_in_all_namespaces(storage):
    await put(
        storage,
        checkpoint("t", "1"),
        writes("t", "1", ("a", 0, b"result of 1")),
        checkpoint("t", "inner-1", namespace="inner"),
        checkpoint("t", "2", "1"),
        writes("t", "2", ("b", 0, b"result of 2"), ("b", -1, b"error of 2")),
        checkpoint("t", "inner-2", "inner-1", namespace="inner"),
        checkpoint("t", "3", "2"),
    )
    assert await copy(storage, "t", "cut", "2") == "2"
    assert await ids(storage, "cut") == ["2", "inner-1", "1"]
    assert await data(storage, "cut", "1") == [("a", 0, b"result of 1")]
    assert await data(storage, "cut", "2") == []
    assert await storage.read(lambda tx: tx.lineage.get("cut", "", "3")) is None
    assert await storage.read(lambda tx: tx.lineage.get("cut", "inner", "inner-2")) is None
    await put(storage, writes("cut", "2", ("b", 0, b"another result")))
    assert await data(storage, "cut", "2") == [("b", 0, b"another result")]
    assert await data(storage, "t", "2") == [("b", -1, b"error of 2"), ("b", 0, b"result of 2")]


async def test_what_overtook_a_root_checkpoint_stands_after_it(storage):
    await put(
        storage,
        checkpoint("t", "1"),
        writes("t", "2", ("fast", 0, b"x")),
        checkpoint("t", "inner", namespace="inner"),
        checkpoint("t", "2", "1", early=[("inner", "inner")]),
    )
    assert await ids(storage, "t") == ["inner", "2", "1"]
    await copy(storage, "t", "cut", "2")
    assert await ids(storage, "cut") == ["2", "1"]
    assert await data(storage, "cut", "2") == []
    assert await data(storage, "t", "2") == [("fast", 0, b"x")]
    assert await ids(storage, "t", namespace="inner", before="2") == []


async def test_a_copy_that_cannot_be_made(storage):
    await put(storage, checkpoint("t", "1"), checkpoint("t", "inner", namespace="inner"), checkpoint("other", "x"))
    for at in ("none", "inner", "x"):
        with pytest.raises(KeyError):
            await copy(storage, "t", "copy", at)
    with pytest.raises(KeyError):
        await copy(storage, "nothing", "copy", "1")
    with pytest.raises(ValueError, match="other"):
        await copy(storage, "t", "other")
    assert await copy(storage, "nothing", "copy") is None
    assert await ids(storage, "copy") == []
    assert await ids(storage, "other") == ["x"]


async def test_a_thousand_generations(storage, lineage_tables):
    async def work(tx):
        await tx.lineage.put(checkpoint("0", "0"))
        for number in range(1, 1000):
            await tx.lineage.copy(str(number - 1), str(number))
            await tx.lineage.put(checkpoint(str(number), str(number), str(number - 1)))

    await storage.write(work)
    assert await ids(storage, "999", limit=3) == ["999", "998", "997"]
    assert len(await ids(storage, "999")) == 1000
    assert (await storage.read(lambda tx: tx.lineage.get("999", "", "0"))).checkpoint_id == "0"
    assert len(await ids(storage, "500")) == 501

    async def forget(tx):
        for number in [*range(0, 1000, 2), *range(1, 1000, 2)]:
            await tx.lineage.delete(str(number))

    await storage.write(forget)
    assert set(lineage_tables.counts().values()) == {0}


# --- taking away ---


async def test_a_rollback_restores_exactly_what_was_before(storage):
    await put(
        storage,
        checkpoint("t", "1", run_id="first"),
        writes("t", "1", ("ask", -3, b"the question"), run_id="first"),
    )
    before = await storage.read(lambda tx: tx.lineage.history("t"))
    await put(
        storage,
        writes("t", "1", ("ask", -4, b"an answer"), ("ask", -3, b"another question"), run_id="second"),
        checkpoint("t", "2", "1", run_id="second"),
    )
    await copy(storage, "t", "copy")
    await storage.write(lambda tx: tx.lineage.rollback("t", "second"))
    after = await storage.read(lambda tx: tx.lineage.history("t"))
    assert [msgspec.structs.replace(row, era=0) for row in after] == [
        msgspec.structs.replace(row, era=0) for row in before
    ]
    assert await ids(storage, "copy") == ["2", "1"]
    assert await data(storage, "copy", "1") == [("ask", -4, b"an answer"), ("ask", -3, b"another question")]


async def test_rolling_back_the_first_run_leaves_nothing(storage, lineage_tables):
    await put(storage, checkpoint("t", "1", run_id="run"), checkpoint("t", "2", "1", run_id="run"))
    await storage.write(lambda tx: tx.lineage.rollback("t", "run"))
    assert not await storage.read(lambda tx: tx.lineage.exists("t"))
    assert set(lineage_tables.counts().values()) == {0}
    await storage.write(lambda tx: tx.lineage.rollback("t", "run"))


async def test_a_deleted_run_vanishes_from_its_thread_and_from_no_copy(storage):
    await put(
        storage,
        checkpoint("t", "1", meta={"run_id": "first"}, run_id="first"),
        checkpoint("t", "2", "1", meta={"run_id": "second"}, run_id="second"),
        checkpoint("t", "inner", namespace="inner", meta={"run_id": "second"}, run_id="second"),
        checkpoint("t", "3", "2", meta={"run_id": "third"}, run_id="third"),
    )
    await copy(storage, "t", "copy")
    assert await storage.read(lambda tx: tx.lineage.threads_of_run("second")) == ["t"]
    await storage.write(lambda tx: tx.lineage.delete_run("t", "second"))
    assert await ids(storage, "t") == ["3", "1"]
    assert await ids(storage, "copy") == ["3", "inner", "2", "1"]
    assert await storage.read(lambda tx: tx.lineage.threads_of_run("second")) == []
    await storage.write(lambda tx: tx.lineage.delete_run("t", "third"))
    assert await ids(storage, "t") == ["1"]


async def test_a_deleted_run_takes_its_answers_to_older_questions_along(storage):
    await put(
        storage,
        checkpoint("t", "1", meta={"run_id": "asks"}, run_id="asks"),
        writes("t", "1", ("ask", -3, b"question"), run_id="asks"),
        writes("t", "1", ("ask", -4, b"answer"), ("ask", 0, b"result"), run_id="answers"),
        checkpoint("t", "2", "1", meta={"run_id": "answers"}, run_id="answers"),
    )
    await copy(storage, "t", "copy")
    await storage.write(lambda tx: tx.lineage.delete_run("t", "answers"))
    assert await ids(storage, "t") == ["1"]
    assert await data(storage, "t", "1") == [("ask", -3, b"question")]
    assert await data(storage, "copy", "1") == [("ask", -4, b"answer"), ("ask", -3, b"question"), ("ask", 0, b"result")]


async def test_a_prune_keeps_the_newest_of_each_namespace_without_parent(storage):
    blob = Blob(storage.new_blob_id(), "t", b"value")
    await put(
        storage,
        checkpoint("t", "1", refs={"c": blob.id}, blobs=[blob]),
        checkpoint("t", "inner-1", namespace="inner"),
        checkpoint("t", "inner-2", "inner-1", namespace="inner"),
        checkpoint("t", "2", "1", refs={"c": blob.id}),
        writes("t", "2", ("ask", -3, b"question")),
    )
    await copy(storage, "t", "copy")
    before = await storage.read(lambda tx: tx.lineage.history("copy"))
    await storage.write(lambda tx: tx.lineage.prune("t"))
    await storage.write(lambda tx: tx.lineage.prune("t"))
    rows = await storage.read(lambda tx: tx.lineage.history("t"))
    assert [(row.namespace, row.checkpoint_id, row.parent) for row in rows] == [
        ("", "2", None),
        ("inner", "inner-2", None),
    ]
    assert [(kept.type, kept.data) for kept in rows[0].blobs.values()] == [("t", b"value")]
    assert await data(storage, "t", "2") == [("ask", -3, b"question")]
    assert await storage.read(lambda tx: tx.lineage.history("copy")) == before


# --- reading ---


async def test_order_is_by_storing_and_an_unknown_before_cuts_by_id(storage):
    await put(storage, checkpoint("t", "b"), checkpoint("t", "d", "b"), checkpoint("t", "a", "b"))
    assert await ids(storage, "t") == ["a", "d", "b"]
    assert await ids(storage, "t", before="a") == ["d", "b"]
    assert await ids(storage, "t", before="d") == ["b"]
    assert await ids(storage, "t", before="c") == ["a", "b"]
    assert await ids(storage, "t", checkpoint_id="d") == ["d"]
    assert await ids(storage, "t", limit=0) == []


async def test_metadata_filters_by_containment_before_the_limit_counts(storage):
    await put(
        storage,
        checkpoint("t", "1", meta={"step": 1, "deep": {"a": 1, "b": [1, 2]}}),
        checkpoint("t", "2", "1", meta={"step": 2, "deep": {"a": 2}}),
        checkpoint("t", "3", "2", meta={"step": 1.0, "none": None}),
    )
    await copy(storage, "t", "copy")
    for thread in ("t", "copy"):
        assert await ids(storage, thread, metadata={"step": 1}, limit=2) == ["3", "1"]
        assert await ids(storage, thread, metadata={"deep": {"b": [2]}}) == ["1"]
        assert await ids(storage, thread, metadata={"none": None}) == ["3"]
        assert await ids(storage, thread, metadata={"absent": None}) == []
        assert await ids(storage, thread, metadata={"thread_id": thread}) == ["3", "2", "1"]
        assert await ids(storage, thread, metadata={"step": "1"}) == []
    assert await ids(storage, "copy", metadata={"thread_id": "t"}) == []


async def test_everything_lists_all_threads_newest_first(storage):
    await put(storage, checkpoint("t", "1"), checkpoint("u", "2"), checkpoint("t", "3", "1", meta={"k": 1}))
    await copy(storage, "t", "copy")

    async def listed(**query):
        rows = await storage.read(lambda tx: tx.lineage.everything(**query))
        return sorted((-row.pos, row.thread_id, row.checkpoint_id) for row in rows)

    assert [(thread, checkpoint_id) for _, thread, checkpoint_id in await listed()] == [
        ("copy", "3"),
        ("t", "3"),
        ("u", "2"),
        ("copy", "1"),
        ("t", "1"),
    ]
    assert len(await listed(limit=2)) == 2
    assert [checkpoint_id for *_, checkpoint_id in await listed(metadata={"k": 1})] == ["3", "3"]


async def test_usage_counts_what_a_thread_reaches_and_what_it_inherited(storage):
    big = Blob(storage.new_blob_id(), "t", b"x" * 1000)
    other = Blob(storage.new_blob_id(), "t", b"y" * 10)
    await put(
        storage,
        checkpoint("t", "1", refs={"c": big.id}, blobs=[big], small={"n": 3}),
        checkpoint("t", "2", "1", refs={"c": big.id}, small={"n": 0}),
        writes("t", "2", ("task", 0, b"12345")),
    )
    await copy(storage, "t", "copy")
    source = await storage.read(lambda tx: tx.lineage.usage("t"))
    copied = await storage.read(lambda tx: tx.lineage.usage("copy"))
    assert source.checkpoints == (2, 2 + 4)
    assert source.pending_writes == (1, 5)
    assert source.channels == {"c": (1, 1000), "n": (1, 3)}
    assert source.shared_bytes == 0
    assert copied.shared_bytes == 6 + 5 + 1003
    assert msgspec.structs.replace(copied, shared_bytes=0) == source
    await put(storage, checkpoint("copy", "3", "2", refs={"c": other.id}, blobs=[other]))
    grown = await storage.read(lambda tx: tx.lineage.usage("copy"))
    assert grown.channels["c"] == (2, 1010)
    assert grown.shared_bytes == copied.shared_bytes
    assert await storage.read(lambda tx: tx.lineage.usage("t")) == source
    assert (await storage.read(lambda tx: tx.lineage.usage("nothing"))).checkpoints == (0, 0)


# --- what the map of a thread is made of ---


async def test_root_checkpoints_are_read_with_what_is_recorded_of_their_messages(storage):
    record = b'[["m1","human","d"]]'
    meta = {"source": "loop", "step": 1, "run_id": "r", "user": "hidden"}
    assert await storage.read(lambda tx: tx.lineage.view("t")) is None
    await put(storage, checkpoint("t", "1", messages=record, meta=meta), checkpoint("t", "2", "1", namespace="inner"))
    before = await storage.read(lambda tx: tx.lineage.view("t"))
    await copy(storage, "t", "copy")
    await put(storage, checkpoint("t", "3", "1"), checkpoint("copy", "4", "1", messages=b"[]"))
    assert await storage.read(lambda tx: tx.lineage.view("t")) != before
    for thread, last, kept in (("t", "3", None), ("copy", "4", b"[]")):
        rows = await storage.read(lambda tx, thread=thread: tx.lineage.root_checkpoints(thread, 10))
        assert [msgspec.structs.astuple(row)[1:] for row in rows] == [
            ("1", None, "loop", 1, "r", record),
            (last, "1", None, None, None, kept),
        ]
        newest = await storage.read(lambda tx, thread=thread: tx.lineage.root_checkpoints(thread, 1))
        assert newest == rows[-1:]
        later = await storage.read(
            lambda tx, thread=thread, pos=rows[0].pos: tx.lineage.root_checkpoints(thread, 10, after=pos)
        )
        assert later == rows[1:]
    assert await storage.read(lambda tx: tx.lineage.root_checkpoints("other", 10)) == []
