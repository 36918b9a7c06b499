"""Whatever is not clearly allowed shows nothing and changes nothing; strangers cannot tell a thing of another from none."""

import asyncio
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
MARK = "m4rk"
"""Stands in all that is Ann's, and nowhere else."""

BROKEN = {
    "an operator that there is not": {"give": {"owner": {"$in": [MARK]}}},
    "another": {"give": {"$not": {"owner": "nobody"}}},
    "a condition on a mapping": {"give": {"owner": {"name": "ann"}}},
    "no condition": {"give": {"owner": {}}},
    "half a group": {"give": {"$or": [{"owner": "nobody"}]}},
    "a group of no filters": {"give": {"$and": ["owner", "nobody"]}},
    "a list": {"give": ["owner"]},
    "a text": {"give": "yes"},
    "a number": {"give": 1},
    "a crash": {"crash": "no"},
    "no": {"give": False},
    "an assertion": {"assert": "not for you"},
    "a refusal": {"raise": [451, "not here"]},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running(APP, tmp_path_factory.mktemp("auth") / "data") as server:
        yield server


@pytest.fixture
async def people(server):
    """Makes users; `people("ann", rules=…)`."""
    made = []

    def make(name, **more):
        made.append(User(server.url, name, **more))
        return made[-1]

    yield make
    for user in made:
        await user.close()


@pytest.fixture
def bob(people):
    return people("bob")


class Estate:
    """What Ann has, of every kind."""

    def __init__(self, ann):
        self.ann = ann

    async def fill(self):
        ann = self.ann
        self.thread = await ann.thread(note=MARK)
        await ann.run(self.thread, graph="asking", input={"texts": [MARK]})
        runs = (await ann.http.get(f"/threads/{self.thread}/runs")).json()
        self.run = runs[0]["run_id"]
        late = {"assistant_id": "plain", "input": {"texts": [MARK]}, "after_seconds": 3600}
        self.pending_thread = await ann.thread(note=MARK)
        made = await ann.http.post(f"/threads/{self.pending_thread}/runs", json=late)
        self.pending = made.json()["run_id"]
        made = await ann.http.post("/assistants", json={"graph_id": "plain", "name": MARK})
        self.assistant = made.json()["assistant_id"]
        cron = {
            "assistant_id": "plain",
            "schedule": "0 0 1 1 *",
            "input": {"texts": [MARK]},
            "metadata": {"note": MARK},
        }
        self.cron = (await ann.http.post("/runs/crons", json=cron)).json()["cron_id"]
        made = await ann.http.post(f"/threads/{self.thread}/runs/crons", json=cron)
        self.thread_cron = made.json()["cron_id"]
        item = {"namespace": ["notes"], "key": "k", "value": {"note": MARK}}
        assert (await ann.http.put("/store/items", json=item)).status_code == 204
        made = await ann.http.post("/runs", json={"assistant_id": "plain", "input": {"texts": [MARK]}})
        self.stateless = made.json()["run_id"]
        await ann.http.get(f"/threads/{made.json()['thread_id']}/runs/{self.stateless}/join")
        return self

    def requests(self):
        """Everything that can be asked for or done, told by what it needs to be allowed."""
        thread, at = self.thread, f"/threads/{self.thread}"
        run, assistant = {"assistant_id": "plain", "input": {}}, f"/assistants/{self.assistant}"
        state = {"values": {"texts": ["x"]}}
        copy, rpc = {"if_exists": "do_nothing"}, {"jsonrpc": "2.0", "id": 1}
        message = {"messageId": "m", "role": "user", "contextId": thread, "parts": [{"kind": "data", "data": {}}]}
        return [
            ("threads.create", "POST", "/threads", {"thread_id": thread, "if_exists": "do_nothing"}),
            ("threads.create", "POST", "/threads", {"thread_id": thread, "supersteps": [], "if_exists": "do_nothing"}),
            ("threads.search", "POST", "/threads/search", {"limit": 100}),
            ("threads.search", "POST", "/threads/search", {"ids": [thread]}),
            ("threads.search", "POST", "/threads/count", {"metadata": {"note": MARK}}),
            ("threads.delete", "POST", "/threads/prune", {"thread_ids": [thread]}),
            ("threads.read", "GET", at, None),
            ("threads.update", "PATCH", at, {"metadata": {"stolen": True}}),
            ("threads.delete", "DELETE", at, None),
            ("threads.delete", "DELETE", f"{at}?cascade=copies", None),
            ("threads.read", "GET", f"{at}/state", None),
            ("threads.update", "POST", f"{at}/state", state),
            ("threads.read", "POST", f"{at}/state", state),
            ("threads.read", "POST", f"{at}/state/checkpoint", {"checkpoint": {}}),
            ("threads.read", "GET", f"{at}/history", None),
            ("threads.read", "POST", f"{at}/history", {}),
            ("threads.read", "GET", f"{at}/storage", None),
            ("threads.read", "POST", f"{at}/copy", {"thread_id": str(uuid.uuid4()), **copy}),
            ("threads.create", "POST", f"{at}/copy", {"thread_id": str(uuid.uuid4())}),
            ("threads.read", "GET", f"{at}/stream", None),
            ("threads.read", "GET", f"{at}/runs", None),
            ("threads.search", "GET", f"{at}/runs", None),
            ("threads.create_run", "POST", f"{at}/runs", run),
            ("threads.create_run", "POST", f"{at}/runs/wait", {**run, "if_not_exists": "create"}),
            ("threads.create_run", "POST", f"{at}/runs/stream", run),
            ("threads.create_run", "POST", "/runs", run),
            ("threads.create_run", "POST", "/runs/wait", run),
            ("threads.create_run", "POST", "/runs/stream", run),
            ("threads.create_run", "POST", "/runs/batch", [run]),
            ("threads.read", "POST", "/runs/wait", run),
            ("assistants.read", "POST", "/runs/wait", {**run, "assistant_id": self.assistant}),
            ("threads.read", "GET", f"{at}/runs/{self.run}", None),
            ("threads.read", "GET", f"{at}/runs/{self.run}/join", None),
            ("threads.read", "GET", f"{at}/runs/{self.run}/stream", None),
            ("threads.delete", "DELETE", f"{at}/runs/{self.run}", None),
            ("threads.update", "POST", f"/threads/{self.pending_thread}/runs/{self.pending}/cancel", {}),
            ("threads.update", "POST", "/runs/cancel", {"thread_id": self.pending_thread, "run_ids": [self.pending]}),
            ("threads.update", "POST", "/runs/cancel", {"status": "all"}),
            ("threads.read", "GET", f"/runs/{self.stateless}/stream", None),
            ("assistants.create", "POST", "/assistants", {"graph_id": "plain", "assistant_id": self.assistant}),
            ("assistants.search", "POST", "/assistants/search", {}),
            ("assistants.search", "POST", "/assistants/count", {"metadata": {"owner": self.ann.identity}}),
            ("assistants.read", "GET", assistant, None),
            ("assistants.read", "GET", f"{assistant}/graph", None),
            ("assistants.read", "GET", f"{assistant}/subgraphs", None),
            ("assistants.read", "GET", f"{assistant}/schemas", None),
            ("assistants.read", "POST", f"{assistant}/versions", {}),
            ("assistants.update", "POST", f"{assistant}/latest", {"version": 1}),
            ("assistants.update", "PATCH", assistant, {"name": "stolen"}),
            ("assistants.delete", "DELETE", assistant, None),
            ("crons.create", "POST", "/runs/crons", {**run, "schedule": "* * * * *"}),
            ("threads.read", "POST", f"{at}/runs/crons", {**run, "schedule": "* * * * *"}),
            ("crons.search", "POST", "/runs/crons/search", {}),
            ("threads.search", "POST", "/runs/crons/search", {}),
            ("crons.search", "POST", "/runs/crons/count", {}),
            ("crons.read", "GET", f"/runs/crons/{self.cron}", None),
            ("crons.update", "PATCH", f"/runs/crons/{self.cron}", {"enabled": False}),
            ("crons.delete", "DELETE", f"/runs/crons/{self.cron}", None),
            ("store.put", "PUT", "/store/items", {"namespace": [self.ann.identity, "notes"], "key": "k", "value": {}}),
            ("store.get", "GET", f"/store/items?namespace={self.ann.identity}.notes&key=k", None),
            ("store.delete", "DELETE", "/store/items", {"namespace": [self.ann.identity, "notes"], "key": "k"}),
            ("store.search", "POST", "/store/items/search", {"namespace_prefix": [self.ann.identity]}),
            ("store.list_namespaces", "POST", "/store/namespaces", {"prefix": [self.ann.identity]}),
            ("threads.read", "POST", f"{at}/stream/events", {"channels": ["values", "messages"]}),
            ("assistants.search", "POST", "/mcp", {**rpc, "method": "tools/list"}),
            ("assistants.read", "GET", f"/.well-known/agent-card.json?assistant_id={self.assistant}", None),
            ("assistants.read", "POST", f"/a2a/{self.assistant}", {**rpc, "method": "tasks/get", "params": {}}),
            ("threads.search", "GET", "/webhooks/deliveries", None),
            (
                "a2a",
                "POST",
                f"/a2a/{self.assistant}",
                {**rpc, "method": "message/send", "params": {"message": message}},
            ),
            ("v2", "POST", f"{at}/commands", {"id": 1, "method": "run.start", "params": run}),
            ("v2", "POST", f"{at}/commands", {"id": 1, "method": "state.get"}),
            ("v2", "POST", f"{at}/commands", {"id": 1, "method": "agent.getTree"}),
        ]

    async def all(self):
        """All there is, as Ann sees it."""
        http, at = self.ann.http, f"/threads/{self.thread}"
        seen = [
            await http.get(at),
            await http.get(f"{at}/history"),
            await http.get(f"{at}/runs"),
            await http.get(f"/threads/{self.pending_thread}/runs/{self.pending}"),
            await http.get(f"/assistants/{self.assistant}"),
            await http.post("/runs/crons/search", json={}),
            await http.post("/store/items/search", json={"namespace_prefix": []}),
            await http.post("/threads/count", json={}),
        ]
        assert all(response.status_code == 200 for response in seen), [response.text for response in seen]
        return [response.json() for response in seen]


@pytest.fixture(scope="module")
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="module")
async def estate(server):
    ann = User(server.url, "ann")
    yield await Estate(ann).fill()
    await ann.close()


