"""No request costs the others more than a moment, whatever it asks for: what is too much is refused by name"""

import asyncio
import json
import time
import uuid
from pathlib import Path

import httpx
import pytest
import websockets

from tests.server import running
from threadloom.services.requests import bounds
from threadloom.services.requests.bounds import TABLE

pytestmark = pytest.mark.anyio

APP = Path(__file__).parents[1] / "apps" / "agents"
THREAD, RUN = str(uuid.uuid4()), str(uuid.uuid4())
SEARCH, STORE = ("POST", "/threads/search"), ("POST", "/store/items/search")
RUNS, CRONS = ("POST", "/runs"), ("POST", "/runs/crons")
COMMAND = ("POST", f"/threads/{THREAD}/commands")
PUT, ITEM = ("PUT", "/store/items"), {"namespace": ["a"], "key": "k", "value": {}}
EVENTS = ("POST", f"/threads/{THREAD}/stream/events")

LONGEST_WAIT = 1.0
"""Seconds that others may wait at most. It takes a hundredth of that; machines that tests run on are busy."""


def nested(depth):
    return json.loads("[" * depth + "]" * depth)


def command(method, **params):
    return {"id": 1, "method": method, "params": params}


def wide(size):
    return {f"k{n}": n for n in range(size)}


def texts(size):
    return {f"k{n}": "x" for n in range(size)}


def configured(**configurable):
    return {"assistant_id": "x", "config": {"configurable": configurable}}


def listing(name, **more):
    """Bodies whose field is a list."""
    return lambda size: {**more, name: ["x"] * size}


