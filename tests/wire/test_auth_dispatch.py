"""Which handler is asked what, and what it may change (docs/contract/auth.md#what-each-route-asks)."""

import asyncio
import os
import sys
import uuid
from pathlib import Path

import pytest

from tests import forkserver
from tests.server import running
from tests.users import User

pytestmark = pytest.mark.anyio

APP = Path(__file__).parents[1] / "apps" / "auth"
RUN = {"assistant_id": "plain", "input": {"texts": ["a"]}}
CREATE_RUN = {
    "thread_id",
    "assistant_id",
    "run_id",
    "status",
    "metadata",
    "prevent_insert_if_inflight",
    "multitask_strategy",
    "if_not_exists",
    "after_seconds",
    "kwargs",
}
RPC = {"jsonrpc": "2.0", "id": 1}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    env = {"CRON_SCHEDULER_SLEEP_TIME": "0.1"}
    with running(APP, tmp_path_factory.mktemp("auth") / "data", env=env) as server:
        yield server


@pytest.fixture
async def ann(server):
    user = User(server.url, "ann", permissions=("p",), team="blue")
    yield user
    await user.close()


class Things:
    """Ids of what the requests of the table are about."""

    def __init__(self, ann):
        self.ann = ann

    async def make(self):
        ann = self.ann
        self.t = await ann.thread()
        await ann.run(self.t)
        self.r = (await ann.http.get(f"/threads/{self.t}/runs")).json()[0]["run_id"]
        self.a = (await ann.http.post("/assistants", json={"graph_id": "plain"})).json()["assistant_id"]
        cron = {**RUN, "schedule": "0 0 1 1 *"}
        self.c = (await ann.http.post("/runs/crons", json=cron)).json()["cron_id"]
        state = (await ann.http.get(f"/threads/{self.t}/state")).json()
        self.cp = state["checkpoint"]["checkpoint_id"]
        await ann.asked()
        return self


@pytest.fixture
async def things(ann):
    return await Things(ann).make()


