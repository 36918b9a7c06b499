"""What one user may have at once: every way to make a run or to open a stream obeys."""

import contextlib
import json
import time
from pathlib import Path

import httpx
import pytest
import websockets
from websockets.asyncio.client import connect

from tests.server import running
from threadloom.ids import default_assistant_id

pytestmark = pytest.mark.anyio

APP = Path(__file__).parents[1] / "apps" / "limits"
RUNS, STREAMS = "threadloom.limits.runs_per_user", "threadloom.limits.streams_per_user"
NAP = {"assistant_id": "nap", "input": {}}
MESSAGE = {"messageId": "m", "role": "user", "kind": "message", "parts": [{"kind": "text", "text": "hi"}]}
EVENTS = {"channels": ["lifecycle"]}


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with running(APP, tmp_path_factory.mktemp("limits") / "data") as server:
        yield server.url


@pytest.fixture
def http(url):
    """A client of a server that has nothing to do."""
    with httpx.Client(base_url=url, timeout=30) as client:
        yield client
        client.post("/runs/cancel", json={"status": "all"})
        until(lambda: client.get("/metrics?format=json").json()["queue"]["n_running"] == 0)


def until(hold):
    deadline = time.monotonic() + 120
    while not hold():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextlib.contextmanager
def streaming(http, method, path, **body):
    """An open stream. Those that an earlier test left may count until the server has noticed."""
    with contextlib.ExitStack() as stack:
        answers = []
        until(
            lambda: (
                answers.append(stack.enter_context(http.stream(method, path, **body))) or answers[-1].status_code == 200
            )
        )
        yield answers[-1]


@contextlib.asynccontextmanager
async def socket_to(address):
    """An open web socket, as `streaming`."""
    deadline = time.monotonic() + 120
    while True:
        try:
            async with connect(address) as found:
                yield found
                return
        except websockets.exceptions.InvalidStatus:
            assert time.monotonic() < deadline


def a_thread(http):
    return http.post("/threads", json={}).json()["thread_id"]


def start(http, thread_id=None, **more):
    return http.post(f"/threads/{thread_id or a_thread(http)}/runs", json={**NAP, **more})


def refused(answer, limit):
    assert answer.status_code == 429, answer.text
    assert answer.headers["retry-after"] == "1"
    assert limit in answer.json()["detail"]


def rpc(method, params):
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


WAYS = [
    ("POST", "/threads/{thread}/runs", NAP),
    ("POST", "/threads/{thread}/runs/wait", NAP),
    ("POST", "/threads/{thread}/runs/stream", NAP),
    ("POST", "/runs", NAP),
    ("POST", "/runs/wait", NAP),
    ("POST", "/runs/stream", NAP),
    ("POST", "/runs/batch", [NAP]),
    ("POST", "/mcp", rpc("tools/call", {"name": "nap", "arguments": {}})),
]


async def test_a_run_too_many_is_refused_however_it_is_made(http):
    start(http).raise_for_status()
    start(http).raise_for_status()
    thread_id = a_thread(http)
    for method, path, body in WAYS:
        refused(http.request(method, path.format(thread=thread_id), json=body), RUNS)
    assert http.get(f"/threads/{thread_id}/runs").json() == []
    agent = f"/a2a/{default_assistant_id('nap')}"
    told = http.post(agent, json=rpc("message/send", {"message": MESSAGE})).json()["error"]
    assert (told["code"], RUNS in told["message"]) == (-32603, True)
    stream = http.post(agent, json=rpc("message/stream", {"message": MESSAGE}), headers={"accept": "text/event-stream"})
    assert RUNS in stream.json()["error"]["message"]
    command = {"id": 1, "method": "run.start", "params": {"assistant_id": "nap", "input": {}}}
    told = http.post(f"/threads/{thread_id}/commands", json=command).json()
    assert (told["type"], told["error"], RUNS in told["message"]) == ("error", "unknown_error", True)
    assert http.get("/metrics?format=json").json()["queue"]["n_running"] == 2


def test_a_batch_is_made_as_a_whole_or_not_at_all(http):
    refused(http.post("/runs/batch", json=[NAP, NAP, NAP]), RUNS)
    assert len(http.post("/runs/batch", json=[NAP, NAP]).raise_for_status().json()) == 2


def test_a_run_that_ended_counts_no_more_and_one_that_waits_does(http):
    first = start(http).raise_for_status().json()
    waits = start(http, first["thread_id"], multitask_strategy="enqueue").raise_for_status().json()
    assert waits["status"] == "pending"
    refused(start(http), RUNS)
    http.post(f"/threads/{first['thread_id']}/runs/{first['run_id']}/cancel?wait=true").raise_for_status()
    start(http).raise_for_status()


