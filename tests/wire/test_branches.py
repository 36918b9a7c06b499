"""The map of a thread over HTTP: what it says of turns is what the whole history says, whatever was done to the thread."""

import json
import uuid
from pathlib import Path

import pytest

from tests.server import running
from tests.wire.maps import history_of, mapped, right

pytestmark = pytest.mark.anyio

APP = Path(__file__).parent.parent / "apps" / "threads"


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with running(APP, tmp_path_factory.mktemp("server") / "data") as server:
        yield server.url


def human(text, id_=None):
    return {"messages": [{"role": "user", "content": text, **({"id": id_} if id_ else {})}]}


async def talked(client, *texts):
    thread = (await client.threads.create(graph_id="talk"))["thread_id"]
    for text in texts:
        await client.runs.wait(thread, "talk", input=human(text))
    return thread


def lines(turns):
    return [(turn["role"], turn["parent"], turn["siblings"], turn["active"]) for turn in turns]


async def shown(client, thread):
    return [message["content"] for message in (await client.threads.get_state(thread))["values"]["messages"]]


async def edited(client, thread, turn, text):
    """Replaces a human message as a chat front does."""
    checkpoint = {"checkpoint_id": turn["before"]} if turn["before"] else None
    await client.runs.wait(thread, "talk", input=human(text), checkpoint=checkpoint)


async def again(client, thread, turn):
    """Makes an answer once more as a chat front does."""
    await client.runs.wait(thread, "talk", input=None, checkpoint={"checkpoint_id": turn["before"]})


# --- edits and re-runs ---


async def test_a_straight_talk_has_one_turn_for_each_message(client, http):
    thread = await talked(client, "one", "two")
    turns = await right(client, http, thread)
    assert lines(turns) == [
        ("human", None, [0], True),
        ("ai", 0, [1], True),
        ("human", 1, [2], True),
        ("ai", 2, [3], True),
    ]
    assert turns[0]["run_id"] == turns[1]["run_id"] != turns[2]["run_id"]
    assert turns[0]["created_at"] < turns[1]["created_at"] < turns[2]["created_at"]


async def test_the_fork_point_is_not_hidden_by_the_extra_input_checkpoint(client, http):
    thread = await talked(client, "one", "two", "three")
    turns = await right(client, http, thread)
    assert turns[2]["before"] == turns[1]["after"]
    await edited(client, thread, turns[2], "TWO")
    turns = await right(client, http, thread)
    assert turns[2]["siblings"] == [2, 6]
    assert [turn["active"] for turn in turns] == [True, True, False, False, False, False, True, True]
    assert await shown(client, thread) == ["one", "reply to one, after 1", "TWO", "reply to TWO, after 3"]


async def test_the_first_message_is_replaced_too(client, http):
    thread = await talked(client, "one", "two")
    turns = await right(client, http, thread)
    await edited(client, thread, turns[0], "ONE")
    turns = await right(client, http, thread)
    assert turns[0]["siblings"] == [0, 4]
    assert await shown(client, thread) == ["ONE", "reply to ONE, after 1"]


async def test_an_answer_made_again_is_a_sibling_of_the_answer(client, http):
    thread = await talked(client, "one", "two")
    turns = await right(client, http, thread)
    for _ in range(2):
        await again(client, thread, turns[1])
    turns = await right(client, http, thread)
    assert turns[1]["siblings"] == turns[4]["siblings"] == turns[5]["siblings"] == [1, 4, 5]
    assert [number for number, turn in enumerate(turns) if turn["active"]] == [0, 5]


async def test_siblings_are_told_by_parents_and_never_by_time(client, http):
    """What is newest in time may be a sibling of anything: each is put at the point where it left."""
    thread = await talked(client, "one", "two", "three")
    first = await right(client, http, thread)
    await edited(client, thread, first[4], "THREE")
    await again(client, thread, first[1])
    await edited(client, thread, first[2], "TWO")
    turns = await right(client, http, thread)
    assert [turns[number]["siblings"] for number in (1, 2, 4)] == [[1, 8], [2, 9], [4, 6]]


async def test_an_edit_that_keeps_the_id_is_a_sibling(client, http):
    thread = await talked(client, "one", "two")
    turns = await right(client, http, thread)
    id_ = turns[2]["message_id"]
    await client.runs.wait(thread, "talk", input=human("TWO", id_), checkpoint={"checkpoint_id": turns[2]["before"]})
    turns = await right(client, http, thread)
    assert turns[4]["message_id"] == id_ and turns[4]["siblings"] == turns[2]["siblings"] == [2, 4]
    await client.threads.update_state(thread, human("two, in place", id_))
    turns = await right(client, http, thread)
    assert turns[2]["siblings"] == [2, 4, 6]


