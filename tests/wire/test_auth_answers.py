"""How refusals look: of who comes in, and of what he asks for, in each protocol's own words.

See docs/contract/auth.md#refusals.
"""

import json
import uuid
from pathlib import Path

import httpx
import pytest
import websockets

from tests.server import running
from tests.users import User, token

pytestmark = pytest.mark.anyio

APP = Path(__file__).parents[1] / "apps" / "auth"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running(APP, tmp_path_factory.mktemp("auth") / "data") as server:
        yield server


@pytest.fixture(scope="module")
def anyio_backend():
    return "asyncio"


# --- who comes in ---


@pytest.mark.parametrize(
    "user", [None, {"email": "a@b.c"}, 7, [], {"identity": None}, {"identity": "a", "permissions": "p"}]
)
async def test_an_authenticate_handler_that_returns_no_user_lets_nobody_in(server, user):
    async with httpx.AsyncClient(base_url=server.url) as http:
        response = await http.post("/threads", json={}, headers={"Authorization": token(user=user)})
    assert response.status_code == 500
    assert "detail" in response.json()


async def test_a_user_who_is_not_authenticated_is_not_let_in(server):
    user = {"identity": "ann", "is_authenticated": False}
    async with httpx.AsyncClient(base_url=server.url) as http:
        response = await http.post("/threads", json={}, headers={"Authorization": token(user=user)})
    assert (response.status_code, response.json()) == (401, {"detail": "Unauthorized"})


@pytest.mark.parametrize("status", [302, 400, 403, 418, 429, 503])
async def test_a_refusal_keeps_status_detail_and_headers(server, status):
    refuse = {"Authorization": token(refuse=[status, {"why": ["x"]}, {"Retry-After": "7", "Content-Length": "1"}])}
    async with httpx.AsyncClient(base_url=server.url) as http:
        response = await http.get("/threads/x", headers=refuse)
    assert (response.status_code, response.json()) == (status, {"detail": {"why": ["x"]}})
    assert response.headers["retry-after"] == "7"


@pytest.mark.parametrize("status", [100, 200, 204, 999, "200"])
async def test_a_refusal_that_is_none_lets_nobody_in(server, status):
    async with httpx.AsyncClient(base_url=server.url) as http:
        response = await http.get("/threads/x", headers={"Authorization": token(refuse=[status, "come in"])})
    assert response.status_code == 500


async def test_studio_has_no_way_in(server):
    async with httpx.AsyncClient(base_url=server.url) as http:
        response = await http.post("/threads/search", json={}, headers={"X-Auth-Scheme": "langsmith", "X-Api-Key": "k"})
    assert response.status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 401), ({"Authorization": token(refuse=[429, "slow"])}, 429), ({"Authorization": token(crash="no")}, 500)],
)
async def test_the_handshake_of_a_web_socket_is_refused_with_the_right_status(server, estate, headers, status):
    url = f"ws{server.url.removeprefix('http')}/threads/{estate.thread}/stream/events"
    with pytest.raises(websockets.InvalidStatus) as refused_:
        await websockets.connect(url, additional_headers=headers)
    assert refused_.value.response.status_code == status


async def test_the_web_socket_of_anothers_thread_is_not_found(server, bob, estate):
    url = f"ws{server.url.removeprefix('http')}/threads/{estate.thread}/stream/events"
    async with websockets.connect(url, additional_headers=bob.headers) as socket:
        with pytest.raises(websockets.ConnectionClosedError) as closed:
            await socket.recv()
    assert closed.value.rcvd.code == 4404
    async with websockets.connect(url, additional_headers=estate.ann.headers):
        pass


# --- the words of the last table ---


def told_by(response):
    """The one event that a stream of nothing holds."""
    name, data = response.text.split("\r\n", 1)
    assert name == "event: error"
    return json.loads(data.removeprefix("data: "))


async def test_joining_what_is_anothers_tells_of_no_thread_and_is_like_joining_nothing(bob, estate):
    nothing = str(uuid.uuid4())
    for thread, run in ((estate.thread, estate.run), (estate.thread, nothing), (nothing, nothing)):
        joined = await bob.http.get(f"/threads/{thread}/runs/{run}/join")
        assert (joined.status_code, joined.json()) == (404, {"detail": "Thread not found"})
        for path in (f"/threads/{thread}/runs/{run}/stream", f"/threads/{thread}/stream"):
            streamed = await bob.http.get(path)
            assert streamed.status_code == 404
            assert streamed.headers["content-type"].startswith("text/event-stream")
            assert told_by(streamed) == {"error": "HTTPException", "message": "404: Thread not found"}
    for run in (estate.stateless, nothing):
        stateless = await bob.http.get(f"/runs/{run}/stream")
        assert stateless.status_code == 404
        assert told_by(stateless) == {"error": "HTTPException", "message": "404: Run not found"}
    assert (await estate.ann.http.get(f"/runs/{estate.stateless}/stream")).status_code == 200