TABLE = [
    ("POST", "/threads", {}, [("threads.create", {"thread_id", "metadata", "if_exists"})]),
    ("POST", "/threads", {"ttl": {"ttl": 5}}, [("threads.create", {"thread_id", "metadata", "if_exists", "ttl"})]),
    (
        "POST",
        "/threads",
        {
            "metadata": {"graph_id": "plain"},
            "supersteps": [{"updates": [{"as_node": "note", "values": {"texts": ["a"]}}]}],
        },
        ["threads.create", ("threads.update", {"thread_id"}), ("threads.read", {"thread_id"})],
    ),
    ("GET", "/threads/{t}", None, [("threads.read", {"thread_id"})]),
    ("PATCH", "/threads/{t}", {"metadata": {}}, [("threads.update", {"thread_id", "metadata"})]),
    ("POST", "/threads/search", {}, [("threads.search", {"metadata", "values", "status", "limit", "offset"})]),
    ("POST", "/threads/count", {}, [("threads.search", {"metadata", "values", "status", "limit", "offset"})]),
    ("POST", "/threads/prune", {"thread_ids": ["{t}"]}, [("threads.delete", {"thread_ids"})]),
    ("POST", "/threads/{t}/copy", {}, [("threads.read", {"thread_id"}), ("threads.create", {"thread_id", "metadata"})]),
    ("GET", "/threads/{t}/state", None, [("threads.read", {"thread_id"})]),
    ("GET", "/threads/{t}/state/{cp}", None, [("threads.read", {"thread_id"})]),
    ("POST", "/threads/{t}/state/checkpoint", {"checkpoint": {}}, [("threads.read", {"thread_id"})]),
    (
        "POST",
        "/threads/{t}/state",
        {"values": {"texts": ["b"]}},
        [("threads.update", {"thread_id"}), ("threads.read", {"thread_id"})],
    ),
    ("GET", "/threads/{t}/history", None, [("threads.read", {"thread_id"})]),
    ("POST", "/threads/{t}/history", {}, [("threads.read", {"thread_id"})]),
    ("GET", "/threads/{t}/storage", None, [("threads.read", {"thread_id"})]),
    ("GET", "/threads/{t}/branches", None, [("threads.read", {"thread_id"})]),
    (
        "GET",
        "/threads/{t}/runs",
        None,
        [("threads.read", {"thread_id"}), ("threads.search", {"thread_id", "metadata"})],
    ),
    ("POST", "/threads/{t}/runs", RUN, [("threads.create_run", CREATE_RUN)]),
    ("POST", "/threads/{t}/runs/wait", RUN, [("threads.create_run", CREATE_RUN), ("threads.read", {"thread_id"})]),
    ("POST", "/threads/{t}/runs/stream", RUN, [("threads.create_run", CREATE_RUN), ("threads.read", {"thread_id"})]),
    ("POST", "/runs", RUN, [("threads.create_run", CREATE_RUN)]),
    ("POST", "/runs/wait", RUN, [("threads.create_run", CREATE_RUN), ("threads.read", {"thread_id"})]),
    ("POST", "/runs/batch", [RUN, RUN], ["threads.create_run", "threads.create_run"]),
    (
        "POST",
        "/runs/wait",
        {**RUN, "assistant_id": "{a}"},
        ["threads.create_run", ("assistants.read", {"assistant_id"}), "threads.read"],
    ),
    ("GET", "/threads/{t}/runs/{r}", None, [("threads.read", {"thread_id"})]),
    ("GET", "/threads/{t}/runs/{r}/join", None, [("threads.read", {"thread_id"})]),
    ("GET", "/threads/{t}/runs/{r}/stream", None, [("threads.read", {"thread_id"})]),
    ("POST", "/threads/{t}/runs/{r}/cancel", {}, [("threads.update", {"thread_id", "action", "metadata"})]),
    (
        "POST",
        "/runs/cancel?action=rollback",
        {"thread_id": "{t}", "run_ids": ["{r}"]},
        [("threads.update", {"thread_id", "action", "metadata"})],
    ),
    ("DELETE", "/threads/{t}/runs/{r}", None, [("threads.delete", {"run_id", "thread_id"})]),
    ("DELETE", "/threads/{t}", None, [("threads.delete", {"thread_id"})]),
    (
        "POST",
        "/assistants",
        {"graph_id": "plain"},
        [("assistants.create", {"assistant_id", "graph_id", "config", "context", "metadata", "name"})],
    ),
    ("GET", "/assistants/{a}", None, [("assistants.read", {"assistant_id"})]),
    ("GET", "/assistants/{a}/graph", None, [("assistants.read", {"assistant_id"})]),
    ("GET", "/assistants/{a}/subgraphs", None, [("assistants.read", {"assistant_id"})]),
    ("GET", "/assistants/{a}/schemas", None, [("assistants.read", {"assistant_id"})]),
    ("POST", "/assistants/{a}/versions", {}, [("assistants.read", {"assistant_id"})]),
    (
        "PATCH",
        "/assistants/{a}",
        {"name": "n"},
        [("assistants.update", {"assistant_id", "graph_id", "config", "context", "metadata", "name"})],
    ),
    ("POST", "/assistants/{a}/latest", {"version": 1}, [("assistants.update", {"assistant_id", "version"})]),
    ("DELETE", "/assistants/{a}", None, [("assistants.delete", {"assistant_id"})]),
    (
        "DELETE",
        "/assistants/{a}?delete_threads=true",
        None,
        ["assistants.delete", "threads.update", "threads.delete"],
    ),
    ("POST", "/assistants/search", {}, [("assistants.search", {"graph_id", "metadata", "limit", "offset"})]),
    ("POST", "/assistants/count", {}, [("assistants.search", {"graph_id", "metadata", "limit", "offset"})]),
    (
        "POST",
        "/runs/crons",
        {**RUN, "schedule": "0 0 1 1 *"},
        [("crons.create", {"payload", "schedule", "cron_id", "thread_id", "user_id", "end_time", "metadata"})],
    ),
    (
        "POST",
        "/threads/{t}/runs/crons",
        {**RUN, "schedule": "0 0 1 1 *"},
        ["crons.create", ("threads.read", {"thread_id", "metadata"})],
    ),
    ("GET", "/runs/crons/{c}", None, [("crons.read", {"cron_id"})]),
    (
        "PATCH",
        "/runs/crons/{c}",
        {"enabled": False},
        [("crons.update", {"cron_id", "schedule", "end_time", "enabled", "on_run_completed", "payload"})],
    ),
    ("DELETE", "/runs/crons/{c}", None, [("crons.delete", {"cron_id"})]),
    (
        "POST",
        "/runs/crons/search",
        {},
        [("crons.search", {"assistant_id", "thread_id", "limit", "offset", "metadata"}), ("threads.search", set())],
    ),
    ("POST", "/runs/crons/count", {}, ["crons.search", "threads.search"]),
    (
        "PUT",
        "/store/items",
        {"namespace": ["n"], "key": "k", "value": {}},
        [("store.put", {"namespace", "key", "value", "index", "ttl"})],
    ),
    ("GET", "/store/items?namespace=n&key=k", None, [("store.get", {"namespace", "key", "refresh_ttl"})]),
    ("DELETE", "/store/items", {"namespace": ["n"], "key": "k"}, [("store.delete", {"namespace", "key"})]),
    (
        "POST",
        "/store/items/search",
        {"namespace_prefix": ["n"]},
        [("store.search", {"namespace", "filter", "limit", "offset", "query", "refresh_ttl"})],
    ),
    (
        "POST",
        "/store/namespaces",
        {},
        [("store.list_namespaces", {"namespace", "suffix", "max_depth", "limit", "offset"})],
    ),
    ("POST", "/mcp", {**RPC, "method": "tools/list"}, ["assistants.search", "assistants.read"]),
    ("GET", "/.well-known/agent-card.json?assistant_id={a}", None, [("assistants.read", {"assistant_id"})]),
    (
        "POST",
        "/a2a/{a}",
        {
            **RPC,
            "method": "message/send",
            "params": {
                "message": {"messageId": "m", "role": "user", "parts": [{"kind": "data", "data": {"texts": ["x"]}}]}
            },
        },
        ["assistants.read", "threads.create_run", "threads.read", "threads.create", "threads.search"],
    ),
    (
        "POST",
        "/threads/{t}/commands",
        {"id": 1, "method": "run.start", "params": RUN},
        [("threads.read", {"thread_id"}), ("threads.create_run", CREATE_RUN)],
    ),
    ("POST", "/threads/{t}/commands", {"id": 1, "method": "state.get"}, ["threads.read"]),
]


