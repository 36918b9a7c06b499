"""Copies that end at any checkpoint or message, keep the last states, come in numbers, for an assistant: over HTTP."""

import asyncio
import uuid
from pathlib import Path

import pytest

from tests.server import running

pytestmark = pytest.mark.anyio

APP = Path(__file__).parent.parent / "apps" / "threads"
NOWHERE = str(uuid.UUID(int=7))


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with running(APP, tmp_path_factory.mktemp("server") / "data") as server:
        yield server.url


async def copied(http, thread, **options):
    answer = await http.post(f"/threads/{thread}/copy", json=options)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def refused(http, thread, status, **options):
    """The text of a refusal. Nothing was made."""
    before = (await http.post("/threads/count", json={})).json()
    answer = await http.post(f"/threads/{thread}/copy", json=options)
    assert answer.status_code == status, answer.text
    assert (await http.post("/threads/count", json={})).json() == before
    return answer.json()["detail"]


async def asked(client):
    """A thread of a graph with a subgraph, whose question was answered."""
    thread = (await client.threads.create(graph_id="nested"))["thread_id"]
    await client.runs.wait(thread, "nested", input={"x": 0})
    question = (await client.threads.get_state(thread, subgraphs=True))["tasks"][0]["state"]
    await client.runs.wait(thread, "nested", command={"resume": "yes"})
    return thread, question


async def talked(client, *texts):
    thread = (await client.threads.create(graph_id="talk"))["thread_id"]
    for number, text in enumerate(texts):
        message = {"role": "user", "content": text, "id": f"m{number}"}
        await client.runs.wait(thread, "talk", input={"messages": [message]})
    return thread


async def messages(client, thread):
    return (await client.threads.get_state(thread))["values"].get("messages", [])


async def contents(client, thread):
    return [message["content"] for message in await messages(client, thread)]


# --- a checkpoint of any depth ---


async def test_a_copy_at_a_checkpoint_of_a_subgraph_goes_on_inside_it(client, http):
    thread, question = await asked(client)
    made = await copied(http, thread, checkpoint=question["checkpoint"])
    place = {key: question["checkpoint"][key] for key in ("checkpoint_id", "checkpoint_ns")}
    assert made["cut"] == place | {"message_id": None, "at": None, "moved": False}
    copy = made["thread_id"]
    assert (made["status"], made["interrupts"], made["values"]) == ("interrupted", {}, {"path": [], "x": 0})
    state = await client.threads.get_state(copy, subgraphs=True)
    assert (state["next"], state["tasks"][0]["state"]["next"]) == (["inner"], ["question"])
    assert made["forked_from"]["checkpoint_id"] == state["checkpoint_id"]
    again = await client.runs.wait(copy, "nested", input=None)
    assert again["__interrupt__"][0]["value"] == {"seen": ["a"]}
    done = await client.runs.wait(copy, "nested", command={"resume": "no"})
    assert done["path"] == ["a", "no", "z", "last"]
    assert (await client.threads.get_state(thread))["values"]["path"] == ["a", "yes", "z", "last"]


async def test_the_checkpoint_is_told_by_namespace_and_id(client, http):
    thread, question = await asked(client)
    place = question["checkpoint"]
    inner = {key: place[key] for key in ("checkpoint_id", "checkpoint_ns")}
    wrong = {"": NOWHERE, place["checkpoint_ns"]: place["checkpoint_id"]}
    assert "checkpoint_map" in await refused(http, thread, 422, checkpoint=inner | {"checkpoint_map": wrong})
    for missing in (
        {"checkpoint_id": place["checkpoint_id"]},
        inner | {"checkpoint_ns": "inner"},
        inner | {"checkpoint_id": NOWHERE},
    ):
        assert missing["checkpoint_id"] in await refused(http, thread, 404, checkpoint=missing)
    assert place["checkpoint_id"] in await refused(http, thread, 404, checkpoint_id=place["checkpoint_id"])


# --- a message ---


async def test_a_copy_at_a_human_message_ends_before_it_and_returns_it(client, http):
    thread = await talked(client, "one", "two", "three")
    made = await copied(http, thread, message_id="m1")
    cut = made["cut"]
    assert (cut["message_id"], cut["at"], cut["moved"], cut["checkpoint_ns"]) == ("m1", "before", False, "")
    assert (cut["message"]["id"], cut["message"]["type"], cut["message"]["content"]) == ("m1", "human", "two")
    copy = made["thread_id"]
    assert await contents(client, copy) == ["one", "reply to one, after 1"]
    assert made["status"] == "idle"
    edited = {**cut["message"], "content": "TWO", "id": None}
    await client.runs.wait(copy, "talk", input={"messages": [edited]})
    assert (await contents(client, copy))[2:] == ["TWO", "reply to TWO, after 3"]


