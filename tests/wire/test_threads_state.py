"""States over HTTP, beyond what the conformance suite shows: selection, kinds of values, atomic writes, supersteps."""

import asyncio
import json
import uuid
from pathlib import Path

import pytest
from langgraph_sdk import get_client

from tests.server import running

pytestmark = pytest.mark.anyio

APP = Path(__file__).parent.parent / "apps" / "threads"


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with running(APP, tmp_path_factory.mktemp("server") / "data") as server:
        yield server.url


@pytest.fixture(scope="module")
def plain_url(tmp_path_factory):
    """A server whose states carry the thread's id in their metadata alone."""
    app = tmp_path_factory.mktemp("app")
    (app / "graphs.py").symlink_to(APP / "graphs.py")
    config = json.loads((APP / "langgraph.json").read_text()) | {"threadloom": {"checkpoint_thread_id": False}}
    (app / "langgraph.json").write_text(json.dumps(config))
    with running(app, tmp_path_factory.mktemp("server") / "data") as server:
        yield server.url


async def new(client, graph="chain", **more):
    return (await client.threads.create(graph_id=graph, **more))["thread_id"]


async def words(client, letters, graph="chain"):
    steps = [{"updates": [{"values": {"path": [letter]}, "as_node": "c"}]} for letter in letters]
    return await new(client, graph, supersteps=steps)


async def states(client, thread, **how):
    return await client.threads.get_history(thread, **{"limit": 1000} | how)


async def write(http, thread, **body):
    return await http.post(f"/threads/{thread}/state", json=body)


# --- reading ---


@pytest.mark.parametrize(
    ("select", "wanted"),
    [
        (["next"], {"next": []}),
        (["values.x"], {"values": {"x": 3}}),
        (["values.x", "values.none", "created_at"], {"values": {"x": 3}, "created_at": ...}),
        (["values", "values.x"], {"values": {"path": ["a", "b", "c"], "x": 3}}),
        (["next,interrupts"], {"next": [], "interrupts": []}),
    ],
    ids=repr,
)
async def test_select_leaves_only_what_is_asked_for(client, http, select, wanted):
    thread = await new(client)
    await client.runs.wait(thread, "chain", input={"x": 0})
    state = await client.threads.get_state(thread)
    wanted = {key: state[key] if value is ... else value for key, value in wanted.items()}
    place = {"checkpoint_id": state["checkpoint_id"]}
    path = f"/threads/{thread}"
    assert (await http.get(f"{path}/state", params={"select": select})).json() == wanted
    assert (await http.get(f"{path}/state/{place['checkpoint_id']}", params={"select": select})).json() == wanted
    body = {"checkpoint": place, "select": select}
    assert (await http.post(f"{path}/state/checkpoint", json=body)).json() == wanted
    assert (await http.post(f"{path}/history", json={"select": select})).json() == [wanted]
    assert (await http.get(f"{path}/history", params={"select": select, "limit": 1})).json() == [wanted]


@pytest.mark.parametrize("select", ["zap", "values.", "checkpoint_id"])
async def test_a_select_of_nothing_we_know_is_refused(client, http, select):
    thread = await words(client, "a")
    path = f"/threads/{thread}"
    for answer in (
        await http.get(f"{path}/state", params={"select": select}),
        await http.post(f"{path}/state/checkpoint", json={"checkpoint": {}, "select": [select]}),
        await http.post(f"{path}/history", json={"select": [select]}),
    ):
        assert answer.status_code == 422
        assert "select" in answer.json()["detail"]


async def test_values_of_every_kind_look_as_they_do_in_streams(client):
    thread = await new(client, "kinds")
    last = await client.runs.wait(thread, "kinds", input={})
    wanted = {
        "day": "2024-01-02",
        "amount": 1.5,
        "span": 90.0,
        "point": {"x": 1},
        "pair": {"left": 1, "right": "r"},
        "blob": "AAE=",
        "odd": [None],
    }
    assert last == wanted
    assert (await client.threads.get_state(thread))["values"] == wanted
    assert (await states(client, thread))[0]["values"] == wanted
    assert (await client.threads.get(thread))["values"] == wanted