def filled(value, things):
    if isinstance(value, str):
        for name in ("t", "r", "a", "c", "cp"):
            value = value.replace(f"{{{name}}}", getattr(things, name))
        return value
    if isinstance(value, dict):
        return {key: filled(one, things) for key, one in value.items()}
    return [filled(one, things) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("method", "path", "body", "expected"), TABLE, ids=[f"{row[0]} {row[1]}" for row in TABLE])
async def test_who_is_asked_what(ann, things, method, path, body, expected):
    response = await ann.http.request(method, filled(path, things), json=filled(body, things))
    assert response.status_code < 500
    asked = await ann.asked()
    assert [one["of"] for one in asked] == [one if isinstance(one, str) else one[0] for one in expected]
    for one, wanted in zip(asked, expected, strict=True):
        value = one["value"]
        if not isinstance(wanted, str):
            assert set(value) == wanted[1]
        for name in ("thread_id", "assistant_id", "run_id", "cron_id"):
            if value.get(name) is not None:
                assert list(value[name]) == ["UUID"], "ids are UUIDs"


async def test_the_values_of_a_run(ann, things):
    body = {**RUN, "metadata": {"m": 1}, "multitask_strategy": "reject", "after_seconds": 9}
    run = (await ann.http.post(f"/threads/{things.t}/runs", json=body)).json()
    (asked,) = await ann.asked()
    value = asked["value"]
    assert value["thread_id"] == {"UUID": things.t}
    assert value["run_id"] == {"UUID": run["run_id"]}
    assert value["assistant_id"] == {"UUID": run["assistant_id"]}
    assert (value["status"], value["after_seconds"], value["if_not_exists"]) == ("pending", 9, "reject")
    assert (value["prevent_insert_if_inflight"], value["multitask_strategy"]) == (True, "reject")
    assert value["metadata"] == {"m": 1}
    assert value["kwargs"]["input"] == {"texts": ["a"]}
    assert value["kwargs"]["config"]["configurable"]["graph_id"] == "plain"
    await ann.http.post("/runs", json=RUN)
    assert (await ann.asked())[0]["value"]["thread_id"] is None