CASES = {
    "batch": [("request body", "POST", "/runs/batch", lambda size: [{"assistant_id": "none"}] * size)],
    "prune": [("thread_ids", "POST", "/threads/prune", lambda size: {"thread_ids": [THREAD] * size})],
    "copies": [("count", "POST", f"/threads/{THREAD}/copy", lambda size: {"count": size})],
    "appended": [
        (
            "message_ids",
            "POST",
            f"/threads/{THREAD}/append",
            lambda size: {"thread_id": THREAD, "message_ids": [str(number) for number in range(size)]},
        )
    ],
    "metadata": [
        ("metadata", "POST", "/threads", lambda size: {"metadata": wide(size)}),
        ("metadata", *RUNS, lambda size: {"assistant_id": "none", "metadata": wide(size)}),
        ("config.metadata", *RUNS, lambda size: {"assistant_id": "none", "config": {"metadata": wide(size)}}),
    ],
    "goto": [("command.goto", *RUNS, lambda size: {"assistant_id": "none", "command": {"goto": ["x"] * size}})],
    "depth": [("nested", *SEARCH, lambda size: {"metadata": {"a": nested(size - 2)}})],
    "ids": [
        ("ids", *SEARCH, lambda size: {"ids": [str(uuid.uuid4()) for _ in range(size)]}),
        ("run_ids", "POST", "/runs/cancel", lambda size: {"thread_id": THREAD, "run_ids": [RUN] * size}),
    ],
    "filter": [
        ("metadata", *SEARCH, lambda size: {"metadata": wide(size)}),
        ("metadata", *SEARCH, lambda size: {"metadata": {"a": [{"b": 1}] * 20} | wide(size - 41)}),
        ("values", *SEARCH, lambda size: {"values": {"a": list(range(size - 1))}}),
        ("metadata", "POST", "/threads/count", lambda size: {"metadata": wide(size)}),
        ("metadata", "POST", "/assistants/search", lambda size: {"metadata": wide(size)}),
        ("metadata", "POST", "/assistants/count", lambda size: {"metadata": wide(size)}),
        ("metadata", "POST", f"/assistants/{THREAD}/versions", lambda size: {"metadata": wide(size)}),
        ("metadata", "POST", "/runs/crons/search", lambda size: {"metadata": wide(size)}),
        ("metadata", "POST", "/runs/crons/count", lambda size: {"metadata": wide(size)}),
        ("metadata", "POST", f"/threads/{THREAD}/history", lambda size: {"metadata": wide(size)}),
        ("filter", *STORE, lambda size: {"filter": wide(size)}),
        ("filter", *STORE, lambda size: {"filter": {"a": {f"$n{n}": n for n in range(size - 1)}}}),
    ],
    "filter_text": [("metadata", *SEARCH, lambda size: {"metadata": {"a": "x" * (size - 1)}})],
    "select": [
        ("select", *SEARCH, lambda size: {"select": ["values"] * size}),
        ("select", "POST", "/assistants/search", lambda size: {"select": ["name"] * size}),
        ("select", "POST", "/runs/crons/search", lambda size: {"select": ["payload"] * size}),
        ("select", "GET", f"/threads/{THREAD}/state?select=" + "values," * 101, None),
        ("select", "GET", f"/threads/{THREAD}/runs?" + "select=run_id&" * 101, None),
        ("select", "POST", f"/threads/{THREAD}/history", listing("select")),
        ("keys", *COMMAND, lambda size: command("state.get", keys=["x"] * size)),
    ],
    "paths": [("extract", *SEARCH, lambda size: {"extract": {f"k{n}": "values.a" for n in range(size)}})],
    "path": [
        ("extract", *SEARCH, lambda size: {"extract": {"k": "values." + "a" * (size - 7)}}),
        (
            "index",
            "PUT",
            "/store/items",
            lambda size: {"namespace": ["a"], "key": "k", "value": {}, "index": ["a" * size]},
        ),
    ],
    "steps": [
        ("extract.k", *SEARCH, lambda size: {"extract": {"k": "values" + ".a[0]" * (size // 2) + ".a" * (size % 2)}})
    ],
    "index": [("index", "PUT", "/store/items", listing("index", namespace=["a"], key="k", value={}))],
    "indexed": [
        ("index", *PUT, lambda size: ITEM | {"index": ["a", "b"], "value": {"a": "x" * ((size + 1) // 2 - 8)}}),
        ("index", *PUT, lambda size: ITEM | {"index": ["{a,a}"], "value": {"a": "x" * ((size + 1) // 2 - 8)}}),
    ],
    "labels": [
        ("namespace", "PUT", "/store/items", listing("namespace", key="k", value={})),
        ("namespace", "DELETE", "/store/items", listing("namespace", key="k")),
        ("namespace", *STORE, listing("namespace_prefix")),
        ("namespace", "POST", "/store/namespaces", listing("prefix")),
        ("namespace", "POST", "/store/namespaces", listing("suffix")),
        ("namespace", "GET", "/store/items?key=k&namespace=" + "a." * 100 + "a", None),
    ],
    "modes": [("stream_mode", *RUNS, lambda size: {"assistant_id": "none", "stream_mode": ["values"] * size})],
    "nodes": [
        ("interrupt_before", *RUNS, listing("interrupt_before", assistant_id="none")),
        ("interrupt_after", *CRONS, listing("interrupt_after", assistant_id="none", schedule="* * * * *")),
    ],
    "tags": [
        ("config.tags", *RUNS, lambda size: {"assistant_id": "none", "config": {"tags": ["x"] * size}}),
        ("config.tags", "POST", "/assistants", lambda size: {"graph_id": "none", "config": {"tags": ["x"] * size}}),
        (
            "config.tags",
            *COMMAND,
            lambda size: command("run.start", assistant_id="none", config={"tags": ["x"] * size}),
        ),
    ],
    "context": [
        ("context", *RUNS, lambda size: {"assistant_id": "none", "context": wide(size)}),
        ("config.configurable", *RUNS, lambda size: configured(**wide(size))),
        ("context", "POST", "/assistants", lambda size: {"graph_id": "none", "context": wide(size)}),
        ("context", *CRONS, lambda size: {"assistant_id": "none", "schedule": "* * * * *", "context": wide(size)}),
        ("config.configurable", *COMMAND, lambda size: command("run.start", **configured(**wide(size)))),
    ],
    "updates": [
        ("command.update", *RUNS, lambda size: {"assistant_id": "none", "command": {"update": [["x", 1]] * size}}),
        ("updates", "POST", "/threads", lambda size: {"supersteps": [{"updates": [{"as_node": "x"}] * size}]}),
        (
            "values",
            "POST",
            f"/threads/{THREAD}/state",
            lambda size: {"values": [[{}, "x"]] * size, "as_node": "__copy__"},
        ),
    ],
    "keys": [("feedback_keys", *RUNS, listing("feedback_keys", assistant_id="none"))],
    "checkpoint_map": [
        ("checkpoint_map", *RUNS, lambda size: {"assistant_id": "x", "checkpoint": {"checkpoint_map": texts(size)}}),
        (
            "checkpoint_map",
            *RUNS,
            lambda size: {"assistant_id": "x", "config": {"configurable": {"checkpoint_map": texts(size)}}},
        ),
    ],
    "name": [
        ("name", "POST", "/assistants/search", lambda size: {"name": "x" * size}),
        ("timezone", *CRONS, lambda size: {"assistant_id": "none", "schedule": "* * * * *", "timezone": "x" * size}),
        ("end_time", *CRONS, lambda size: {"assistant_id": "none", "schedule": "* * * * *", "end_time": "x" * size}),
        ("cron schedule", *CRONS, lambda size: {"assistant_id": "none", "schedule": "*" * size}),
    ],
    "query": [("query", *STORE, lambda size: {"query": "x" * size})],
    "channels": [("channels", *EVENTS, lambda size: {"channels": ["values"] * size})],
    "namespaces": [
        ("namespaces", *EVENTS, lambda size: {"channels": ["values"], "namespaces": [["a"]] * size}),
        ("namespace", "GET", f"/threads/{THREAD}/runs/{RUN}/stream?" + "namespace=a&" * 101, None),
    ],
    "segments": [
        ("namespaces", *EVENTS, lambda size: {"channels": ["values"], "namespaces": [["a"] * size]}),
        ("namespace", *COMMAND, lambda size: command("state.get", namespace=["a"] * size)),
    ],
    "answers": [
        (
            "responses",
            *COMMAND,
            lambda size: command("input.respond", responses=[{"interrupt_id": "x", "response": 1}] * size),
        )
    ],
    "subscriptions": [],
    "followed": [],
}
"""By bound: the field that is named, and a request that goes beyond it, given how many there are to be."""


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with running(APP, tmp_path_factory.mktemp("cost") / "data") as server:
        yield server.url


def test_every_bound_is_tried():
    assert CASES.keys() == TABLE.keys()


@pytest.mark.parametrize("name", CASES)
async def test_what_is_beyond_a_bound_is_refused_and_what_is_within_is_not(url, name):
    bound = TABLE[name]
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        for field, method, path, body in CASES[name]:
            for size in (bound.most + 1, bound.most * 3, bound.most):
                if body is None and size != bound.most + 1:
                    continue
                async with http.stream(method, path, json=body and body(size)) as answer:
                    streams = answer.headers.get("content-type", "").startswith("text/event-stream")
                    text = "" if streams else (await answer.aread()).decode()
                where = f"{method} {path}: {answer.status_code} {text[:300]}"
                refused = answer.status_code == 422 or '"invalid_argument"' in text
                named = field in text and any(str(limit) in text for limit in (bound.most, f"{bound.most:,}"))
                assert (refused and named) is (size > bound.most), where
                assert answer.status_code < 500, where


async def test_subscriptions_of_a_web_socket_are_counted(url):
    address = f"{url.replace('http', 'ws', 1)}/threads/{uuid.uuid4()}/stream/events"
    async with websockets.connect(address) as socket:
        most = bounds.SUBSCRIPTIONS.most
        for number in range(most + 1):
            await socket.send(json.dumps(command("subscription.subscribe", channels=["values"]) | {"id": number}))
        answers = [json.loads(await socket.recv()) for _ in range(most + 1)]
    refused = [answer for answer in answers if answer["type"] == "error"]
    assert [(answer["id"], str(most) in answer["message"]) for answer in refused] == [(most, True)]


async def test_and_so_are_the_namespaces_that_they_follow_together(url):
    """Each event is compared with each of them."""
    address = f"{url.replace('http', 'ws', 1)}/threads/{uuid.uuid4()}/stream/events"
    async with websockets.connect(address) as socket:
        most, each = bounds.FOLLOWED.most, bounds.NAMESPACES.most
        for number in range(most // each + 1):
            asked = command("subscription.subscribe", channels=["values"], namespaces=[["x"]] * each)
            await socket.send(json.dumps(asked | {"id": number}))
        answers = [json.loads(await socket.recv()) for _ in range(most // each + 1)]
    refused = [answer for answer in answers if answer["type"] == "error"]
    assert [(answer["id"], str(most) in answer["message"]) for answer in refused] == [(most // each, True)]


async def test_others_wait_no_longer_for_requests_at_all_bounds_at_once(url):
    """Searches with the longest paths and the largest filters over threads with large records."""
    large = {"list": list(range(2000)), "objects": [{"n": n} for n in range(200)], **wide(200)}
    path = "metadata.objects[0]." + "a." * 29 + "a"
    searches = [
        (SEARCH[1], {"extract": {f"k{n}": path for n in range(bounds.PATHS.most)}, "limit": 1000}),
        (SEARCH[1], {"metadata": {"list": [-n for n in range(1, bounds.FILTER.most)]}}),
        (SEARCH[1], {"metadata": {"objects": [{"n": -n} for n in range(1, bounds.FILTER.most // 2)]}}),
        (SEARCH[1], {"metadata": wide(bounds.FILTER.most), "select": ["metadata"] * bounds.SELECT.most, "limit": 1000}),
        (STORE[1], {"filter": {f"k{n}": {"$ne": 1} for n in range(bounds.FILTER.most // 2)}, "limit": 1000}),
    ]
    async with httpx.AsyncClient(base_url=url, timeout=120) as http:
        for n in range(100):
            await http.post("/threads", json={"metadata": large})
            await http.put("/store/items", json={"namespace": ["a"], "key": str(n), "value": wide(200)})
        working = [asyncio.create_task(http.post(path, json=body)) for path, body in searches * 3]
        waits = []
        while not all(task.done() for task in working):
            began = time.monotonic()
            assert (await http.get("/ok")).status_code == 200
            waits.append(time.monotonic() - began)
            await asyncio.sleep(0.005)
        assert {(await task).status_code for task in working} == {200}
    assert max(waits) < LONGEST_WAIT
