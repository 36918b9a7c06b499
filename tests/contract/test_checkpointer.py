"""The saver beyond LangGraph's conformance suite: values stored once, calls from worker threads, clones."""

import asyncio
import itertools
import operator
from fractions import Fraction
from typing import Annotated, Any, TypedDict

import numpy as np
import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import END, START, MessagesState, StateGraph

from tests.encryptions import CIPHERS
from tests.savers import SAVERS, saver_of
from tests.storages import rows_of
from threadloom.checkpointer import Saver
from threadloom.checkpointer.cache import Lru
from threadloom.errors import LostLeaseError
from threadloom.services.branches import load_turns

pytestmark = pytest.mark.anyio


@pytest.fixture(params=CIPHERS)
def cipher(request):
    return request.param


BIG = "x" * 1000


@pytest.fixture(params=SAVERS)
async def saver(storage, request):
    async with saver_of(storage, request.param) as saver:
        yield saver


def on(thread, **configurable):
    return {"configurable": {"thread_id": thread, "checkpoint_ns": "", **configurable}}


def checkpoint(number, **values):
    made = empty_checkpoint()
    made["id"] = f"{number:04d}"
    made["channel_values"] = values
    made["channel_versions"] = dict.fromkeys(values, 1)
    return made


async def usage(storage, thread):
    return (await storage.read(lambda tx: tx.lineage.usage(thread))).channels


async def test_values_of_every_kind_come_back(storage, saver):
    values = {
        "none": None,
        "yes": True,
        "whole": -(2**62),
        "part": 1.5,
        "text": "short",
        "long": BIG,
        "list": [1, {"a": [2, 3]}],
        "bytes": b"\x00\xff",
        "set": {1, 2},
        "huge": 2**70,
        "numbers": [np.float64(1.5), np.int32(2), Fraction(1, 3), 1 + 2j, range(3), -(2**99)],
        "odd keys": {np.int64(1): 2, 2**70: 3, (1, 2): 4, "\ud800": 5},
    }
    stored = await saver.aput(on("t"), checkpoint(1, **values), {"step": 1}, dict.fromkeys(values, 1))
    for config in (stored, on("t")):
        found = await saver.aget_tuple(config)
        assert found.checkpoint["channel_values"] == values
        assert found.config == stored
    fresh = Saver(storage)
    assert (await fresh.aget_tuple(on("t"))).checkpoint["channel_values"] == values


async def test_a_value_is_stored_once_for_as_long_as_its_version_stands(storage, saver):
    config = await saver.aput(on("t"), checkpoint(1, kept=BIG, changed=BIG), {}, {"kept": 1, "changed": 1})
    following = checkpoint(2, kept=BIG, changed=BIG + "2")
    following["channel_versions"]["changed"] = 2
    config = await saver.aput(config, following, {}, {"changed": 2})
    assert {name: count for name, (count, _) in (await usage(storage, "t")).items()} == {"kept": 1, "changed": 2}

    fresh = Saver(storage)  # knows nothing: stores the value again, unless it read the parent first
    third = checkpoint(3, kept=BIG, changed=BIG + "2")
    third["channel_versions"]["changed"] = 2
    await fresh.aget_tuple(config)
    config = await fresh.aput(config, third, {}, {})
    assert (await usage(storage, "t"))["kept"][0] == 1
    await Saver(storage).aput(config, third | {"id": "0004"}, {}, {})
    assert (await usage(storage, "t"))["kept"][0] == 2
    assert (await saver.aget_tuple(on("t"))).checkpoint["channel_values"]["kept"] == BIG


async def test_values_that_went_with_a_prune_are_stored_again(storage, saver):
    config = await saver.aput(on("t"), checkpoint(1, kept=BIG), {}, {"kept": 1})
    config = await saver.aput(config, checkpoint(2, kept=BIG), {}, {})
    await saver.aprune(["t"])
    config = await saver.aput(config, checkpoint(3, kept=BIG), {}, {})
    await saver.aprune(["t"])
    await saver.adelete_thread("t")
    config = await saver.aput(config, checkpoint(4, kept=BIG), {}, {})
    assert (await saver.aget_tuple(config)).checkpoint["channel_values"] == {"kept": BIG}


async def test_the_thread_id_is_not_part_of_the_metadata(saver):
    await saver.aput(on("t", user="me"), checkpoint(1), {"step": 1, "thread_id": "t"}, {})
    assert (await saver.aget_tuple(on("t"))).metadata == {"step": 1, "user": "me"}


async def test_a_run_without_its_fence_stores_nothing(saver):
    config = on("t", run_id="gone", __run_fence=7)
    with pytest.raises(LostLeaseError):
        await saver.aput(config, checkpoint(1), {}, {})
    with pytest.raises(LostLeaseError):
        await saver.aput_writes(config | on("t", checkpoint_id="1", run_id="gone", __run_fence=7), [("c", 1)], "task")
    assert await saver.aget_tuple(on("t")) is None