async def test_searches_and_counts_say_what_they_are_for(ann):
    await ann.http.post("/threads/search", json={"metadata": {"a": 1}, "status": "idle", "limit": 3, "offset": 2})
    await ann.http.post("/threads/count", json={"values": {"v": 1}})
    searched, counted = await ann.asked()
    assert searched["value"] == {"metadata": {"a": 1}, "values": {}, "status": "idle", "limit": 3, "offset": 2}
    assert counted["value"] == {"metadata": {}, "values": {"v": 1}, "status": None, "limit": 0, "offset": 0}


async def test_many_runs_are_cancelled_without_a_thread(ann):
    await ann.http.post("/runs/cancel", json={"status": "pending"})
    (asked,) = await ann.asked()
    about = {"run_ids": None, "status": "pending"}
    assert asked["value"] == {"thread_id": None, "action": "interrupt", "metadata": about}


# --- what handlers change ---


@pytest.fixture
async def told(ann):
    """The same user with orders for the handlers."""
    made = []

    def tell(**rules):
        made.append(ann.told(**rules))
        return made[-1]

    yield tell
    for user in made:
        await user.close()


def stamped(ann, **metadata):
    return {"set": {"metadata": {"owner": ann.identity, **metadata}}, "give": {"owner": ann.identity}}


async def test_metadata_is_what_handlers_leave(ann, told, things):
    rule = stamped(ann, by="handler")
    user = told(
        threads__create=rule,
        threads__update=rule,
        threads__create_run=rule,
        assistants__create=rule,
        assistants__update=rule,
        crons__create=rule,
        crons__update=rule,
    )
    made = await user.http.post("/threads", json={"metadata": {"mine": 1}})
    assert made.json()["metadata"] == {"owner": ann.identity, "by": "handler"}
    at = f"/threads/{things.t}"
    for path, method, body in (
        (at, "PATCH", {"metadata": {"x": 1}}),
        (f"{at}/runs", "POST", {**RUN, "metadata": {"x": 1}}),
        ("/assistants", "POST", {"graph_id": "plain", "metadata": {"x": 1}}),
        (f"/assistants/{things.a}", "PATCH", {"metadata": {"x": 1}}),
        ("/runs/crons", "POST", {**RUN, "schedule": "0 0 1 1 *", "metadata": {"x": 1}}),
        (f"/runs/crons/{things.c}", "PATCH", {"metadata": {"x": 1}}),
    ):
        metadata = (await user.http.request(method, path, json=body)).json()["metadata"]
        assert (metadata["by"], metadata["owner"], "x" in metadata) == ("handler", ann.identity, False), path
    new = str(uuid.uuid4())
    await user.http.post(f"/threads/{new}/runs/wait", json={**RUN, "if_not_exists": "create"})
    assert (await ann.http.get(f"/threads/{new}")).json()["metadata"]["by"] == "handler"


async def test_the_kwargs_of_a_run_are_what_handlers_leave(ann, told, things):
    kwargs = {
        "input": {"texts": ["changed"]},
        "config": {
            "configurable": {"model": "small", "user_id": "root", "run_id": "none"},
            "metadata": {"m": 1},
            "tags": ["t"],
        },
        "temporary": True,
    }
    user = told(threads__create_run={"set": {"kwargs": kwargs}, "give": {"owner": ann.identity}})
    output = (await user.http.post(f"/threads/{things.t}/runs/wait", json=RUN)).json()
    assert "changed" in output["texts"]
    assert output["who"]["user_id"] == ann.identity
    newest = (await ann.http.get(f"/threads/{things.t}/runs")).json()[0]
    config = newest["kwargs"]["config"]
    assert config["configurable"]["model"] == "small"
    assert config["configurable"]["run_id"] == newest["run_id"]
    assert (config["metadata"]["m"], config["tags"]) == (1, ["t"])
    assert newest["kwargs"]["temporary"] is False