async def test_a_message_that_a_node_revises_keeps_its_place(client, http):
    thread = await talked(client, "one", "revise")
    turns = await right(client, http, thread)
    assert [(turn["role"], turn["siblings"]) for turn in turns] == [
        ("human", [0]),
        ("ai", [1, 3]),
        ("human", [2]),
        ("ai", [1, 3]),
        ("ai", [4]),
    ]


async def test_a_fork_by_update_state_of_an_older_checkpoint(client, http):
    thread = await talked(client, "one", "two")
    turns = await right(client, http, thread)
    at = {"checkpoint_id": turns[2]["before"], "checkpoint_ns": ""}
    await client.threads.update_state(thread, human("other"), checkpoint=at)
    turns = await right(client, http, thread)
    assert turns[4]["siblings"] == [2, 4]
    assert turns[4]["before"] == turns[2]["before"]


async def test_a_clone_of_a_checkpoint_is_no_sibling(client, http):
    thread = await talked(client, "one", "two")
    turns = await right(client, http, thread)
    at = {"checkpoint_id": turns[1]["after"], "checkpoint_ns": ""}
    await client.threads.update_state(thread, None, checkpoint=at, as_node="__copy__")
    after = await right(client, http, thread)
    assert len(after) == len(turns)
    assert [turn["siblings"] for turn in after] == [[0], [1], [2], [3]]
    assert [turn["active"] for turn in after] == [True, True, False, False]


# --- messages that go ---


async def test_a_removed_message_is_no_fork(client, http):
    thread = await talked(client, "one", "two", "forget", "after")
    turns = await right(client, http, thread)
    assert all(turn["siblings"] == [number] for number, turn in enumerate(turns))
    assert [turn["active"] for turn in turns] == [False] + [True] * 7


async def test_a_summary_is_no_fork(client, http):
    thread = await talked(client, "one", "two", "sum up", "after")
    turns = await right(client, http, thread)
    assert all(turn["siblings"] == [number] for number, turn in enumerate(turns))
    assert [turn["role"] for turn in turns if turn["active"]] == ["system", "ai", "human", "human", "ai"] or (
        [turn["role"] for turn in turns if turn["active"]] == ["ai", "human", "system", "human", "ai"]
    )


# --- what else writes messages ---


async def test_tool_calls_are_turns_with_their_steps(client, http):
    thread = await talked(client, "hello", "tools")
    turns = await right(client, http, thread)
    assert [turn["role"] for turn in turns] == ["human", "ai", "human", "ai", "tool", "tool", "ai"]
    assert [turn["before"] for turn in turns[3:]] == [turn["after"] for turn in turns[2:-1]]


async def test_messages_of_a_subgraph_are_turns_of_the_thread(client, http):
    thread = await talked(client, "think", "two")
    turns = await right(client, http, thread)
    assert [turn["role"] for turn in turns] == ["human", "ai", "human", "ai"]


async def test_durability_exit_keeps_one_checkpoint_for_a_turn(client, http):
    thread = (await client.threads.create(graph_id="talk"))["thread_id"]
    for text in ("one", "two"):
        await client.runs.wait(thread, "talk", input=human(text), durability="exit")
    turns = await right(client, http, thread)
    assert [turn["after"] for turn in turns[2:]] == [turns[3]["after"]] * 2
    assert turns[2]["before"] == turns[1]["after"]
    await edited(client, thread, turns[2], "TWO")
    turns = await right(client, http, thread)
    assert turns[4]["siblings"] == [2, 4]


async def test_a_long_talk(client, http):
    """Long enough that only what changed is recorded."""
    thread = await talked(client, *(f"number {number} {'x' * 300}" for number in range(8)))
    turns = await right(client, http, thread)
    await edited(client, thread, turns[6], "y" * 300)
    await again(client, thread, turns[13])
    turns = await right(client, http, thread)
    assert (turns[6]["siblings"], turns[13]["siblings"]) == ([6, 16], [13, 18])


# --- copies ---


async def test_a_copy_shows_the_turns_it_inherited(client, http):
    thread = await talked(client, "one", "two")
    turns = await right(client, http, thread)
    await edited(client, thread, turns[2], "TWO")
    turns = await right(client, http, thread)
    copy = (await client.threads.copy(thread))["thread_id"]
    assert await right(client, http, copy) == turns
    again_copied = (await client.threads.copy(copy))["thread_id"]
    await edited(client, again_copied, turns[0], "ONE")
    await client.threads.delete(copy)
    await client.threads.delete(thread)
    found = await right(client, http, again_copied)
    assert [turn["after"] for turn in found[:6]] == [turn["after"] for turn in turns]
    assert found[6]["siblings"] == [0, 6]