async def ask(user, method, path, body):
    """Status and text of an answer; of one that lasts, what comes at once."""
    async with user.http.stream(method, path, json=body) as response:
        if response.status_code == 200 and "event-stream" in response.headers["content-type"]:
            parts = response.aiter_text()
            try:
                async with asyncio.timeout(0.3):
                    return response.status_code, "".join([part async for part in parts])
            except TimeoutError:
                return response.status_code, ""
        return response.status_code, (await response.aread()).decode()


def refused(status, text):
    """Whether an answer refuses, in whatever protocol."""
    if status >= 400:
        return True
    try:
        told = json.loads(text)
    except ValueError:
        return False
    return isinstance(told, dict) and ("error" in told or told.get("type") == "error" or "__error__" in told)


@pytest.mark.parametrize("rule", BROKEN.values(), ids=BROKEN)
async def test_a_handler_that_does_not_clearly_say_yes_lets_nobody_through(people, estate, rule):
    before = await estate.all()

    async def try_one(needs, method, path, body):
        # All else is allowed, so that it is this one handler which refuses.
        rules = {"*": {"give": None}, needs: rule}
        if needs in ("a2a", "v2"):
            rules = {"*": {"give": None}, "threads.read": rule, "threads.create_run": rule}
        status, text = await ask(people("eve", rules=rules), method, path, body)
        assert refused(status, text), (method, path, status, text)
        assert MARK not in text, (method, path)

    await asyncio.gather(*[try_one(*request) for request in estate.requests()])
    assert await estate.all() == before