@pytest.mark.parametrize("config", [{}, {"config": {}}, {"config": {"configurable": {"model": "small"}}}])
async def test_a_handler_need_not_leave_a_whole_configuration(ann, told, things, config):
    user = told(threads__create_run={"set": {"kwargs": {"input": {"texts": ["changed"]}, **config}}})
    output = (await user.http.post(f"/threads/{things.t}/runs/wait", json=RUN)).json()
    assert ("changed" in output["texts"], output["who"]["user_id"]) == (True, ann.identity)


@pytest.mark.parametrize(
    "left", [{"kwargs": 1}, {"metadata": "none"}, {"kwargs": {"config": None}}, {"kwargs": {"stream_mode": "all"}}]
)
async def test_what_a_handler_leaves_that_is_no_run_makes_none(ann, told, things, left):
    user = told(threads__create_run={"set": left})
    response = await user.http.post(f"/threads/{things.t}/runs", json=RUN)
    assert response.status_code == 500
    assert len((await ann.http.get(f"/threads/{things.t}/runs")).json()) == 1


async def test_the_store_goes_where_handlers_say(ann, told):
    moved = {"namespace": [ann.identity, "moved"], "key": "other", "value": {"v": 2}}
    user = told(store={"set": moved}, store__search={"set": {"namespace": [ann.identity], "limit": 1}})
    item = {"namespace": ["n"], "key": "k", "value": {"v": 1}}
    assert (await user.http.put("/store/items", json=item)).status_code == 204
    found = (await ann.http.post("/store/items/search", json={"namespace_prefix": ["moved"]})).json()["items"]
    assert [(one["namespace"], one["key"], one["value"]) for one in found] == [
        ([ann.identity, "moved"], "other", {"v": 2})
    ]
    assert (await user.http.get("/store/items?namespace=x&key=y")).json()["value"] == {"v": 2}
    await ann.http.put("/store/items", json=item)
    assert len((await user.http.post("/store/items/search", json={"namespace_prefix": ["x"]})).json()["items"]) == 1
    assert (await user.http.request("DELETE", "/store/items", json=item)).status_code == 204
    assert (await ann.http.post("/store/namespaces", json={})).json()["namespaces"] == [[ann.identity, "n"]]


@pytest.mark.parametrize("namespace", [None, "ann", [1], {"a": 1}])
async def test_a_namespace_that_is_none_reaches_nothing(told, namespace):
    user = told(store={"set": {"namespace": namespace}})
    item = {"namespace": ["n"], "key": "k", "value": {}}
    assert (await user.http.put("/store/items", json=item)).status_code == 500


# --- for whom ---


async def test_a_graph_knows_its_user_and_only_this_process_knows_all_of_him(ann, things):
    who = (await ann.run(things.t))["who"]
    assert (who["identity"], who["team"], who["permissions"]) == (ann.identity, "blue", ["p"])
    assert (who["user_id"], who["id"], who["server"]) == (ann.identity, ann.identity, ann.identity)
    assert {"authorization", "display_name", "identity", "is_authenticated", "label", "team"} <= set(who["knows"])
    runs = (await ann.http.get(f"/threads/{things.t}/runs")).json()
    stored = runs[0]["kwargs"]["config"]["configurable"]
    kept = {"identity": ann.identity, "display_name": ann.identity, "permissions": ["p"]}
    assert stored["langgraph_auth_user"] == kept
    state = (await ann.http.get(f"/threads/{things.t}/state")).json()
    assert state["metadata"]["langgraph_auth_user_id"] == ann.identity


async def test_factories_know_for_whom_they_make_a_graph(ann):
    thread = await ann.thread()
    output = await ann.run(thread, graph="made")
    assert output["texts"][-1] == f"threads.create_run:{ann.identity}"
    reader = ann.told()
    drawn = await reader.http.get(f"/threads/{thread}/state")
    assert drawn.status_code == 200
    made = (await ann.http.post("/assistants", json={"graph_id": "made"})).json()["assistant_id"]
    graph = (await ann.http.get(f"/assistants/{made}/graph")).json()
    assert f"assistants.read:{ann.identity}" in str(graph)
    await reader.close()