def test_a_run_may_take_the_place_of_others_on_its_thread(http):
    thread_id = start(http).raise_for_status().json()["thread_id"]
    start(http).raise_for_status()
    start(http, thread_id, multitask_strategy="interrupt").raise_for_status()
    refused(start(http, thread_id, multitask_strategy="enqueue"), RUNS)


def test_a_cron_whose_run_is_refused_says_so(http):
    start(http).raise_for_status()
    start(http).raise_for_status()
    made = http.post("/runs/crons", json={**NAP, "schedule": "* * * * * *"})
    cron = made.raise_for_status().json()["cron_id"]
    try:
        until(lambda: http.get(f"/runs/crons/{cron}").json()["last_error"] is not None)
        assert RUNS in http.get(f"/runs/crons/{cron}").json()["last_error"]
    finally:
        http.delete(f"/runs/crons/{cron}")


async def test_a_stream_too_many_is_refused_however_it_is_opened(http, url):
    run = start(http).raise_for_status().json()
    one, thread_id = f"/threads/{run['thread_id']}", a_thread(http)
    agent = f"/a2a/{default_assistant_id('nap')}"
    with contextlib.ExitStack() as stack:
        stack.enter_context(streaming(http, "GET", f"{one}/stream"))
        stack.enter_context(streaming(http, "POST", f"{one}/stream/events", json=EVENTS))
        for method, path, body in (
            ("GET", f"{one}/stream", None),
            ("GET", f"{one}/runs/{run['run_id']}/stream", None),
            ("GET", f"/runs/{run['run_id']}/stream", None),
            ("POST", f"{one}/stream/events", EVENTS),
            ("POST", f"/threads/{thread_id}/runs/stream", NAP),
            ("POST", "/runs/stream", NAP),
        ):
            refused(http.request(method, path, json=body), STREAMS)
        asked = rpc("message/stream", {"message": MESSAGE})
        told = http.post(agent, json=asked, headers={"accept": "text/event-stream"}).json()
        assert STREAMS in told["error"]["message"]
        with pytest.raises(websockets.exceptions.InvalidStatus) as denied:
            async with connect(f"{url.replace('http', 'ws', 1)}{one}/stream/events"):
                pass
        assert denied.value.response.status_code == 429
        assert denied.value.response.headers["retry-after"] == "1"
        assert STREAMS.encode() in denied.value.response.body
        assert http.get(f"/threads/{thread_id}/runs").json() == []
    until(lambda: opened(http, f"{one}/stream") == 200)


def opened(http, path):
    with http.stream("GET", path) as answer:
        return answer.status_code


async def test_a_web_socket_is_one_stream_whatever_it_subscribes_to(http, url):
    address = f"{url.replace('http', 'ws', 1)}/threads/{a_thread(http)}/stream/events"
    async with socket_to(address) as first, socket_to(address) as second:
        for socket in (first, second):
            for number in range(3):
                await socket.send(json.dumps({"id": number, "method": "subscription.subscribe", "params": EVENTS}))
                assert json.loads(await socket.recv())["type"] == "success"
        refused(http.get(f"/threads/{a_thread(http)}/stream"), STREAMS)
    until(lambda: opened(http, f"/threads/{a_thread(http)}/stream") == 200)


def left_at_once(http):
    with http.stream("POST", "/runs/stream", json={**NAP, "on_disconnect": "cancel"}) as answer:
        return answer.status_code


@pytest.mark.parametrize("times", [5])
async def test_no_place_is_lost_by_those_who_leave(http, times):
    missing = "01a20be8-681c-74a1-ade6-26e7b55ceb54"
    for _ in range(times):
        assert http.get(f"/runs/{missing}/stream").status_code == 404
        assert http.get(f"/threads/{missing}/stream").status_code == 404
        assert http.post(f"/threads/{missing}/runs/stream", json=NAP).status_code == 404
        until(lambda: left_at_once(http) == 200)
        until(lambda: http.get("/metrics?format=json").json()["queue"]["n_running"] == 0)
    thread_id = a_thread(http)
    until(lambda: opened(http, f"/threads/{thread_id}/stream") == 200)
    with streaming(http, "GET", f"/threads/{thread_id}/stream"):
        until(lambda: opened(http, f"/threads/{thread_id}/stream") == 200)