async def test_a_factorys_graph_is_read_with_the_shape_it_was_run_with(client):
    """The reference reads it with an empty configurable, so with the wrong shape."""
    thread = await new(client, "shaped")
    config = {"configurable": {"nodes": "one,two,three"}}
    await client.runs.wait(thread, "shaped", input={"x": 0}, config=config, interrupt_before=["two"])
    assert (await client.threads.get_state(thread))["next"] == ["two"]
    assert [state["next"] for state in await states(client, thread)] == [["two"], ["one"], ["__start__"]]
    await client.threads.update_state(thread, {"path": ["by hand"]}, as_node="two")
    assert (await client.threads.get_state(thread))["next"] == ["three"]


async def test_an_inner_history_and_its_checkpoints(client):
    thread = await new(client, "nested")
    await client.runs.wait(thread, "nested", input={"x": 0})
    inner = (await client.threads.get_state(thread))["tasks"][0]["checkpoint"]
    found = await states(client, thread, checkpoint=inner)
    assert [state["next"] for state in found] == [["question"], ["a"], ["__start__"]]
    for state in found:
        again = await client.threads.get_state(thread, checkpoint=state["checkpoint"])
        assert (again["values"], again["metadata"]) == (state["values"], state["metadata"])
        assert state["metadata"]["thread_id"] == thread
    some = await states(client, thread, checkpoint=inner, before=found[0]["checkpoint"])
    assert some == found[1:]


async def test_history_is_filtered_by_containment(client):
    thread = await new(client)
    await client.runs.wait(thread, "chain", input={"x": 0}, metadata={"tags": ["a", "b"], "deep": {"x": 1, "y": 2}})
    assert len(await states(client, thread, metadata={"tags": ["b"]})) in (0, 5)
    assert len(await states(client, thread, metadata={"parents": {}})) == 5
    assert await states(client, thread, metadata={"nothing": None}) == []
    assert len(await states(client, thread, metadata={"source": "loop", "thread_id": thread}, limit=3)) == 3
    assert await states(client, thread, metadata={"thread_id": 5}) == []


async def test_with_the_setting_the_thread_stands_in_the_metadata_alone(plain_url):
    """So that the check of the Copying Threads guide passes as it was first printed."""
    client = get_client(url=plain_url)
    thread = await new(client)
    await client.runs.wait(thread, "chain", input={"x": 0})
    copy = (await client.threads.copy(thread))["thread_id"]
    histories = [await states(client, one) for one in (thread, copy)]
    for one, found in zip((thread, copy), histories, strict=True):
        for state in found:
            assert state["metadata"].pop("thread_id") == one
            assert set(state["checkpoint"]) == {"checkpoint_ns", "checkpoint_id"}
    assert histories[0] == histories[1]
    assert len(histories[0]) == 5


# --- writing ---


async def test_updates_at_once_are_all_kept_one_after_the_other(client):
    thread = await new(client)
    await asyncio.gather(*(client.threads.update_state(thread, {"path": [str(n)]}, as_node="c") for n in range(20)))
    found = await states(client, thread)
    assert sorted(found[0]["values"]["path"], key=int) == [str(n) for n in range(20)]
    assert [state["metadata"]["step"] for state in found] == list(range(19, -1, -1))
    assert [state["parent_checkpoint_id"] for state in found] == [
        *(state["checkpoint_id"] for state in found[1:]),
        None,
    ]