async def test_a_cron_runs_for_the_user_who_made_it(ann, told):
    """As what is kept of him; each firing asks whether he may make the run."""
    thread = await ann.thread()
    cron = {"assistant_id": "plain", "schedule": "* * * * * *", "input": {"texts": ["tick"]}}
    made = (await ann.http.post(f"/threads/{thread}/runs/crons", json=cron)).json()
    assert made["user_id"] == ann.identity and "user" not in made
    output = {}
    while not output:
        runs = (await ann.http.get(f"/threads/{thread}/runs")).json()
        if runs:
            output = (await ann.http.get(f"/threads/{thread}/runs/{runs[-1]['run_id']}/join")).json()
    await ann.http.delete(f"/runs/crons/{made['cron_id']}")
    who = output["who"]
    assert (who["identity"], who["user_id"], who["permissions"], who["team"]) == (
        ann.identity,
        ann.identity,
        ["p"],
        None,
    )
    assert runs[-1]["metadata"]["owner"] == ann.identity


async def test_the_cron_of_somebody_who_may_not_run_it_makes_no_run(ann, told):
    other = await ann.thread()
    giver = told(threads__update={"set": {"metadata": {"owner": "somebody else"}}})
    cron = {"assistant_id": "plain", "schedule": "* * * * * *", "input": {}}
    made = (await ann.http.post(f"/threads/{other}/runs/crons", json={**cron, "enabled": False})).json()
    await giver.http.patch(f"/threads/{other}", json={"metadata": {}})
    await ann.http.patch(f"/runs/crons/{made['cron_id']}", json={"enabled": True})
    error = None
    while error is None:
        error = (await ann.http.get(f"/runs/crons/{made['cron_id']}")).json()["last_error"]
    await ann.http.delete(f"/runs/crons/{made['cron_id']}")
    assert error == "Thread or assistant not found."


async def test_a_stateless_run_that_is_over_is_its_makers(ann, told):
    run = (await ann.http.post("/runs", json=RUN)).json()
    at = f"/threads/{run['thread_id']}/runs/{run['run_id']}/join"
    assert (await ann.http.get(at)).status_code == 200
    stranger = User(str(ann.http.base_url), "bob")
    forger = told(threads__read={"give": {"owner": stranger.identity}})
    assert (await ann.http.get(at)).json()["texts"][:2] == ["a", "noted"]
    assert (await stranger.http.get(at)).status_code == 404
    assert (await forger.http.get(at)).status_code == 404
    await stranger.close()


async def test_the_outcome_of_a_stateless_run_belongs_to_its_thread_not_to_its_assistant(ann, told):
    """Though what stands in the metadata of an assistant stands in those of its runs too."""
    bob = User(str(ann.http.base_url), "bob")
    shared = (await bob.http.post("/assistants", json={"graph_id": "plain"})).json()["assistant_id"]
    user = told(assistants__read={"give": None}, threads__create_run={"give": None}, threads__read={"give": None})
    run = (await user.http.post("/runs", json={**RUN, "assistant_id": shared})).json()
    assert run["metadata"]["owner"] == bob.identity
    at = f"/threads/{run['thread_id']}/runs/{run['run_id']}"
    assert (await user.http.get(f"{at}/join")).json()["texts"][0] == "a"
    for path in (f"{at}/join", f"{at}/stream", f"/runs/{run['run_id']}/stream"):
        assert (await bob.http.get(path)).status_code == 404
    await bob.close()


async def test_the_command_line_brings_credentials_along(server, ann, things):
    def command(*words, **env):
        call = [sys.executable, "-m", "threadloom", "threads", *words, "--url", server.url]
        return forkserver.run(call, env={**os.environ, **env}, timeout=60)

    refused = await asyncio.to_thread(command, "copy", things.t)
    assert refused.returncode != 0 and "credentials required" in refused.stderr
    copied = await asyncio.to_thread(command, "copy", things.t, THREADLOOM_AUTHORIZATION=ann.authorization)
    assert copied.returncode == 0, copied.stderr