async def test_joining_what_is_not_on_a_thread_of_ones_own_has_the_body_of_what_fails(bob, estate):
    thread = await bob.thread()
    missing = {"error": "HTTPException", "message": "404: Run not found"}
    for run in (estate.run, str(uuid.uuid4())):
        joined = await bob.http.get(f"/threads/{thread}/runs/{run}/join")
        assert (joined.status_code, joined.json()) == (404, {"__error__": missing})
        streamed = await bob.http.get(f"/threads/{thread}/runs/{run}/stream")
        assert told_by(streamed) == missing


async def test_stopping_what_is_anothers_finds_no_runs(bob, estate):
    nothing = str(uuid.uuid4())
    for thread, run in ((estate.thread, estate.run), (estate.pending_thread, estate.pending), (nothing, nothing)):
        for path, body in (
            (f"/threads/{thread}/runs/{run}/cancel", {}),
            ("/runs/cancel", {"thread_id": thread, "run_ids": [run]}),
            ("/runs/cancel", {"status": "all"}),
        ):
            refused = await bob.http.post(path, json=body)
            assert (refused.status_code, refused.json()) == (404, {"detail": "No runs found to cancel."})
    over = await estate.ann.http.post("/runs/cancel", json={"thread_id": estate.thread, "run_ids": [estate.run]})
    assert over.status_code == 404
    assert over.json()["detail"].startswith("No matching runs to cancel.")


async def test_v2_commands_on_anothers_thread_are_denied(bob, estate):
    at = f"/threads/{estate.thread}/commands"
    start = {"id": 1, "method": "run.start", "params": {"assistant_id": "plain", "input": {}}}
    told = (await bob.http.post(at, json=start)).json()
    assert (told["type"], told["error"]) == ("error", "permission_denied")
    respond = {"id": 1, "method": "input.respond", "params": {"interrupt_id": "i", "response": 1}}
    for command in (respond, {"id": 1, "method": "state.get"}, {"id": 1, "method": "agent.getTree"}):
        assert (await bob.http.post(at, json=command)).json()["error"] == "no_such_run"
    events = await bob.http.post(f"/threads/{estate.thread}/stream/events", json={"channels": ["values"]})
    assert events.status_code == 404


async def test_mcp_that_is_refused_is_403(people):
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    response = await people("eve", rules={"assistants.search": {"give": False}}).http.post("/mcp", json=message)
    assert (response.status_code, response.json()) == (403, {"detail": "Forbidden"})
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "plain", "arguments": {}}}
    rules = {"assistants": {"give": None}, "threads.create_run": {"give": False}}
    assert (await people("eve", rules=rules).http.post("/mcp", json=call)).status_code == 403


async def test_a2a_tells_refusals_in_its_own_words(people, bob, estate):
    async def send(user, assistant, **more):
        message = {"messageId": "m", "role": "user", "parts": [{"kind": "data", "data": {}}], **more}
        body = {"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": {"message": message}}
        response = await user.http.post(f"/a2a/{assistant}", json=body)
        return response.status_code, response.json()["error"]

    reader = people("bob", rules={"assistants": {"give": None}})
    status, error = await send(reader, estate.assistant, contextId=estate.thread)
    assert (status, error["code"]) == (200, -32602)
    assert error["data"] == {"thread_id": estate.thread, "error_type": "thread_not_found"}
    status, error = await send(people("eve", rules={"assistants": {"give": False}}), estate.assistant)
    assert (status, error["code"], error["message"]) == (200, -32602, "Access denied to assistant or thread")
    body = {"jsonrpc": "2.0", "id": 1, "method": "tasks/get", "params": {"id": f"{estate.thread}:{estate.run}"}}
    assert (await reader.http.post(f"/a2a/{estate.assistant}", json=body)).json()["error"]["code"] == -32001
    listed = {"jsonrpc": "2.0", "id": 1, "method": "ListTasks", "params": {}}
    assert (await reader.http.post(f"/a2a/{estate.assistant}", json=listed)).json()["result"]["totalSize"] == 0