async def test_a_stranger_sees_and_changes_nothing_anywhere(bob, estate):
    before = await estate.all()

    async def try_one(_, method, path, body):
        status, text = await ask(bob, method, path, body)
        assert MARK not in text, (method, path, status)
        assert status < 500, (method, path, text)

    await asyncio.gather(*[try_one(*request) for request in estate.requests()])
    assert await estate.all() == before


async def test_without_credentials_everything_is_401_even_what_is_not_there(server, estate):
    async with httpx.AsyncClient(base_url=server.url) as nobody:
        for _, method, path, body in [*estate.requests(), ("", "GET", "/nowhere", None), ("", "GET", "/ui", None)]:
            response = await nobody.request(method, path, json=body)
            assert response.status_code == 401, (method, path)
            assert response.json() == {"detail": "credentials required"}
            assert response.headers["www-authenticate"] == "Bearer"


async def test_what_is_anothers_and_what_is_not_there_look_alike(bob, estate):
    ids = {estate.thread, estate.run, estate.pending_thread, estate.pending, estate.assistant, estate.cron}
    instead = {one: str(uuid.uuid4()) for one in (*ids, estate.stateless)}
    for needs, method, path, body in estate.requests():
        if (needs == "threads.create" and path == "/threads") or needs in ("assistants.create", "a2a", "v2"):
            continue  # a taken id is taken, and a run may begin on a new thread
        if path.endswith(("/stream/events", "/runs/wait")):
            continue  # the same
        spelled = json.dumps([path, body])
        for one, other in instead.items():
            spelled = spelled.replace(one, other)
        theirs, none = [await ask(bob, method, *spot) for spot in ([path, body], json.loads(spelled))]
        if theirs[0] < 400:
            continue  # a search, a run of one's own
        text = theirs[1]
        for one, other in instead.items():
            text = text.replace(one, other)
        assert (theirs[0], text) == none, (method, path)


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
    with pytest.raises(websockets.InvalidStatus) as refused_:
        await websockets.connect(url, additional_headers=bob.headers)
    assert refused_.value.response.status_code == 404
    async with websockets.connect(url, additional_headers=estate.ann.headers):
        pass