async def test_long_listings_come_in_pages(saver):
    config = on("t")
    for number in range(120):
        config = await saver.aput(config, checkpoint(number), {"step": number, "even": number % 2 == 0}, {})

    async def steps(**query):
        return [found.metadata["step"] async for found in saver.alist(on("t"), **query)]

    assert await steps() == list(range(119, -1, -1))
    assert await steps(limit=55) == list(range(119, 64, -1))
    assert await steps(filter={"even": True}, limit=52) == list(range(118, 14, -2))
    assert await steps(before=on("t", checkpoint_id="0100"), limit=60) == list(range(99, 39, -1))
    assert await steps(limit=0) == []
    assert len([found async for found in saver.alist(None, limit=3)]) == 3


async def test_deleting_runs_and_pruning_by_unknown_strategy(saver):
    for thread in ("t", "u"):
        await saver.aput(on(thread, run_id="run-1"), checkpoint(1), {}, {})
        await saver.aput(on(thread, run_id="run-2", checkpoint_id="0001"), checkpoint(2), {}, {})
    await saver.acopy_thread("t", "copy")
    await saver.adelete_for_runs(["run-2", "unknown"])
    assert (await saver.aget_tuple(on("t"))).checkpoint["id"] == "0001"
    assert (await saver.aget_tuple(on("u"))).checkpoint["id"] == "0001"
    assert (await saver.aget_tuple(on("copy"))).checkpoint["id"] == "0002"
    with pytest.raises(ValueError, match="shorten"):
        await saver.aprune(["t"], strategy="shorten")


async def test_the_input_of_a_turn_is_found_from_any_of_its_steps(saver):
    class State(TypedDict):
        n: Annotated[int, operator.add]

    builder = StateGraph(State)
    builder.add_node("one", lambda state: {"n": 1})
    builder.add_node("two", lambda state: {"n": 1})
    builder.add_edge(START, "one")
    builder.add_edge("one", "two")
    graph = builder.compile(checkpointer=saver)
    on = {"configurable": {"thread_id": "t"}}
    await graph.ainvoke({"n": 0}, on)
    await graph.ainvoke({"n": 0}, on)
    history = [state async for state in graph.aget_state_history(on)]
    ids = [state.config["configurable"]["checkpoint_id"] for state in history]
    inputs = [ids[3], ids[7]]
    assert [history[3].metadata["source"], history[7].metadata["source"]] == ["input", "input"]
    assert [await saver.input_before(state.config) for state in history] == [inputs[0]] * 4 + [inputs[1]] * 4
    # A branch that is newer in time goes back to its own input.
    await graph.ainvoke({"n": 5}, history[4].config)
    assert await saver.input_before(history[0].config) == inputs[0]
    assert await saver.input_before({"configurable": {"thread_id": "t", "checkpoint_id": "nowhere"}}) is None
    await graph.aupdate_state({"configurable": {"thread_id": "made"}}, {"n": 1}, as_node="one")
    newest = (await graph.aget_state({"configurable": {"thread_id": "made"}})).config
    assert await saver.input_before(newest) is None


async def test_an_encrypting_serializer_leaves_no_value_in_the_clear(storage, tmp_path):
    class Reversed:
        """A cipher for tests: not the text itself is all it has to be."""

        def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
            return "reversed", plaintext[::-1]

        def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
            return ciphertext[::-1]

    saver = Saver(storage, serde=EncryptedSerializer(Reversed(), JsonPlusSerializer()))
    config = await saver.aput(on("t"), checkpoint(1, small="SECRET", big="SECRET" * 100), {}, {"small": 1, "big": 1})
    await saver.aput_writes(config, [("c", "SECRET")], "task")
    found = await saver.aget_tuple(config)
    assert found.checkpoint["channel_values"]["small"] == "SECRET"
    assert found.pending_writes == [("task", "c", "SECRET")]
    await storage.close()
    assert b"SECRET" not in b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    await storage.open()


async def test_clones_with_an_allowlist_share_what_is_known(storage):
    saver = Saver(storage, serde=JsonPlusSerializer(allowed_msgpack_modules=None))
    clone = saver.with_allowlist({("somewhere", "Something")})
    assert clone is not saver
    config = await saver.aput(on("t"), checkpoint(1, kept=BIG), {}, {"kept": 1})
    await clone.aput(config, checkpoint(2, kept=BIG), {}, {})
    assert (await usage(storage, "t"))["kept"][0] == 1


async def test_what_is_known_is_bounded():
    known: Lru[int, int] = Lru(3)
    for number in range(5):
        known.put(number, number)
        known.get(2)
    assert [known.get(number) for number in range(5)] == [None, None, 2, 3, 4]


# --- worker threads ---


class Count(TypedDict):
    seen: Annotated[list[Any], operator.add]


