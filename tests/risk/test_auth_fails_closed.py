"""Whatever is not clearly allowed shows nothing and changes nothing; strangers cannot tell a thing of another from none."""

import asyncio
import json
import re
import uuid
from pathlib import Path

import httpx
import pytest

from tests.estate import MARK
from tests.server import running

pytestmark = pytest.mark.anyio

APP = Path(__file__).parents[1] / "apps" / "auth"
SYSTEM = {"/", "/ok", "/live", "/info", "/docs", "/openapi.json", "/metrics"}
FOR_ALL = SYSTEM | {"/ui/{graph_id}", "/ui/{graph_id}/{file}", "/asked/{label}", "/me"}
"""What is nobody's: pages of the system, interface components, and the own routes of the app."""

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


@pytest.fixture(scope="module")
def anyio_backend():
    return "asyncio"


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


async def test_every_route_there_is_is_asked_for_here(server, estate):
    """So that no route can be added to the server and forgotten here."""
    async with httpx.AsyncClient(base_url=server.url) as nobody:
        paths = (await nobody.get("/openapi.json")).json()["paths"]
    here = {(method, path.partition("?")[0]) for _, method, path, _ in estate.requests()}
    missing = []
    for path, methods in paths.items():
        pattern = re.compile(re.sub(r"\\{[^/]*\\}", "[^/]+", re.escape(path)) + r"\Z")
        for method in methods:
            if path not in FOR_ALL and not any(method.upper() == one and pattern.match(where) for one, where in here):
                missing.append(f"{method.upper()} {path}")
    assert missing == []


async def test_without_credentials_everything_is_401_even_what_is_not_there(server, estate):
    async with httpx.AsyncClient(base_url=server.url) as nobody:
        for _, method, path, body in [*estate.requests(), ("", "GET", "/nowhere", None), ("", "GET", "/ui", None)]:
            response = await nobody.request(method, path, json=body)
            assert response.status_code == 401, (method, path)
            assert response.json() == {"detail": "credentials required"}
            assert response.headers["www-authenticate"] == "Bearer"


async def test_what_is_anothers_and_what_is_not_there_look_alike(bob, estate):
    ids = {
        estate.delivery,
        estate.checkpoint,
        estate.thread,
        estate.run,
        estate.pending_thread,
        estate.pending,
        estate.assistant,
        estate.cron,
    }
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


# --- streams that go on ---


async def test_a_stream_ends_when_the_thread_is_given_away(people, bob):
    ann = people("ann")
    thread = await ann.thread()
    giver = ann.told(threads__update={"set": {"metadata": {"owner": bob.identity}}, "give": None})
    seen = []
    async with ann.http.stream("GET", f"/threads/{thread}/stream") as old, asyncio.timeout(120):
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
    async with ann.http.stream("GET", f"/threads/{thread}/stream") as response, asyncio.timeout(120):
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