# --- the words of the last table ---


async def test_joining_what_is_anothers_is_404_with_the_body_of_what_fails(bob, estate):
    at = f"/threads/{estate.thread}"
    missing = {"error": "HTTPException", "message": "404: Run not found"}
    joined = await bob.http.get(f"{at}/runs/{estate.run}/join")
    assert (joined.status_code, joined.json()) == (404, {"__error__": missing})
    for path, text in (
        (f"{at}/runs/{estate.run}/stream", "404: Run not found"),
        (f"{at}/stream", "404: Thread not found"),
    ):
        streamed = await bob.http.get(path)
        assert streamed.status_code == 404
        assert streamed.headers["content-type"].startswith("text/event-stream")
        assert streamed.text.replace("\r\n", "\n").strip().split("\n") == [
            "event: error",
            'data: {"error":"HTTPException","message":"' + text + '"}',
        ]
    stateless = await bob.http.get(f"/runs/{estate.stateless}/stream")
    assert stateless.status_code == 404
    assert (await estate.ann.http.get(f"/runs/{estate.stateless}/stream")).status_code == 200


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


# --- copies ---


async def test_whoever_copies_a_shared_thread_owns_the_copy(people, bob, estate):
    reader = bob.told(threads__read={"give": None})
    copy = (await reader.http.post(f"/threads/{estate.thread}/copy", json={"metadata": {"owner": "somebody"}})).json()
    assert copy["metadata"] == {**copy["metadata"], "owner": bob.identity, "note": MARK}
    at = f"/threads/{copy['thread_id']}"
    assert (await bob.http.get(f"{at}/history")).status_code == 200
    assert (await estate.ann.http.get(at)).status_code == 404
    asked = [(one["of"], one["value"].get("thread_id"), one["value"].get("metadata")) for one in await reader.asked()]
    assert asked[0] == ("threads.read", {"UUID": estate.thread}, None)
    assert asked[1][:2] == ("threads.create", {"UUID": copy["thread_id"]})
    assert asked[1][2] == {**copy["metadata"], "owner": "somebody"}
    assert len(asked) == 2
    await reader.close()


async def test_a_copy_that_would_not_be_the_callers_is_not_made(bob, estate):
    before = await estate.all()
    count = (await bob.http.post("/threads/count", json={})).json()
    unstamped = bob.told(threads__read={"give": None}, threads__create={"give": {"owner": bob.identity}})
    response = await unstamped.http.post(f"/threads/{estate.thread}/copy")
    assert (response.status_code, response.json()) == (409, {"detail": "Conflict"})
    assert (await bob.http.post("/threads/count", json={})).json() == count
    assert await estate.all() == before
    await unstamped.close()