# --- filters ---


@pytest.mark.parametrize(
    ("filter", "visible"),
    [
        ({"n": 1}, True),
        ({"n": 1.0}, True),
        ({"n": "1"}, False),
        ({"n": True}, False),
        ({"yes": 1}, False),
        ({"nothing": None}, True),
        ({"missing": None}, False),
        ({"people": ["ann", "bea"]}, True),
        ({"people": ["bea", "ann"]}, False),
        ({"people": {"$contains": []}}, True),
        ({"team": {"$contains": "blue"}}, False),
        ({"team": {"$eq": "blue", "$contains": "x"}}, False),
        ({"people": {"$eq": ["ann", "bea"], "$contains": "ann"}}, True),
        ({"o": {"$eq": {"x": 1}}}, True),
        ({"$and": [{"n": 1}, {"$or": [{"team": "red"}, {"team": "blue"}]}]}, True),
    ],
    ids=lambda value: json.dumps(value),
)
async def test_filters_mean_what_they_say(people, filter, visible):
    ann = people("ann")
    metadata = {"team": "blue", "people": ["ann", "bea"], "n": 1, "o": {"x": 1}, "nothing": None, "yes": True}
    thread = await ann.thread(**metadata)
    eve = people("eve", rules={"threads": {"give": filter}})
    assert (await eve.http.get(f"/threads/{thread}")).status_code == (200 if visible else 404)
    found = await eve.http.post("/threads/search", json={"ids": [thread]})
    assert (len(found.json()), found.headers["x-pagination-total"]) == ((1, "1") if visible else (0, "0"))
    changed = await eve.http.patch(f"/threads/{thread}", json={"metadata": {"team": "blue"}})
    assert changed.status_code == (200 if visible else 404)


# --- copies ---


@pytest.fixture
async def ann(server):
    user = User(server.url, "ann")
    yield user
    await user.http.aclose()


async def test_a_copy_asks_for_all_its_parts(server, ann):
    thread = await ann.thread()
    await ann.run(thread)
    assistant = (await ann.http.post("/assistants", json={"graph_id": "plain"})).json()["assistant_id"]
    await ann.asked()
    options = {"assistant_id": assistant, "ttl": {"ttl": 5}, "count": 2, "metadata": [{"n": 1}, {"n": 2}]}
    answer = await ann.http.post(f"/threads/{thread}/copy", json=options)
    assert [(one["metadata"]["n"], one["metadata"]["owner"]) for one in answer.json()] == [
        (1, ann.identity),
        (2, ann.identity),
    ]
    asked = await ann.asked()
    assert [one["of"] for one in asked] == ["threads.read", "assistants.read", "threads.create", "threads.create"]
    assert set(asked[-1]["value"]) == {"thread_id", "metadata", "ttl"}
    assert asked[-1]["value"]["metadata"]["assistant_id"] == assistant


async def test_a_copy_reaches_nothing_that_its_caller_may_not_read(server, ann):
    """Neither a thread nor an assistant; nothing is made."""
    thread = await ann.thread()
    await ann.run(thread)
    assistant = (await ann.http.post("/assistants", json={"graph_id": "plain"})).json()["assistant_id"]
    state = (await ann.http.get(f"/threads/{thread}/state")).json()
    bob = User(server.url, "bob")
    own = await bob.thread()
    ends = ({}, {"checkpoint": state["checkpoint"]}, {"message_id": "m"}, {"keep": 1}, {"count": 2})
    for options in ends:
        answer = await bob.http.post(f"/threads/{thread}/copy", json=options)
        assert (answer.status_code, answer.json()) == (409, {"detail": "Conflict"})
    answer = await bob.http.post(f"/threads/{own}/copy", json={"assistant_id": assistant})
    assert answer.status_code == 404
    assert assistant in answer.json()["detail"]
    assert (await bob.http.post(f"/threads/{own}/copy", json={"assistant_id": "plain"})).status_code == 200
    refused = User(server.url, identity=bob.identity, rules={"threads.create": {"give": False}})
    for options in ({"count": 2}, {"keep": 1}):
        assert (await refused.http.post(f"/threads/{own}/copy", json=options)).status_code == 403
    assert len((await bob.http.post("/threads/search", json={})).json()) == 2
    for user in (bob, refused):
        await user.http.aclose()