async def test_updates_and_patches_and_runs_at_once_lose_nothing(client, http):
    thread = await new(client)
    await client.threads.update_state(thread, {"path": ["start"]}, as_node="c")

    async def update(n):
        answer = await write(http, thread, values={"path": [f"u{n}"]}, as_node="c")
        assert answer.status_code in (200, 409), answer.text
        return answer.status_code == 200

    async def patch(n):
        await client.threads.update(thread, metadata={f"k{n}": n})

    async def run():
        await client.runs.wait(thread, "chain", input={"x": 0}, multitask_strategy="enqueue")

    done = await asyncio.gather(*(job(n) for n in range(8) for job in (update, patch)), *(run() for _ in range(3)))
    path = (await client.threads.get_state(thread))["values"]["path"]
    assert sum(1 for word in path if word.startswith("u")) == sum(1 for kept in done if kept is True)
    assert "".join(word for word in path if len(word) == 1) == "abc" * 3
    record = await client.threads.get(thread)
    assert {f"k{n}": n for n in range(8)}.items() <= record["metadata"].items()
    assert record["values"]["path"] == path


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"values": {"path": 5}, "as_node": "c"}, 400, "int"),
        ({"values": {"x": 1}, "as_node": "zap"}, 400, "Node zap does not exist"),
        ({"values": {"x": 1}, "as_node": "__end__"}, 400, "Node __end__ does not exist"),
        ({"values": [{"x": 1}], "as_node": "c"}, 400, "Expected dict, got"),
        ({"values": [[{"path": ["q"]}, "c"], [{"path": 5}, "b"]], "as_node": "__copy__"}, 400, "int"),
        ({"values": [[{"path": ["q"]}, "zap"]], "as_node": "__copy__"}, 400, "zap"),
        ({"values": [[{"path": ["q"]}]], "as_node": "__copy__"}, 400, "values"),
        ({"values": ["ab"], "as_node": "__copy__"}, 400, "values"),
        ({"values": {}, "checkpoint": {"checkpoint_ns": "zap:1"}}, 400, "Subgraph zap not found"),
        ({"values": {}, "checkpoint": {"checkpoint_id": "1ef00000-0000-6000-8000-000000000000"}}, 404, "1ef00000"),
        ({"values": {}, "checkpoint_id": "1ef00000-0000-6000-8000-000000000000"}, 404, "1ef00000"),
        ({"values": None, "as_node": "__input__"}, 400, "input"),
    ],
    ids=str,
)
async def test_a_refused_update_leaves_nothing_behind(client, http, body, status, text):
    thread = await words(client, "ab")
    kept, record = await states(client, thread), await client.threads.get(thread)
    answer = await write(http, thread, **body)
    assert answer.status_code == status
    assert text in answer.json()["detail"]
    assert await states(client, thread) == kept
    assert await client.threads.get(thread) == record


async def test_a_run_under_way_is_named_in_the_refusal(client, http):
    thread = await new(client, "loop")
    run = await client.runs.create(thread, "loop", input={"until": 500, "n": 0}, config={"recursion_limit": 900})
    answer = await write(http, thread, values={"n": 1})
    assert answer.status_code == 409
    assert thread in answer.json()["detail"]
    assert run["run_id"] in answer.json()["detail"]
    assert "in-flight runs" in answer.json()["detail"]
    await client.runs.cancel(thread, run["run_id"], wait=True)
    assert (await write(http, thread, values={"n": 1})).status_code == 200


async def test_an_update_clears_an_error_and_keeps_questions_that_still_stand(client):
    thread = await new(client)
    await client.runs.wait(thread, "chain", input={"x": "no number"}, raise_error=False)
    assert (await client.threads.get(thread))["status"] == "error"
    await client.threads.update_state(thread, {"x": 1}, as_node="c")
    record = await client.threads.get(thread)
    assert (record["status"], record["error"]) == ("idle", None)

    thread = await new(client, "nested")
    await client.runs.wait(thread, "nested", input={"x": 0})
    asked = (await client.threads.get(thread))["interrupts"]
    inner = (await client.threads.get_state(thread, subgraphs=True))["tasks"][0]["state"]
    await client.threads.update_state(thread, {"x": 50}, checkpoint=inner["checkpoint"], as_node="a")
    record = await client.threads.get(thread)
    assert (record["status"], record["interrupts"]) == ("interrupted", asked)
    done = await client.runs.wait(thread, "nested", command={"resume": "yes"})
    assert (done["path"], done["x"]) == (["a", "yes", "z", "last"], 52)