async def test_copies_are_named_where_they_left(client, http):
    thread = await talked(client, "one")
    first = (await client.threads.copy(thread))["thread_id"]
    await client.runs.wait(thread, "talk", input=human("two"))
    turns = (await mapped(http, thread))["turns"]
    made = []
    for turn in (turns[1], turns[2], turns[1]):
        answer = await http.post(f"/threads/{thread}/copy", json={"checkpoint_id": turn["after"]})
        made.append(answer.json()["thread_id"])
    of_copy = (await client.threads.copy(made[0]))["thread_id"]
    found = await mapped(http, thread)
    assert [turn["copies"] for turn in found["turns"]] == [[], [first, made[0], made[2]], [made[1]], []]
    assert of_copy not in json.dumps(found)
    assert [turn["copies"] for turn in (await mapped(http, made[0]))["turns"]] == [[], [of_copy]]
    await client.threads.delete(made[0])
    assert [turn["copies"] for turn in (await mapped(http, thread))["turns"]] == [[], [first, made[2]], [made[1]], []]


async def test_a_copy_before_the_first_turn_is_named_beside_the_turns(client, http):
    thread = (await client.threads.create(graph_id="talk"))["thread_id"]
    copy = (await client.threads.copy(thread))["thread_id"]
    assert (await mapped(http, thread)) == {
        "thread_id": thread,
        "head": None,
        "turns": [],
        "copies": [copy],
        "checkpoints": 0,
        "truncated": False,
    }


# --- what is removed ---


async def test_a_pruned_thread_still_tells_its_messages(client, http):
    thread = await talked(client, "one", "two", f"three {'x' * 1000}")
    copy = (await client.threads.copy(thread))["thread_id"]
    before = await right(client, http, copy)
    await http.post("/threads/prune", json={"thread_ids": [thread], "strategy": "keep_latest"})
    turns = await right(client, http, thread)
    assert [turn["message_id"] for turn in turns] == [turn["message_id"] for turn in before]
    await client.runs.wait(thread, "talk", input=human("four"))
    turns = await right(client, http, thread)
    assert len(turns) == 8 and turns[6]["before"] == turns[5]["after"]
    assert await right(client, http, copy) == before


async def test_turns_after_a_deleted_run_stay(client, http):
    """What is recorded of them refers to checkpoints that are gone."""
    thread = await talked(client, *(f"{word} {'x' * 500}" for word in ("one", "two", "three", "four")))
    before = await right(client, http, thread)
    runs = sorted(await client.runs.list(thread), key=lambda run: run["created_at"])
    await client.runs.delete(thread, runs[1]["run_id"])
    turns = await right(client, http, thread)
    assert [turn["message_id"] for turn in turns] == [turn["message_id"] for turn in before]
    assert turns[2]["after"] == turns[3]["after"] != before[2]["after"]
    assert turns[2]["before"] == turns[1]["after"]
    await edited(client, thread, turns[6], "FOUR")
    turns = await right(client, http, thread)
    assert turns[6]["siblings"] == [6, 8]


# --- threads without messages ---


async def test_without_messages_the_inputs_are_the_turns(client, http):
    thread = (await client.threads.create(graph_id="chain"))["thread_id"]
    for number in range(3):
        await client.runs.wait(thread, "chain", input={"x": number})
    states = await history_of(client, thread)
    inputs = [state for state in states if state["metadata"]["source"] == "input"]
    turns = (await mapped(http, thread))["turns"]
    assert [turn["after"] for turn in turns] == [state["checkpoint"]["checkpoint_id"] for state in inputs]
    assert [turn["before"] for turn in turns] == [
        (state["parent_checkpoint"] or state["checkpoint"])["checkpoint_id"] for state in inputs
    ]
    await client.runs.wait(thread, "chain", input={"x": 9}, checkpoint={"checkpoint_id": turns[1]["before"]})
    turns = (await mapped(http, thread))["turns"]
    assert [(turn["message_id"], turn["role"], turn["parent"], turn["siblings"], turn["active"]) for turn in turns] == [
        (None, None, None, [0], True),
        (None, None, 0, [1, 3], False),
        (None, None, 1, [2], False),
        (None, None, 0, [1, 3], True),
    ]


# --- requests ---


async def test_a_thread_that_is_not_there(http):
    assert (await http.get(f"/threads/{uuid.uuid4()}/branches")).status_code == 404
    assert (await http.get("/threads/nonsense/branches")).status_code == 422


async def test_the_map_is_announced(http):
    assert (await http.get("/info")).json()["flags"]["branches"] is True