async def test_a_copy_at_an_answer_ends_after_it(client, http):
    thread = await talked(client, "one", "two")
    answer = (await messages(client, thread))[1]["id"]
    made = await copied(http, thread, message_id=answer)
    assert (made["cut"]["at"], made["cut"]["moved"], "message" in made["cut"]) == ("after", False, False)
    assert await contents(client, made["thread_id"]) == ["one", "reply to one, after 1"]


async def test_the_side_of_a_message_can_be_chosen(client, http):
    thread = await talked(client, "one", "two")
    made = await copied(http, thread, message_id="m1", at="after")
    assert await contents(client, made["thread_id"]) == ["one", "reply to one, after 1", "two"]
    assert made["status"] == "interrupted"
    await client.runs.wait(made["thread_id"], "talk", input=None)
    assert await contents(client, made["thread_id"]) == await contents(client, thread)
    answer = (await messages(client, thread))[3]["id"]
    made = await copied(http, thread, message_id=answer, at="before")
    assert await contents(client, made["thread_id"]) == ["one", "reply to one, after 1", "two"]


async def test_a_copy_before_the_first_message_is_empty(client, http):
    thread = await talked(client, "one")
    for count in (None, 2):
        made = await copied(http, thread, message_id="m0", **({"count": count} if count else {}))
        for record in made if count else [made]:
            assert record["cut"]["checkpoint_id"] is None
            assert record["cut"]["message"]["content"] == "one"
            assert (record["status"], record["values"], record["forked_from"]["checkpoint_id"]) == ("idle", None, None)
            assert await client.threads.get_history(record["thread_id"]) == []
    await client.runs.wait(record["thread_id"], "talk", input={"messages": [{"role": "user", "content": "ONE"}]})
    assert await contents(client, record["thread_id"]) == ["ONE", "reply to ONE, after 1"]


async def test_a_cut_never_splits_a_tool_call_from_its_result(client, http):
    thread = await talked(client, "one", "tools")
    talk = await messages(client, thread)
    assert [message["type"] for message in talk] == ["human", "ai", "human", "ai", "tool", "tool", "ai"]
    calling, first, last = talk[3]["id"], talk[4]["id"], talk[5]["id"]
    for message, at in ((calling, "after"), (first, "before"), (first, "after"), (last, "before")):
        made = await copied(http, thread, message_id=message, at=at)
        assert made["cut"]["moved"]
        assert await contents(client, made["thread_id"]) == ["one", "reply to one, after 1", "tools"]
        text = await refused(http, thread, 409, message_id=message, at=at, on_split="refuse")
        assert message in text
        assert calling in text
    made = await copied(http, thread, message_id=last, on_split="refuse")
    assert not made["cut"]["moved"]
    assert len(await messages(client, made["thread_id"])) == 6


async def test_a_message_nobody_said_is_not_found(client, http):
    thread = await talked(client, "one")
    assert "no-such" in await refused(http, thread, 404, message_id="no-such")


# --- how much, how many, for whom ---


@pytest.mark.parametrize(("keep", "count"), [("latest", 1), (1, 1), (3, 3), (100, 5), ("all", 5)])
async def test_only_the_last_states_are_kept(client, http, keep, count):
    thread = (await client.threads.create(graph_id="chain"))["thread_id"]
    await client.runs.wait(thread, "chain", input={"x": 0})
    whole = await client.threads.get_history(thread, limit=100)
    made = await copied(http, thread, keep=keep)
    states = await client.threads.get_history(made["thread_id"], limit=100)
    assert [state["checkpoint_id"] for state in states] == [state["checkpoint_id"] for state in whole[:count]]
    assert [state["values"] for state in states] == [state["values"] for state in whole[:count]]
    assert states[-1]["parent_checkpoint"] is None
    assert (made["status"], made["values"]) == ("idle", states[0]["values"])
    await client.threads.delete(thread)
    again = await client.runs.wait(made["thread_id"], "chain", input={"x": 9})
    assert again["path"] == list("abcabc")


async def test_the_latest_state_of_an_interrupted_thread_stays_interrupted(client, http):
    thread = (await client.threads.create(graph_id="nested"))["thread_id"]
    await client.runs.wait(thread, "nested", input={"x": 0})
    made = await copied(http, thread, keep="latest")
    assert made["interrupts"] == (await client.threads.get(thread))["interrupts"]
    done = await client.runs.wait(made["thread_id"], "nested", command={"resume": "yes"})
    assert done["path"] == ["a", "yes", "z", "last"]


