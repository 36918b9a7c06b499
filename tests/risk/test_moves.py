"""A reset, a promotion and an undo lose nothing: what a thread answered before, it answers again, to the byte"""

import asyncio
import uuid
from pathlib import Path

import orjson
import pytest

from tests.in_process import serving
from tests.storages import KINDS

pytestmark = pytest.mark.anyio

APP = Path(__file__).parents[1] / "apps" / "threads" / "langgraph.json"


@pytest.fixture(params=KINDS)
def where(request):
    """What the environment says of the database."""
    return {} if request.param == "sqlite" else {"DATABASE_URI": request.getfixturevalue("database")}


@pytest.fixture
async def http(where, tmp_path):
    async with serving(APP, where, tmp_path, LANGGRAPH_AES_KEY="0123456789abcdef") as (_, client, _):
        yield client


class Chat:
    """One thread over HTTP."""

    def __init__(self, http, thread_id):
        self.http = http
        self.id = thread_id

    @classmethod
    async def begin(cls, http):
        return cls(http, (await http.post("/threads", json={})).json()["thread_id"])

    async def post(self, path, status=200, **body):
        answer = await self.http.post(f"/threads/{self.id}{path}", json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def get(self, path=""):
        return (await self.http.get(f"/threads/{self.id}{path}")).raise_for_status().json()

    async def run(self, graph, input_=None, **more):
        return await self.post("/runs/wait", assistant_id=graph, input=input_, **more)

    async def say(self, text, graph="retell", **more):
        message = {"role": "human", "content": text, "id": text}
        return await self.run(graph, {"messages": [message]}, **more)

    async def words(self):
        return [message["content"] for message in (await self.get("/state"))["values"].get("messages", [])]

    async def newest(self):
        return (await self.get("/state"))["checkpoint_id"]

    async def ids(self):
        return [state["checkpoint_id"] for state in await self.post("/history", limit=1000)]

    async def copy(self, **options):
        return Chat(self.http, (await self.post("/copy", **options))["thread_id"])

    async def answers(self):
        """All that the thread answers, but for the moments of changes."""
        record = await self.get()
        for moment in ("updated_at", "state_updated_at"):
            del record[moment]
        bodies = [
            (await self.http.get(f"/threads/{self.id}/state?subgraphs=true")).content,
            (await self.http.post(f"/threads/{self.id}/history", json={"limit": 1000})).content,
            (await self.http.get(f"/threads/{self.id}/storage")).content,
        ]
        return record, bodies


async def test_what_an_undo_gives_back_is_the_same_and_an_interrupted_thread_goes_on(http):
    thread = await Chat.begin(http)
    await thread.run("ask", {"x": 0})
    waiting = await thread.answers()
    assert waiting[0]["status"] == "interrupted"
    assert waiting[0]["interrupts"]
    first = (await thread.ids())[-1]
    done = await thread.post("/reset", checkpoint_id=first)
    assert done["moved"] == {"from": (ids_in(waiting))[0], "to": first}
    assert (done["status"], done["interrupts"]) == ("interrupted", {})
    assert await thread.ids() == [first]
    undone = await thread.post("/reset", undo=True)
    assert undone["moved"] == {"from": first, "to": done["moved"]["from"]}
    assert await thread.answers() == waiting
    await thread.run("ask", command={"resume": "yes"})
    assert (await thread.get("/state"))["values"]["path"] == ["a", "yes", "z"]
    assert (await thread.get())["status"] == "idle"


def ids_in(answers):
    """The ids of the checkpoints in a thread's answers, newest first."""
    return [state["checkpoint_id"] for state in orjson.loads(answers[1][1])]


async def test_a_second_undo_takes_the_first_one_back(http):
    thread = await Chat.begin(http)
    await thread.say("one")
    one = await thread.newest()
    await thread.say("two")
    before = await thread.answers()
    await thread.post("/reset", checkpoint_id=one)
    assert await thread.words() == ["one", "one"]
    await thread.say("three")
    other = await thread.answers()
    assert await thread.words() == ["one", "one", "three", "one / one / three"]
    for wanted in (before, other, before, other):
        await thread.post("/reset", undo=True)
        assert await thread.answers() == wanted
    # A checkpoint that only the former head shows can be named, and is not part of the thread otherwise.
    lost = (ids_in(before))[0]
    assert (await thread.get(f"/state/{lost}"))["metadata"] is None
    await thread.post("/reset", checkpoint_id=lost)
    assert await thread.words() == ["one", "one", "two", "one / one / two"]


async def test_an_error_comes_back_with_its_thread_and_outputs_stay_what_they_were(http):
    thread = await Chat.begin(http)
    await thread.say("one")
    one = await thread.newest()
    long = await http.post(
        f"/threads/{thread.id}/runs",
        json={
            "assistant_id": "retell",
            "input": {"messages": [{"role": "human", "content": "x" * 9000, "id": "long"}]},
        },
    )
    run = long.json()["run_id"]
    joined = (await http.get(f"/threads/{thread.id}/runs/{run}/join")).content
    await thread.run("secretive", {"x": 1})
    broken = await thread.answers()
    assert (broken[0]["status"], broken[0]["error"]["error"]) == ("error", "OwnError")
    await thread.post("/reset", checkpoint_id=one)
    assert (await thread.get())["error"] is None
    await thread.run("retell")  # nothing to do: its output is the state it finds
    assert (await http.get(f"/threads/{thread.id}/runs/{run}/join")).content == joined
    await thread.post("/reset", undo=True)
    assert (await thread.answers())[1] == broken[1]
    assert (await thread.get())["error"] == broken[0]["error"]


async def test_child_namespaces_move_along(http):
    """A fork in place shows a subgraph's memory of the turns that it left behind; a reset does not."""
    thread = await Chat.begin(http)
    await thread.say("one", "remembering")
    one = await thread.newest()
    for text in ("two", "three"):
        await thread.say(text, "remembering")
    before = await thread.answers()
    await thread.post("/reset", checkpoint_id=one)
    await thread.say("other", "remembering")
    assert (await thread.words())[-1] == "one / one / other"
    await thread.post("/reset", undo=True)
    assert await thread.answers() == before
    await thread.say("four", "remembering")
    heard = (await thread.words())[-1].split(" / ")
    assert "other" not in heard
    assert heard[-1] == "four"
    assert {"one", "two", "three"} <= set(heard)


async def test_a_copy_is_promoted_and_both_live_apart_from_then_on(http):
    source = await Chat.begin(http)
    await source.run("ask", {"x": 0})
    copy = await source.copy()
    await copy.run("ask", command={"resume": "copied"})
    told = await copy.answers()
    before = await source.answers()
    done = await source.post("/promote", thread_id=copy.id)
    assert done["moved"] == {"from": (ids_in(before))[0], "to": (ids_in(told))[0]}
    assert (done["status"], done["values"]) == (told[0]["status"], told[0]["values"])
    assert (await source.get("/state"))["values"]["path"] == ["a", "copied", "z"]
    await copy.run("ask", {"x": 5})
    assert (await source.get("/state"))["values"]["path"] == ["a", "copied", "z"]
    assert (await http.delete(f"/threads/{copy.id}")).status_code == 204
    assert (await source.get("/state"))["values"]["path"] == ["a", "copied", "z"]
    await source.post("/reset", undo=True)
    assert await source.answers() == before
    await source.run("ask", command={"resume": "own"})
    assert (await source.get("/state"))["values"]["path"] == ["a", "own", "z"]
    # The other way round: what was promoted outlives the thread that it was promoted to.
    again = await source.copy()
    await again.post("/promote", thread_id=source.id)
    kept = await again.answers()
    assert (await http.delete(f"/threads/{source.id}")).status_code == 204
    assert await again.answers() == kept


async def test_moves_and_runs_at_once_come_one_after_the_other(http):
    thread = await Chat.begin(http)
    await thread.say("one")
    ids = await thread.ids()

    async def move(number):
        body = {"checkpoint_id": ids[number % len(ids)]} if number % 2 else {"undo": True}
        return (await http.post(f"/threads/{thread.id}/reset", json=body)).status_code

    async def run(number):
        body = {"assistant_id": "retell", "input": {"messages": [{"role": "human", "content": f"n{number}"}]}}
        return (await http.post(f"/threads/{thread.id}/runs/wait", json=body)).status_code

    await thread.post("/reset", checkpoint_id=ids[0])
    statuses = await asyncio.gather(*(move(number) if number % 3 else run(number) for number in range(12)))
    assert set(statuses) <= {200, 409}
    assert {statuses[number] for number in range(0, 12, 3)} == {200}
    shown = await thread.get("/state")
    assert (await thread.get())["values"] == shown["values"]
    assert (await thread.get())["status"] == ("interrupted" if shown["next"] else "idle")
    before = await thread.answers()
    for _ in range(2):
        await thread.post("/reset", undo=True)
    assert await thread.answers() == before


async def test_a_deleted_run_is_gone_from_where_the_thread_was_too(http):
    thread = await Chat.begin(http)
    await thread.say("one")
    one = await thread.newest()
    await thread.say("secret")
    [run, *_] = await thread.get("/runs")
    secret = await thread.newest()
    await thread.http.put(f"/threads/{thread.id}/tags/said", json={})
    await thread.post("/reset", checkpoint_id=one)
    assert (await http.delete(f"/threads/{thread.id}/runs/{run['run_id']}")).status_code == 204
    await thread.post("/reset", 404, checkpoint_id=secret)
    await thread.post("/reset", 409, undo=True)
    assert await thread.get("/tags") == []
    assert await thread.words() == ["one", "one"]


async def test_a_tag_stands_wherever_a_checkpoint_id_does(http):
    thread = await Chat.begin(http)
    await thread.run("chain", {"x": 0})
    ids = await thread.ids()
    at_b = next(state for state in await thread.post("/history", limit=10) if state["next"] == ["b"])
    b = at_b["checkpoint_id"]
    tag = (await http.put(f"/threads/{thread.id}/tags/b", json={"checkpoint_id": b})).json()
    assert (tag["name"], tag["checkpoint_id"]) == ("b", b)
    assert await thread.get("/tags") == [tag]
    wanted = await thread.get(f"/state/{b}")
    assert await thread.get("/state/b") == wanted
    assert await thread.post("/state/checkpoint", checkpoint={"checkpoint_id": "b"}) == wanted
    following = ids[ids.index(b) + 1 :]
    for before in ("b", {"checkpoint_id": "b"}, {"configurable": {"checkpoint_id": "b"}}):
        found = await thread.post("/history", limit=10, before=before)
        assert [state["checkpoint_id"] for state in found] == following
    assert [state["checkpoint_id"] for state in await thread.get("/history?before=b")] == following
    assert (await thread.post("/history", checkpoint={"checkpoint_id": "b"}))[0]["checkpoint_id"] == b
    for place in ({"checkpoint_id": "b"}, {"checkpoint": {"checkpoint_id": "b"}}):
        values = await thread.run("chain", **place)
        assert values["path"] == ["a", "b", "c"]
        clone = next(
            state
            for state in await thread.post("/history", limit=100)
            if (state["parent_checkpoint"] or {}).get("checkpoint_id") == b and state["metadata"]["source"] == "fork"
        )
        assert clone["next"] == ["b"]
    await thread.run("chain", config={"configurable": {"checkpoint_id": "b"}})
    made = await thread.post("/state", values={"path": ["u"]}, as_node="a", checkpoint={"checkpoint_id": "b"})
    parent = (await thread.get(f"/state/{made['checkpoint_id']}"))["parent_checkpoint"]
    assert parent["checkpoint_id"] == b
    await thread.post("/state", values={"path": ["u"]}, as_node="a", checkpoint_id="b")
    done = await thread.post("/reset", checkpoint_id="b")
    assert done["moved"]["to"] == b


async def test_a_tag_that_does_not_exist_is_named(http):
    thread = await Chat.begin(http)
    await thread.run("chain", {"x": 0})
    texts = [
        (await http.get(f"/threads/{thread.id}/state/nope")),
        (await http.post(f"/threads/{thread.id}/state/checkpoint", json={"checkpoint": {"checkpoint_id": "nope"}})),
        (await http.post(f"/threads/{thread.id}/history", json={"before": "nope"})),
        (await http.post(f"/threads/{thread.id}/reset", json={"checkpoint_id": "nope"})),
        (await http.put(f"/threads/{thread.id}/tags/x", json={"checkpoint_id": "nope"})),
        (await http.delete(f"/threads/{thread.id}/tags/nope")),
        (
            await http.post(
                f"/threads/{thread.id}/runs/wait",
                json={"assistant_id": "chain", "checkpoint": {"checkpoint_id": "nope"}},
            )
        ),
        (await http.post(f"/threads/{thread.id}/state", json={"values": {}, "checkpoint": {"checkpoint_id": "nope"}})),
    ]
    for answer in texts:
        assert (answer.status_code, answer.json()["detail"]) == (404, "Tag nope not found"), answer.request.url
    refused = await http.post(
        f"/threads/{thread.id}/runs/wait", json={"assistant_id": "chain", "checkpoint_id": "nope"}
    )
    assert (refused.status_code, refused.json()["detail"]) == (422, "Tag nope not found")
    assert await thread.get("/runs") == (await thread.get("/runs"))[:1]


async def test_a_tag_keeps_its_checkpoint_from_a_prune(http):
    thread = await Chat.begin(http)
    await thread.say("one", "remembering")
    await thread.http.put(f"/threads/{thread.id}/tags/one", json={})
    one = await thread.get("/state/one")
    for text in ("two", "three"):
        await thread.say(text, "remembering")
    newest = await thread.get("/state")
    pruned = await http.post("/threads/prune", json={"thread_ids": [thread.id], "strategy": "keep_latest"})
    assert pruned.json() == {"pruned_count": 1}
    left = await thread.post("/history", limit=100)
    assert [state["values"] for state in left] == [newest["values"], one["values"]]
    assert (await thread.get("/state/one"))["values"] == one["values"]
    # A cut there is what it was, subgraph included.
    copy = await thread.copy(checkpoint_id="one")
    await copy.say("other", "remembering")
    assert (await copy.words())[-1] == "one / one / other"
    await thread.http.delete(f"/threads/{thread.id}/tags/one")
    await http.post("/threads/prune", json={"thread_ids": [thread.id], "strategy": "keep_latest"})
    assert len(await thread.post("/history", limit=100)) == 1


async def test_bad_input_is_named_and_changes_nothing(http):
    thread = await Chat.begin(http)
    await thread.say("one")
    other = await Chat.begin(http)
    await other.say("else")
    empty = await thread.copy()
    unborn = await (await Chat.begin(http)).copy()
    before = await thread.answers()
    missing = str(uuid.uuid4())
    for path, body, status, said in (
        ("/reset", {}, 422, "Give either checkpoint_id or undo"),
        ("/reset", {"checkpoint_id": missing, "undo": True}, 422, "Give either"),
        ("/reset", {"undo": False}, 422, "undo"),
        ("/reset", {"checkpoint": missing}, 422, "checkpoint"),
        ("/reset", {"checkpoint_id": "a b"}, 422, "checkpoint_id: 'a b'"),
        ("/reset", {"checkpoint_id": missing}, 404, missing),
        ("/reset", {"undo": True}, 409, "no move to undo"),
        ("/promote", {}, 422, "thread_id"),
        ("/promote", {"thread_id": "x"}, 422, "Invalid thread ID"),
        ("/promote", {"thread_id": thread.id}, 422, "thread_id"),
        ("/promote", {"thread_id": missing}, 404, missing),
        ("/promote", {"thread_id": other.id}, 409, other.id),
        ("/append", {"thread_id": other.id}, 422, "Give either message_ids or values"),
        ("/append", {"thread_id": other.id, "message_ids": []}, 422, "message_ids"),
        ("/append", {"thread_id": other.id, "message_ids": ["a", "a"]}, 422, "message_ids"),
        ("/append", {"thread_id": other.id, "message_ids": ["nope"]}, 404, "Message nope not found"),
        ("/append", {"thread_id": missing, "message_ids": ["a"]}, 404, missing),
        ("/append", {"thread_id": empty.id, "message_ids": ["one"]}, 409, "message one"),
        ("/append", {"thread_id": other.id, "checkpoint_id": missing, "values": {}}, 404, missing),
        ("/append", {"thread_id": unborn.id, "values": {}}, 404, unborn.id),
    ):
        answer = await http.post(f"/threads/{thread.id}{path}", json=body)
        assert (answer.status_code, said in answer.text) == (status, True), (path, body, answer.text)
    for name, body, status, said in (
        (missing, None, 422, "name"),
        ("a b", None, 422, "name"),
        ("x" * 65, None, 422, "name"),
        ("ok", {"if_exists": "maybe"}, 422, "if_exists"),
        ("ok", {"checkpoint_id": missing}, 404, missing),
        ("ok", {"at": 1}, 422, "at"),
    ):
        answer = await http.put(f"/threads/{thread.id}/tags/{name}", json=body)
        assert (answer.status_code, said in answer.text) == (status, True), (name, body, answer.text)
    assert await thread.answers() == before
    assert await thread.get("/tags") == []
    tag = await http.put(f"/threads/{thread.id}/tags/once")
    assert tag.status_code == 200
    again = await http.put(f"/threads/{thread.id}/tags/once")
    assert (again.status_code, again.json()["detail"]) == (409, "Tag once already exists")
    await thread.say("two")
    moved = await http.put(f"/threads/{thread.id}/tags/once", json={"if_exists": "move"})
    assert moved.json()["checkpoint_id"] == await thread.newest()
    assert moved.json()["created_at"] == tag.json()["created_at"]
    unborn_tag = await http.put(f"/threads/{unborn.id}/tags/once")
    assert (unborn_tag.status_code, "no checkpoint" in unborn_tag.text) == (409, True)
    refused = await unborn.post("/promote", 409, thread_id=(await unborn.copy()).id)
    assert "has no state" in refused["detail"]


async def test_a_thread_with_runs_is_not_moved(http):
    thread = await Chat.begin(http)
    await thread.run("loop", {"until": 1})
    one = await thread.newest()
    copy = await thread.copy()
    run = (await thread.post("/runs", assistant_id="loop", input={"until": 10_000}))["run_id"]
    for path, body in (
        ("/reset", {"checkpoint_id": one}),
        ("/reset", {"undo": True}),
        ("/promote", {"thread_id": copy.id}),
    ):
        assert run in (await thread.post(path, 409, **body))["detail"]
    assert run in (await copy.post("/promote", 409, thread_id=thread.id))["detail"]
    await http.post(f"/threads/{thread.id}/runs/{run}/cancel?wait=true")
    await thread.post("/reset", checkpoint_id=one)


async def test_work_comes_back_as_messages_with_their_origin(http):
    source = await Chat.begin(http)
    await source.say("one")
    target = await source.copy()
    await target.say("mine")
    await source.say("found")
    at = await source.newest()
    made = await target.post("/append", thread_id=source.id, message_ids=["re-found"])
    state = await target.get("/state")
    assert state["checkpoint_id"] == made["checkpoint_id"]
    origin = {"thread_id": source.id, "checkpoint_id": at}
    assert state["metadata"]["appended_from"] == origin
    last = state["values"]["messages"][-1]
    assert (last["id"], last["response_metadata"]["appended_from"]) == ("re-found", origin)
    assert [message["id"] for message in state["values"]["messages"]][:-1] == ["one", "re-one", "mine", "re-mine"]
    await target.post("/append", 409, thread_id=source.id, message_ids=["re-found"])
    note = {"role": "human", "content": "summary", "id": "sum"}
    await target.post("/append", thread_id=source.id, checkpoint_id=at, values={"messages": [note]})
    assert (await target.get("/state"))["values"]["messages"][-1]["response_metadata"]["appended_from"] == origin
    assert "appended_from" not in str(await source.post("/history", limit=100))


async def test_readers_of_the_thread_are_told(http):
    thread = await Chat.begin(http)
    await thread.say("one")
    one = await thread.newest()
    await thread.say("two")
    told = asyncio.create_task(http.get(f"/threads/{thread.id}/stream?stream_modes=state_update"))
    await asyncio.sleep(0.2)
    await thread.post("/reset", checkpoint_id=one)
    copy = await thread.copy()
    assert (await http.delete(f"/threads/{thread.id}")).status_code == 204  # ends the stream
    text = (await told).text
    assert "event: state_update" in text
    assert one in text
    assert await copy.words() == ["one", "one"]


async def test_the_digests_of_what_an_update_stored_are_right(http):
    """Its metadata are completed after LangGraph gave them."""
    thread = await Chat.begin(http)
    await thread.run("chain", {"x": 0})
    await thread.post("/state", values={"path": ["u"]}, checkpoint_id=await thread.newest())
    found = (await thread.get("/digests?bytes=true"))["checkpoints"]
    assert [(one["damage"], bool(one["digest"])) for one in found] == [([], True)] * 6