async def test_updates_of_delta_channels(client):
    thread = await words(client, "ab", "delta")
    await client.threads.update_state(thread, {"path": ["c"]}, as_node="c")
    found = await states(client, thread)
    assert [state["values"]["path"] for state in found] == [["a", "b", "c"], ["a", "b"], ["a"]]
    await client.threads.update_state(thread, {"path": ["z"]}, as_node="c", checkpoint=found[2]["checkpoint"])
    await client.threads.update_state(thread, [[{"path": ["q"]}, "c"]], as_node="__copy__")
    assert (await client.threads.get_state(thread))["values"]["path"] == ["a", "z", "q"]
    assert [state["values"]["path"] for state in await states(client, thread)][-3:] == [
        ["a", "b", "c"],
        ["a", "b"],
        ["a"],
    ]


async def test_a_clone_with_updates_is_two_checkpoints_of_one_call(client):
    thread = await words(client, "ab")
    older = (await states(client, thread))[1]
    made = await client.threads.update_state(
        thread, [[{"path": ["1"]}, "a"], [{"path": ["2"]}, "b"]], as_node="__copy__", checkpoint=older["checkpoint"]
    )
    written, clone, *_ = await states(client, thread)
    assert written["checkpoint_id"] == made["checkpoint_id"]
    assert written["parent_checkpoint_id"] == clone["checkpoint_id"]
    assert clone["parent_checkpoint_id"] is None
    assert sorted(written["values"]["path"]) == ["1", "2", "a"]
    record = await client.threads.get(thread)
    assert record["values"] == written["values"]


async def test_written_state_survives_the_next_run_and_update(client):
    """What was drafted reads back as if it had been stored step by step, big values included."""
    big = "w" * 5000
    thread = await new(
        client, supersteps=[{"updates": [{"values": {"path": [letter * 3000]}, "as_node": "c"}]} for letter in "ab"]
    )
    await client.threads.update_state(thread, {"x": 5}, as_node="c")
    await client.threads.update_state(thread, [[{"path": [big]}, "c"]], as_node="__copy__")
    done = await client.runs.wait(thread, "chain", input={"x": 1})
    assert done["path"] == ["a" * 3000, "b" * 3000, big, "a", "b", "c"]
    assert [len(state["values"].get("path", [])) for state in (await states(client, thread))[5:]] == [3, 2, 2, 2, 1]


# --- supersteps ---


@pytest.mark.parametrize(
    ("metadata", "supersteps", "status", "text"),
    [
        ({}, [{"updates": [{"values": {}, "as_node": "a"}]}], 400, "graph"),
        ({"graph_id": "zap"}, [{"updates": [{"values": {}, "as_node": "a"}]}], 404, "zap"),
        ({"graph_id": "chain"}, [{"updates": []}], 400, "No updates provided"),
        ({"graph_id": "chain"}, [{"updates": [{"values": {}, "as_node": "zap"}]}], 400, "Node zap does not exist"),
        ({"graph_id": "chain"}, [{"updates": [{"command": {"resume": 1}, "as_node": "a"}]}], 400, "resume"),
        ({"graph_id": "chain"}, [{"updates": [{"command": {"goto": "zap"}, "as_node": "a"}]}], 400, "Node zap"),
        (
            {"graph_id": "chain"},
            [{"updates": [{"command": {"goto": [{"node": "zap", "input": 1}]}, "as_node": "a"}]}],
            400,
            "Node zap",
        ),
        (
            {"graph_id": "chain"},
            [
                {"updates": [{"values": {"path": ["kept?"]}, "as_node": "a"}]},
                {"updates": [{"values": {"path": 5}, "as_node": "b"}]},
            ],
            400,
            "int",
        ),
    ],
    ids=str,
)
async def test_refused_supersteps_leave_no_thread(http, metadata, supersteps, status, text):
    thread = str(uuid.uuid4())
    answer = await http.post("/threads", json={"thread_id": thread, "metadata": metadata, "supersteps": supersteps})
    assert answer.status_code == status
    assert text in answer.json()["detail"]
    assert (await http.get(f"/threads/{thread}")).status_code == 404
    again = await http.post("/threads", json={"thread_id": thread, "metadata": {"graph_id": "chain"}})
    assert again.status_code == 200
    assert (await http.get(f"/threads/{thread}/history")).json() == []


