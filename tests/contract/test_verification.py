"""Digests: equal for copies, other for anything else; and every altered byte is found. No history is damaged that is not."""

import random
from typing import Annotated, TypedDict

import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt

from tests.encryptions import CIPHERS
from tests.storages import bare, kind_of, rows_of
from threadloom.auth.authorize import OPEN
from threadloom.checkpointer import Saver
from threadloom.services.verification import VerificationService
from threadloom.types import Caller, Thread

pytestmark = pytest.mark.anyio

CALLER = Caller(trusted=True)
COLUMNS = (
    ("checkpoints", "pos", "body"),
    ("checkpoints", "pos", "meta"),
    ("checkpoints", "pos", "digests"),
    ("blobs", "id", "data"),
    ("writes", "pos", "data"),
    ("writes", "pos", "digest"),
)
FLIPS = 8
"""Bytes that are altered in each column, one after the other."""


@pytest.fixture(params=CIPHERS)
def cipher(request):
    return request.param


class State(TypedDict):
    messages: Annotated[list[str], lambda old, new: old + new]
    table: dict
    note: str


def graph_of(saver):
    async def work(state: State) -> State:
        number = len(state["messages"])
        words = [f"{number} " + "x" * 700, "y" * 300]
        return {"messages": words, "table": {"n": list(range(number * 40))}, "note": f"n{number}"}

    async def ask(state: State) -> State:
        return {"note": interrupt({"sure": state["note"]})}

    builder = StateGraph(State)
    builder.add_node("work", work)
    builder.add_node("ask", ask)
    builder.add_edge(START, "work")
    builder.add_edge("work", "ask")
    return builder.compile(checkpointer=saver)


async def filled(storage, thread_id, turns=2):
    """A thread with a history."""
    record = Thread(thread_id=thread_id, created_at=1, updated_at=1, state_updated_at=1, metadata={})
    await storage.write(lambda tx: tx.threads.insert(record))
    for turn in range(turns):
        # Another process each time: what a put inherits was read before, or not.
        graph = graph_of(Saver(storage))
        for number in range(2):
            given = {"messages": [f"turn {turn} {number}"], "table": {}, "note": ""}
            await graph.ainvoke(given, {"configurable": {"thread_id": thread_id}}, durability="sync")


async def digests(storage, thread_id, *, recompute, page=5):
    service = VerificationService(storage=storage, guard=OPEN)
    found, before = [], None
    while True:
        part = await service.digests(CALLER, thread_id, before=before, limit=page, recompute=recompute)
        found += part.checkpoints
        if part.next is None:
            return found
        before = part.next


async def damage(storage, thread_id):
    return [one.damage for one in await digests(storage, thread_id, recompute=True) if one.damage]


async def set_bytes(storage, table, key, column, where, value, text):
    if kind_of(storage) == "postgres":
        query = f"UPDATE {table} SET {column} = $1 WHERE {key} = $2"
        await bare(storage).database.write(lambda session: session.execute(query, value, where))
    else:
        query = f"UPDATE {table} SET {column} = {'CAST(? AS TEXT)' if text else '?'} WHERE {key} = ?"
        await bare(storage).database.write(lambda connection: connection.execute(query, (value, where)).rowcount)


async def test_copies_have_equal_digests_with_and_without_reading(storage):
    await filled(storage, "t")
    await filled(storage, "other")
    record = Thread(thread_id="copy", created_at=1, updated_at=1, state_updated_at=1, metadata={})
    await storage.write(lambda tx: tx.threads.insert(record))
    await storage.write(lambda tx: tx.lineage.copy("t", "copy"))
    one = await digests(storage, "t", recompute=False)
    assert len(one) > 10 and all(row.digest for row in one)
    for recompute in (True, False):
        assert await digests(storage, "copy", recompute=recompute) == one
        assert await digests(storage, "other", recompute=recompute) != one
    for thread in ("t", "copy"):
        await storage.write(lambda tx, thread=thread: tx.lineage.prune(thread))
    pruned = await digests(storage, "t", recompute=True)
    assert 0 < len(pruned) < len(one)
    assert await digests(storage, "copy", recompute=False) == pruned


async def test_a_write_has_one_digest_however_it_is_stored(storage, cipher):
    big = [f"element {number} " + "x" * 50 for number in range(100)]
    checkpoint = empty_checkpoint()
    checkpoint |= {"channel_values": {"table": big}, "channel_versions": {"table": "0000000001.0"}}
    for thread_id in ("over", "plain"):
        record = Thread(thread_id=thread_id, created_at=1, updated_at=1, state_updated_at=1, metadata={})
        await storage.write(lambda tx, record=record: tx.threads.insert(record))
        saver = Saver(storage)
        config = {"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}
        config = await saver.aput(config, checkpoint, {"source": "loop", "step": 1}, checkpoint["channel_versions"])
        # Another process does not know the value that the write could be stored over.
        writer = saver if thread_id == "over" else Saver(storage)
        await writer.aput_writes(config, [("table", [*big, "one more"]), ("note", "n")], "task")
    if cipher == "plain":
        types = {type_ for (type_,) in rows_of(storage, "SELECT type FROM writes WHERE channel = 'table'")}
        assert types == {"msgpack", "msgpack+over"}
    (listed,) = {tuple(await recorded_writes(storage, thread_id)) for thread_id in ("over", "plain")}
    assert all(digest for *_, digest in listed)
    answers = [
        await digests(storage, thread_id, recompute=both) for thread_id in ("over", "plain") for both in (False, True)
    ]
    assert answers[0][0].digest and all(answer == answers[0] for answer in answers)
    assert await damage(storage, "over") == []


async def recorded_writes(storage, thread_id):
    (row,) = await storage.read(lambda tx: tx.lineage.digests(thread_id, before=None, limit=9))
    return row.writes


async def test_every_altered_byte_is_found(storage):
    dice = random.Random(3)
    await filled(storage, "t")
    assert await damage(storage, "t") == []
    for table, key, column in COLUMNS:
        rows = [row for row in rows_of(storage, f"SELECT {key}, {column} FROM {table}") if row[1]]
        assert rows
        for _ in range(FLIPS):
            where, stored = dice.choice(rows)
            text = isinstance(stored, str)
            altered = bytearray(stored.encode() if text else stored)
            # Of a ciphertext in JSON the last quote is not looked at.
            altered[dice.randrange(len(altered) - column.startswith("digest"))] ^= 1 << dice.randrange(7 if text else 8)
            await set_bytes(storage, table, key, column, where, bytes(altered), text)
            assert await damage(storage, "t"), (table, column, where, bytes(altered))
            await set_bytes(storage, table, key, column, where, stored.encode() if text else stored, text)
    assert await damage(storage, "t") == []


async def test_a_lost_value_is_damage(storage):
    await filled(storage, "t", turns=1)
    if kind_of(storage) == "postgres":
        await bare(storage).database.write(lambda session: session.execute("DELETE FROM blobs"))
    else:
        await bare(storage).database.write(lambda connection: connection.execute("DELETE FROM blobs").rowcount)
    assert any("cannot be read" in what for found in await damage(storage, "t") for what in found)