async def test_kept_states_read_delta_channels_right(client, http):
    thread = (await client.threads.create(graph_id="delta"))["thread_id"]
    for text in ("one", "two"):
        await client.runs.wait(thread, "delta", input={"path": [text]})
    whole = await client.threads.get_history(thread, limit=100)
    for keep in ("latest", 2):
        copy = (await copied(http, thread, keep=keep))["thread_id"]
        states = await client.threads.get_history(copy, limit=2)
        assert [state["values"] for state in states] == [state["values"] for state in whole[:2]]
        done = await client.runs.wait(copy, "delta", input={"path": ["three"]})
        assert done["path"] == [*whole[0]["values"]["path"], "three", "a", "b", "c"]


async def test_the_last_states_up_to_a_cut(client, http):
    thread = await talked(client, "one", "two", "three")
    made = await copied(http, thread, message_id="m2", keep=1, count=2, metadata=[{"n": 1}, {"n": 2}])
    for record in made:
        assert len(await client.threads.get_history(record["thread_id"], limit=100)) == 1
        assert len(await messages(client, record["thread_id"])) == 4


async def test_many_copies_in_one_call_each_with_its_metadata(client, http):
    thread = await talked(client, "one")
    made = await copied(http, thread, count=3, metadata=[{"n": 1}, {}, {"n": 3}])
    assert [record["metadata"].get("n") for record in made] == [1, None, 3]
    assert len({record["thread_id"] for record in made}) == 3
    for record in made:
        assert await client.threads.get(record["thread_id"]) == record
    await asyncio.gather(
        *(
            client.runs.wait(one["thread_id"], "talk", input={"messages": [{"role": "user", "content": "x"}]})
            for one in made
        )
    )
    assert len(await messages(client, thread)) == 2
    [one] = await copied(http, thread, count=1, metadata={"n": 5})
    assert one["metadata"]["n"] == 5


async def test_a_thousand_copies(client, http):
    thread = await talked(client, "one")
    made = await copied(http, thread, count=1000)
    assert len({record["thread_id"] for record in made}) == 1000
    assert await contents(client, made[-1]["thread_id"]) == await contents(client, thread)


async def test_many_copies_of_a_busy_thread_do_not_wait_and_show_its_newest_state(client, http):
    thread = (await client.threads.create(graph_id="loop"))["thread_id"]
    run = await client.runs.create(thread, "loop", input={"until": 1000, "n": 0}, config={"recursion_limit": 2000})
    try:
        for _ in range(500):
            if (await client.threads.get_state(thread))["values"].get("n"):
                break
            await asyncio.sleep(0.02)
        made = await copied(http, thread, count=20)
    finally:
        await client.runs.cancel(thread, run["run_id"], wait=True)
    states = await asyncio.gather(*(client.threads.get_state(one["thread_id"]) for one in made))
    for record, state in zip(made, states, strict=True):
        assert (record["status"], state["next"]) == ("interrupted", ["tick"])
        assert record["values"] == state["values"]
        assert record["forked_from"]["checkpoint_id"] == state["checkpoint_id"]


async def test_states_that_are_too_many_to_send_are_left_out(client, http):
    thread = (await client.threads.create(graph_id="talk"))["thread_id"]
    long = {"role": "user", "content": "x" * 20_000}
    await client.runs.wait(thread, "talk", input={"messages": [long]})
    made = await copied(http, thread, count=1000)
    assert "values" not in made[0]
    assert made[0]["status"] == "idle"
    assert (await client.threads.get(made[7]["thread_id"]))["values"]["messages"][0]["content"] == "x" * 20_000


async def test_a_copy_for_another_assistant(client, http):
    thread = await talked(client, "one")
    assistant = await client.assistants.create("chain", name="other")
    made = await copied(http, thread, assistant_id=assistant["assistant_id"], metadata={"k": 1})
    named = {"assistant_id": assistant["assistant_id"], "graph_id": "chain", "k": 1}
    assert {key: made["metadata"][key] for key in named} == named
    made = await copied(http, thread, assistant_id="chain")
    assert made["metadata"]["graph_id"] == "chain"
    assert NOWHERE in await refused(http, thread, 404, assistant_id=NOWHERE)
    assert "Invalid assistant: 'nobody'" in await refused(http, thread, 422, assistant_id="nobody")