async def test_a_plain_function_may_call_graphs_from_its_thread(saver):
    def child(state: Count) -> Count:
        return {"seen": ["child"]}

    inner = StateGraph(Count)
    inner.add_node("child", child)
    inner.add_edge(START, "child")
    compiled_inner = inner.compile()

    def node(state: Count, config) -> Count:
        other = on(config["configurable"]["thread_id"] + "-other")
        free = standing.invoke({"seen": ["free"]}, other)
        standing.update_state(other, {"seen": ["updated"]})
        told = standing.get_state(other).values["seen"]
        steps = [state.metadata["step"] for state in standing.get_state_history(other)]
        return {"seen": [*compiled_inner.invoke({"seen": []})["seen"], free["seen"], told, steps]}

    standing = inner.compile(checkpointer=saver)
    outer = StateGraph(Count)
    outer.add_node("node", node)
    outer.add_edge(START, "node")
    outer.add_edge("node", END)
    graph = outer.compile(checkpointer=saver)
    result = await graph.ainvoke({"seen": []}, on("t"))
    assert result["seen"] == ["child", ["free", "child"], ["free", "child", "updated"], [2, 1, 0, -1]]


async def test_every_method_works_from_a_worker_thread(saver):
    def work():
        config = saver.put(on("t", run_id="run"), checkpoint(1, kept=BIG), {"step": 1}, {"kept": 1})
        saver.put_writes(config, [("c", 1)], "task")
        config = saver.put(config, checkpoint(2, kept=BIG), {"step": 2}, {})
        saver.copy_thread("t", "copy")
        assert [found.metadata["step"] for found in saver.list(on("copy"))] == [2, 1]
        assert saver.get_tuple(config).checkpoint["channel_values"] == {"kept": BIG}
        assert saver.get(on("none")) is None
        history = saver.get_delta_channel_history(config=config, channels=["c"])
        assert history == {"c": {"writes": [("task", "c", 1)]}}
        saver.delete_for_runs(["run"])
        assert saver.get_tuple(on("t")).metadata["step"] == 2
        saver.prune(["copy"])
        assert [found.metadata["step"] for found in saver.list(on("copy"))] == [2]
        saver.delete_thread("copy")
        assert list(saver.list(on("copy"))) == []

    await asyncio.to_thread(work)


@pytest.mark.parametrize(
    "call",
    [
        lambda saver: saver.put(on("t"), checkpoint(1), {}, {}),
        lambda saver: saver.put_writes(on("t", checkpoint_id="1"), [("c", 1)], "task"),
        lambda saver: saver.get_tuple(on("t")),
        lambda saver: list(saver.list(on("t"))),
        lambda saver: saver.get_delta_channel_history(config=on("t"), channels=["c"]),
        lambda saver: saver.delete_thread("t"),
        lambda saver: saver.copy_thread("t", "u"),
        lambda saver: saver.delete_for_runs(["run"]),
        lambda saver: saver.prune(["t"]),
    ],
)
async def test_on_the_event_loop_they_say_what_to_do_instead(saver, call):
    with pytest.raises(RuntimeError, match="await `a"):
        call(saver)


async def test_runs_side_by_side_keep_their_histories_apart(saver):
    async def step(state: Count) -> Count:
        return {"seen": [len(state["seen"])]}

    builder = StateGraph(Count)
    names = [f"node-{number}" for number in range(5)]
    for name in names:
        builder.add_node(name, step)
    for before, after in itertools.pairwise([START, *names]):
        builder.add_edge(before, after)
    graph = builder.compile(checkpointer=saver)
    threads = [f"thread-{number}" for number in range(40)]
    await asyncio.gather(*(graph.ainvoke({"seen": [thread]}, on(thread)) for thread in threads))
    for thread in threads:
        states = [state async for state in graph.aget_state_history(on(thread))]
        assert [len(state.values.get("seen", [])) for state in states] == [6, 5, 4, 3, 2, 1, 0]
        assert states[0].values["seen"] == [thread, 1, 2, 3, 4, 5]


async def test_messages_are_recorded_and_sealed_as_their_values_are(storage, cipher):
    def answer(state):
        return {"messages": [{"role": "assistant", "content": BIG, "id": f"secret answer {len(state['messages'])}"}]}

    builder = StateGraph(MessagesState).add_node("answer", answer).add_edge(START, "answer").add_edge("answer", END)
    graph = builder.compile(checkpointer=Saver(storage))
    for number in range(3):
        if number == 2:  # another process, which remembers nothing
            graph = builder.compile(checkpointer=Saver(storage))
        question = {"role": "user", "content": BIG, "id": f"secret question {number}"}
        await graph.ainvoke({"messages": [question]}, on("t"))

    async def told():
        turns, _ = await storage.read(lambda tx: load_turns(tx, "t"))
        return [(turn.id, turn.role, turn.before) for turn in turns.turns]

    found = await told()
    assert [(role, before) for _, role, before in found] == [
        ("human" if number % 2 == 0 else "ai", number - 1 if number else None) for number in range(6)
    ]
    recorded = rows_of(storage, "SELECT messages FROM checkpoints WHERE messages IS NOT NULL")
    assert len(recorded) == 6
    assert any(b"secret" in bytes(record) for (record,) in recorded) == (cipher == "plain")
    await storage.write(lambda tx: tx.lineage.prune("t"))
    assert await told() == found