async def test_a_taken_id_never_gives_away_who_has_it(people, bob, estate):
    """Even where the handler of `create` has nothing against it."""
    open_ = people(
        "bob", identity=bob.identity, rules={"threads.create": {"give": None}, "assistants.create": {"give": None}}
    )
    for extra in ({"if_exists": "do_nothing"}, {}):
        body = {"thread_id": estate.thread, **extra}
        response = await open_.http.post("/threads", json=body)
        assert (response.status_code, response.json()["detail"]) == (
            409,
            f"Thread with ID {estate.thread} already exists",
        )
        made = {"graph_id": "plain", "assistant_id": estate.assistant, **extra}
        assert (await open_.http.post("/assistants", json=made)).status_code == 409
        own = await bob.thread()
        copied = await open_.http.post(f"/threads/{own}/copy", json=body)
        assert copied.status_code == 409
        assert MARK not in copied.text


async def test_a_thread_is_erased_with_its_copies_only_by_whom_all_are(bob, estate):
    shared = await estate.ann.thread(note="shared")
    reader = bob.told(threads__read={"give": None})
    copy = (await reader.http.post(f"/threads/{shared}/copy")).json()["thread_id"]
    erased = await estate.ann.http.delete(f"/threads/{shared}?cascade=copies")
    assert erased.status_code == 409
    assert (await estate.ann.http.get(f"/threads/{shared}")).status_code == 200
    assert (await bob.http.get(f"/threads/{copy}")).status_code == 200
    await bob.http.delete(f"/threads/{copy}")
    assert (await estate.ann.http.delete(f"/threads/{shared}?cascade=copies")).status_code < 300
    await reader.close()


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


# --- streams that go on ---


async def test_a_stream_ends_when_the_thread_is_given_away(people, bob):
    ann = people("ann")
    thread = await ann.thread()
    giver = ann.told(threads__update={"set": {"metadata": {"owner": bob.identity}}, "give": None})
    seen = []
    async with ann.http.stream("GET", f"/threads/{thread}/stream") as old, asyncio.timeout(20):
        body = {"channels": ["values", "lifecycle"]}
        async with ann.http.stream("POST", f"/threads/{thread}/stream/events", json=body) as new:
            await giver.http.patch(f"/threads/{thread}", json={"metadata": {}})
            start = {"id": 1, "method": "run.start", "params": {"assistant_id": "plain", "input": {"texts": [MARK]}}}
            assert (await bob.http.post(f"/threads/{thread}/commands", json=start)).json()["type"] == "success"
            for response in (old, new):
                seen += [part async for part in response.aiter_text()]
    assert MARK not in "".join(seen)
    await giver.close()


async def test_a_thread_made_anew_by_another_is_not_followed_on(people, bob):
    ann = people("ann")
    thread = await ann.thread()
    seen = []
    async with ann.http.stream("GET", f"/threads/{thread}/stream") as response, asyncio.timeout(20):
        assert (await ann.http.delete(f"/threads/{thread}")).status_code == 204
        await bob.http.post("/threads", json={"thread_id": thread})
        await bob.run(thread, input={"texts": [MARK]})
        seen += [part async for part in response.aiter_text()]
    assert MARK not in "".join(seen)


# --- for whom a run is ---


async def test_nobody_can_say_that_a_run_is_another_ones(people):
    ann = people("ann", permissions=("p",))
    forged = {
        "user_id": "root",
        "langgraph_auth_user": {"identity": "root", "team": "root"},
        "langgraph_auth_user_id": "root",
        "langgraph_auth_permissions": ["admin"],
    }
    made = await ann.http.post("/assistants", json={"graph_id": "plain", "config": {"configurable": forged}})
    assistant = made.json()["assistant_id"]
    for body in ({"config": {"configurable": forged}}, {"context": forged}, {"assistant_id": assistant}):
        who = (await ann.run(None, **body))["who"]
        mine = {"user_id": ann.identity, "id": ann.identity, "identity": ann.identity, "server": ann.identity}
        assert {**who, **mine, "permissions": ["p"], "team": None} == who
        assert not {name for name in who["context"] if name.startswith("langgraph_auth")}