async def test_a_copy_with_its_own_time_to_live(client, http):
    thread = (await client.threads.create(ttl={"ttl": 30, "strategy": "keep_latest"}))["thread_id"]
    made = await copied(http, thread, ttl={"ttl": 5})
    ttl = (await client.threads.get(made["thread_id"], include=["ttl"]))["ttl"]
    assert (ttl["ttl_minutes"], ttl["strategy"]) == (5, "delete")
    made = await copied(http, thread, ttl={"strategy": "delete"})
    ttl = (await client.threads.get(made["thread_id"], include=["ttl"]))["ttl"]
    assert (ttl["ttl_minutes"], ttl["strategy"]) == (30, "delete")


async def test_a_retry_with_a_cut_returns_the_copy(client, http):
    thread, target = await talked(client, "one", "two"), str(uuid.uuid4())
    options = {"thread_id": target, "message_id": "m1", "if_exists": "do_nothing"}
    made = await copied(http, thread, **options)
    del made["cut"]
    assert await copied(http, thread, **options) == made


# --- generations ---


async def test_a_hundred_generations_of_written_copies_of_copies(client, http):
    """Each is a copy at a message of the one before, whose source is deleted: it outlives it, and is copied again."""
    thread = await talked(client, "one")
    for number in range(100):
        made = await copied(http, thread, message_id="m0", at="after")
        await client.threads.delete(thread)
        thread = made["thread_id"]
        if number % 4 == 0:
            await client.runs.wait(thread, "talk", input=None)
    await client.runs.wait(thread, "talk", input=None)
    assert await contents(client, thread) == ["one", "reply to one, after 1"]
    kept = (await copied(http, thread, keep="latest"))["thread_id"]
    assert await contents(client, kept) == ["one", "reply to one, after 1"]


# --- bad input ---


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"count": 0}, "count"),
        ({"count": 1001}, "count"),
        ({"count": True}, "count"),
        ({"count": "3"}, "count"),
        ({"count": None}, "count"),
        ({"count": 2, "thread_id": NOWHERE}, "thread_id"),
        ({"count": 2, "if_exists": "do_nothing"}, "if_exists"),
        ({"count": 2, "metadata": [{}]}, "metadata"),
        ({"count": 2, "metadata": [{}, 5]}, "metadata[1]"),
        ({"metadata": [{}]}, "metadata"),
        ({"keep": 0}, "keep"),
        ({"keep": 101}, "keep"),
        ({"keep": True}, "keep"),
        ({"keep": "newest"}, "keep"),
        ({"checkpoint_id": NOWHERE, "checkpoint": {"checkpoint_id": NOWHERE}}, "checkpoint_id and checkpoint"),
        ({"checkpoint_id": NOWHERE, "message_id": "m0"}, "checkpoint_id and message_id"),
        ({"checkpoint": {}}, "checkpoint"),
        ({"checkpoint": {"checkpoint_id": ""}}, "checkpoint.checkpoint_id"),
        ({"checkpoint": {"checkpoint_ns": ""}}, "checkpoint_id"),
        ({"checkpoint": {"checkpoint_id": NOWHERE, "other": 1}}, "other"),
        ({"checkpoint": {"checkpoint_id": NOWHERE, "checkpoint_map": {"": 5}}}, "checkpoint_map"),
        ({"message_id": ""}, "message_id"),
        ({"message_id": 5}, "message_id"),
        ({"message_id": "m0", "at": "behind"}, "at"),
        ({"message_id": "m0", "on_split": "zap"}, "on_split"),
        ({"at": "before"}, "at"),
        ({"on_split": "refuse"}, "on_split"),
        ({"ttl": 5}, "ttl"),
        ({"ttl": {"ttl": "x"}}, "ttl.ttl"),
        ({"ttl": {"strategy": "zap"}}, "ttl.strategy"),
        ({"assistant_id": ""}, "assistant_id"),
        ({"assistant_id": 5}, "assistant_id"),
        ({"counts": 2}, "counts"),
    ],
    ids=repr,
)
async def test_what_cannot_be_is_refused_by_name(client, http, options, named):
    thread = await talked(client, "one")
    assert named in await refused(http, thread, 422, **options)


async def test_a_missing_thread_is_a_conflict_with_every_option(http):
    for options in ({"message_id": "m"}, {"checkpoint": {"checkpoint_id": "x"}}, {"count": 2}, {"keep": 1}):
        answer = await http.post(f"/threads/{uuid.uuid4()}/copy", json=options)
        assert (answer.status_code, answer.json()) == (409, {"detail": "Conflict"})


async def test_it_is_announced(http):
    assert (await http.get("/info")).json()["flags"]["copy_anywhere"]
