"""Columns as they are stored: read, replaced in place, walked through in pages."""

import pytest

from tests.clocks import MORNING
from threadloom.codec import from_json, to_json
from threadloom.storage.ciphertexts import COLUMNS, Stored
from threadloom.storage.events import EventValue
from threadloom.storage.lineage import Blob, CheckpointPut, PendingWrite, Tag, WritesPut
from threadloom.types import Assistant, Cron, Delivery, Event, ForkedFrom, Item, Outcome, Run, Thread

pytestmark = pytest.mark.anyio

DOCUMENT = {"word": "clear", "graph_id": "g"}
TEXT = to_json(DOCUMENT)


async def filled(storage):
    """One row of everything, and a copy of the thread."""

    async def work(tx):
        now = MORNING
        times = {"created_at": now, "updated_at": now}
        await tx.threads.insert(
            Thread(
                thread_id="t",
                state_updated_at=now,
                metadata=DOCUMENT,
                config=DOCUMENT,
                error=DOCUMENT,
                values_json=TEXT,
                interrupts_json=TEXT,
                **times,
            )
        )
        copy = Thread(thread_id="", state_updated_at=now, metadata={}, forked_from=ForkedFrom("t", None, now), **times)
        await tx.threads.insert_copies(copy, {"u": {}}, state_of="t")
        kwargs = {"input": DOCUMENT, "config": {"configurable": DOCUMENT}}
        await tx.runs.insert(
            Run(
                run_id="r",
                thread_id="t",
                assistant_id="a",
                status="pending",
                metadata=DOCUMENT,
                kwargs=kwargs,
                multitask_strategy="enqueue",
                due=now,
                **times,
            )
        )
        await tx.runs.put_outcome(
            Outcome(run_id="r", thread_id="t", status="error", output_json=TEXT, error=DOCUMENT, metadata=DOCUMENT)
        )
        events = [Event(thread_id="t", run_id="r", name="values", data=TEXT, ms=n, n=0) for n in range(3)]
        await tx.events.append(events, [None, None, EventValue(storage.new_blob_id(), None, TEXT)])
        assistant = Assistant(
            assistant_id="a",
            graph_id="g",
            version=1,
            name="n",
            config=DOCUMENT,
            context=DOCUMENT,
            metadata=DOCUMENT,
            **times,
        )
        await tx.assistants.insert(assistant)
        await tx.crons.insert(
            Cron(
                cron_id="c",
                assistant_id="a",
                schedule="* * * * *",
                payload={"input": DOCUMENT},
                metadata=DOCUMENT,
                user=DOCUMENT,
                **times,
            )
        )
        await tx.crons.note("c", run_id=None, error="clear")
        delivery = Delivery(
            delivery_id="d", run_id="r", thread_id="t", url="u", body_json=TEXT, due=now, tries_left=1, **times
        )
        await tx.deliveries.insert(delivery)
        await tx.items.put(Item(namespace=("a", "b"), key="k", value_json=TEXT, **times), [], now)
        blob = Blob(storage.new_blob_id(), "t", b"clear")
        await tx.lineage.put(
            CheckpointPut(
                thread_id="t",
                namespace="",
                checkpoint_id="1",
                parent=None,
                body_type="t",
                body=b"clear",
                refs={"c": blob.id},
                blobs=[blob],
                meta=TEXT,
                messages=TEXT,
            )
        )
        write = PendingWrite("task", 0, "c", "t", b"clear", "")
        await tx.lineage.put_writes(WritesPut(thread_id="t", namespace="", checkpoint_id="1", writes=[write]))
        await tx.lineage.reset("t", "1", now=now, record=DOCUMENT)
        await tx.lineage.undo("t", now=now, record=DOCUMENT)
        await tx.lineage.set_tag("t", Tag("kept", "1", now, now))

    await storage.write(work)


async def all_of(storage, column, limit=100):
    async def page_after(key):
        return await storage.read(lambda tx: tx.ciphertexts.page(column, key, limit))

    found, after = [], None
    while page := await page_after(after):
        assert len(page) <= limit
        found += page
        after = page[-1].key
    return found


@pytest.mark.parametrize("column", COLUMNS)
async def test_a_column_is_walked_through_read_and_replaced(storage, column):
    await filled(storage)
    found = await all_of(storage, column, limit=2)
    assert found
    marks = (b"clear",) if not column.endswith(("digest", "digests")) else (b'"',)
    assert all(mark in b"".join(stored.data for stored in found) for mark in marks)
    assert len({stored.key for stored in found}) == len(found)
    assert found == await all_of(storage, column)
    first = found[0]
    assert await storage.read(lambda tx: tx.ciphertexts.get(column, first.key)) == first
    other = Stored(first.key, first.type and "t+other", first.data.replace(b"clear", b"other"))
    await storage.write(lambda tx: tx.ciphertexts.put(column, other))
    again = await storage.read(lambda tx: tx.ciphertexts.get(column, first.key))
    assert again == other
    rest = await all_of(storage, column)
    assert [stored for stored in rest if stored.key != first.key] == [
        stored if "states" not in column else again_shared(stored, other) for stored in found[1:]
    ]


def again_shared(stored, other):
    """What a copy shows: the very state that was replaced."""
    return Stored(stored.key, other.type, other.data)


async def test_what_is_replaced_is_what_the_tables_give(storage):
    await filled(storage)
    new = to_json({**DOCUMENT, "word": "other"})
    await storage.write(lambda tx: tx.ciphertexts.put("threads.metadata", Stored(("t",), "", new)))
    await storage.write(lambda tx: tx.ciphertexts.put("items.value", Stored((("a", "b"), "k"), "", new)))
    thread = await storage.read(lambda tx: tx.threads.get("t"))
    item = await storage.read(lambda tx: tx.items.get(("a", "b"), "k", MORNING))
    assert thread.metadata["word"] == from_json(item.value_json)["word"] == "other"
    assert thread.updated_at == MORNING


async def test_what_is_not_there_is_neither_read_nor_made(storage):
    await filled(storage)
    assert await storage.read(lambda tx: tx.ciphertexts.get("threads.error", ("u",))) is None
    assert await storage.read(lambda tx: tx.ciphertexts.get("blobs.data", (999_999,))) is None
    before = await all_of(storage, "threads.metadata")
    await storage.write(lambda tx: tx.ciphertexts.put("threads.metadata", Stored(("nobody",), "", b"{}")))
    assert await all_of(storage, "threads.metadata") == before


async def test_notes_are_kept_changed_and_struck_out(storage):
    async def note(value):
        await storage.write(lambda tx: tx.ciphertexts.set_note("aes", value))
        return await storage.read(lambda tx: tx.ciphertexts.note("aes"))

    assert await storage.read(lambda tx: tx.ciphertexts.note("aes")) is None
    assert [await note("a"), await note("b"), await note(None), await note(None)] == ["a", "b", None, None]