async def test_refused_supersteps_leave_an_existing_thread_as_it_was(client, http):
    thread = await words(client, "ab")
    kept, record = await states(client, thread), await client.threads.get(thread)
    steps = [
        {"updates": [{"values": {"path": ["c"]}, "as_node": "c"}]},
        {"updates": [{"values": {"path": ["d"]}, "as_node": "zap"}]},
    ]
    answer = await http.post("/threads", json={"thread_id": thread, "if_exists": "do_nothing", "supersteps": steps})
    assert answer.status_code == 400
    assert await states(client, thread) == kept
    assert await client.threads.get(thread) == record


async def test_creates_of_one_id_with_supersteps_at_once_make_one(http):
    thread = str(uuid.uuid4())
    body = {
        "thread_id": thread,
        "metadata": {"graph_id": "chain"},
        "supersteps": [{"updates": [{"values": {"path": ["a"]}, "as_node": "c"}]}],
    }
    answers = await asyncio.gather(*(http.post("/threads", json=body) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 5
    assert len((await http.get(f"/threads/{thread}/history")).json()) == 1


async def test_hundreds_of_supersteps_in_one_request(client):
    thread = await words(client, [f"w{n}" for n in range(400)])
    found = await states(client, thread)
    assert len(found) == 400
    assert found[0]["values"]["path"] == [f"w{n}" for n in range(400)]
    assert {state["metadata"]["thread_id"] for state in found} == {thread}
    assert (await client.threads.get(thread))["values"] == found[0]["values"]


async def test_a_command_with_a_send_starts_a_node_with_its_own_input(client):
    command = {"goto": [{"node": "b", "input": {"x": 10}}], "update": [["x", 3]]}
    thread = await new(client, supersteps=[{"updates": [{"command": command, "values": {"x": 7}, "as_node": "c"}]}])
    state = await client.threads.get_state(thread)
    assert (state["values"]["x"], state["next"]) == (3, ["b"])


# --- answers to nothing ---


async def test_an_answer_on_a_thread_that_never_ran_is_a_failed_run(client, http):
    thread = await new(client)
    answered = await http.post(
        f"/threads/{thread}/runs/wait", json={"assistant_id": "chain", "command": {"resume": "yes"}}
    )
    assert answered.status_code == 200
    assert answered.json()["__error__"] == {
        "error": "EmptyInputError",
        "message": "There is nothing to resume: the thread has not run yet",
    }
    assert await states(client, thread) == []


async def test_deleting_the_run_that_answered_opens_the_question_again(client):
    thread = await new(client, "ask")
    await client.runs.wait(thread, "ask", input={"path": []})
    (question,) = (await client.threads.get_state(thread))["interrupts"]
    copied = (await client.threads.copy(thread))["thread_id"]
    await client.runs.wait(thread, "ask", command={"resume": "wrong"})
    (answered, _) = await client.runs.list(thread)
    await client.runs.delete(thread, answered["run_id"])
    assert (await client.threads.get_state(thread))["interrupts"] == [question]
    assert [*(await client.threads.get(thread))["interrupts"].values()] == [[question]]
    right = await client.runs.wait(thread, "ask", command={"resume": "right"})
    assert right == await client.runs.wait(copied, "ask", command={"resume": "right"})
