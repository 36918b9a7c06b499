"""The v2 event stream by web socket."""

import asyncio
import json
import uuid
from pathlib import Path

import httpx
import pytest
import websockets

from tests.server import running
from tests.wire.protocol_client import ALL, ended, run_to_end, socket, start

pytestmark = pytest.mark.anyio

APP = Path(__file__).parent.parent / "apps" / "protocol"


@pytest.fixture(scope="module")
def url(protocol_url):
    return protocol_url


async def test_everything_goes_through_one_socket(url):
    async with socket(url, uuid.uuid4()) as ws:
        subscribed = await ws.ask("subscription.subscribe", {"channels": ALL})
        assert subscribed["result"]["replayed_events"] == 0
        started = await ws.ask("run.start", {"assistant_id": "asking", "input": {"n": 1}})
        assert started["type"] == "success" and started["result"]["run_id"]
        await ws.until(ended)
        asked = next(event for event in ws.events if event["method"] == "input.requested")
        answer = {"interrupt_id": asked["params"]["data"]["interrupt_id"], "response": "yes"}
        assert (await ws.ask("input.respond", answer))["result"] == {}
        await ws.until(lambda frame: ended(frame) and frame["params"]["data"]["event"] == "completed")
        assert [event["seq"] for event in ws.events] == list(range(1, len(ws.events) + 1))
        got = await ws.ask("state.get", {"keys": ["answers"]})
        assert got["result"]["values"] == {"answers": {"ask": "yes"}}
        assert got["meta"]["applied_through_seq"] == ws.events[-1]["seq"]
        tree = (await ws.ask("agent.getTree"))["result"]["tree"]
        assert (tree["status"], tree["graph_name"]) == ("completed", "asking")


async def test_nothing_comes_without_a_subscription(url, http):
    thread = uuid.uuid4()
    async with socket(url, thread) as ws:
        await start(http, thread, "steps", {"n": 1})
        with pytest.raises(TimeoutError):
            await ws.until(lambda frame: True, timeout=0.4)


async def test_the_answer_comes_first_then_what_was_missed(url, http):
    thread, seen = await run_to_end(http, "nested", {})
    async with socket(url, thread) as ws:
        answer = await ws.ask("subscription.subscribe", {"channels": ALL, "since": 3})
        assert answer["result"]["replayed_events"] == len(seen) - 3
        assert len(ws.frames) == 1
        await ws.until(ended)
        assert ws.events == seen[3:]


async def test_an_event_that_two_subscriptions_want_comes_once(url):
    async with socket(url, uuid.uuid4()) as ws:
        await ws.ask("subscription.subscribe", {"channels": ["values", "lifecycle"]})
        await ws.ask("subscription.subscribe", {"channels": ["lifecycle", "updates"]})
        await ws.ask("run.start", {"assistant_id": "steps", "input": {"n": 1}})
        await ws.until(ended)
        numbers = [event["seq"] for event in ws.events]
        assert numbers == sorted(set(numbers))
        assert {event["method"] for event in ws.events} == {"values", "lifecycle", "updates"}


async def test_subscriptions_that_come_together_are_told_of_the_past_together(url, http):
    """A client takes a run as over that one subscription has heard the end of: others must have heard the rest by then."""
    thread, seen = await run_to_end(http, "nested", {})
    async with socket(url, thread) as ws:
        await ws.send("subscription.subscribe", {"channels": ["lifecycle"]})
        await ws.send("subscription.subscribe", {"channels": ALL})
        await ws.until(lambda frame: frame.get("seq") == seen[-1]["seq"])
        assert [frame["type"] for frame in ws.frames[:2]] == ["success", "success"]
        assert ws.events == seen


async def test_a_later_subscription_gets_what_it_wants_of_the_past(url):
    async with socket(url, uuid.uuid4()) as ws:
        await ws.ask("subscription.subscribe", {"channels": ["lifecycle"]})
        await ws.ask("run.start", {"assistant_id": "steps", "input": {"n": 1}})
        await ws.until(ended)
        answer = await ws.ask("subscription.subscribe", {"channels": ["values"]})
        assert answer["result"]["replayed_events"] == 2
        last = (await ws.until(lambda frame: frame.get("method") == "values"))[-1]
        assert last["params"]["data"]["n"] == 1


async def test_an_ended_subscription_gets_no_more(url):
    async with socket(url, uuid.uuid4()) as ws:
        first = (await ws.ask("subscription.subscribe", {"channels": ["values"]}))["result"]["subscription_id"]
        await ws.ask("subscription.subscribe", {"channels": ["lifecycle"]})
        assert (await ws.ask("subscription.unsubscribe", {"subscription_id": first}))["result"] == {}
        again = await ws.ask("subscription.unsubscribe", {"subscription_id": first})
        assert again["error"] == "no_such_subscription"
        await ws.ask("run.start", {"assistant_id": "steps", "input": {"n": 1}})
        await ws.until(ended)
        assert {event["method"] for event in ws.events} == {"lifecycle"}


async def test_a_lost_socket_is_taken_up_by_a_new_one(url, http):
    thread, seen = await run_to_end(http, "steps", {"n": 1})
    async with socket(url, thread) as ws:
        answer = await ws.ask("subscription.reconnect", {"channels": ALL, "since": 2})
        assert answer["result"]["restored"] is True
        assert answer["result"]["missed_events"] == len(seen) - 2
        await ws.until(ended)
        assert ws.events == seen[2:]


async def test_subscriptions_outlive_runs(url):
    async with socket(url, uuid.uuid4()) as ws:
        await ws.ask("subscription.subscribe", {"channels": ["lifecycle"]})
        for _ in range(2):
            await ws.ask("run.start", {"assistant_id": "steps", "input": {"n": 1}})
            await ws.until(ended)
        assert [event["params"]["data"]["event"] for event in ws.events] == ["running", "completed"] * 2


@pytest.mark.parametrize(
    ("frame", "id_", "text"),
    [
        ("{", None, "valid JSON"),
        (b"\xff\xfe", None, "valid JSON"),
        ("[]", None, "integer id"),
        ('{"id":"a","method":"run.start"}', "a", "integer id"),
        ('{"id":true,"method":"run.start"}', True, "integer id"),
        ('{"id":-1,"method":"run.start"}', -1, "integer id"),
        ('{"id":1}', 1, "string method"),
    ],
)
async def test_what_is_no_command_keeps_the_socket_open(url, frame, id_, text):
    async with socket(url, uuid.uuid4()) as ws:
        await ws.connection.send(frame)
        (answer,) = await ws.until(lambda frame: True)
        assert (answer["type"], answer["error"], answer["id"]) == ("error", "invalid_argument", id_)
        assert text in answer["message"]
        assert (await ws.ask("nope"))["error"] == "unknown_command"
        assert (await ws.ask("run.start", []))["error"] == "invalid_argument"
        assert (await ws.ask("subscription.subscribe", {"channels": ["nope"]}))["error"] == "invalid_argument"


async def test_binary_frames_of_text_are_taken(url):
    async with socket(url, uuid.uuid4()) as ws:
        await ws.connection.send(
            json.dumps({"id": 3, "method": "subscription.subscribe", "params": {"channels": ["values"]}}).encode()
        )
        (answer,) = await ws.until(lambda frame: True)
        assert answer["type"] == "success"


async def test_an_id_that_is_none_ends_the_socket(url):
    async with socket(url, "no-uuid") as ws:
        with pytest.raises(websockets.ConnectionClosedError) as closed:
            await ws.connection.recv()
    assert closed.value.rcvd.code == 4422


async def test_other_paths_have_no_socket(url):
    with pytest.raises(websockets.InvalidStatus):
        async with websockets.connect(url.replace("http", "ws", 1) + f"/threads/{uuid.uuid4()}/stream"):
            raise AssertionError("opened")


async def test_a_page_of_a_foreign_origin_is_refused_where_origins_are_configured(tmp_path):
    app = tmp_path / "app"
    app.mkdir()
    for name in ("graphs.py", "transformed.py"):
        (app / name).write_text((APP / name).read_text())
    config = json.loads((APP / "langgraph.json").read_text())
    config["http"] = {"cors": {"allow_origins": ["https://good.example"]}, "mount_prefix": "/api"}
    (app / "langgraph.json").write_text(json.dumps(config))
    with running(app, tmp_path / "data") as server:
        base = server.url + "/api"
        thread = uuid.uuid4()
        own = server.url
        for origin in ("https://good.example", own):
            async with socket(base, thread, origin=origin) as ws:
                assert (await ws.ask("subscription.subscribe", {"channels": ["values"]}))["type"] == "success"
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with socket(base, thread, origin="https://evil.example"):
                raise AssertionError("opened")
        assert refused.value.response.status_code == 403


async def test_a_switched_off_stream_is_not_there(tmp_path):
    app = tmp_path / "app"
    app.mkdir()
    (app / "graphs.py").write_text((APP / "graphs.py").read_text())
    config = {
        "dependencies": ["."],
        "graphs": {"steps": "./graphs.py:steps"},
        "http": {"disable_event_streaming": True},
    }
    (app / "langgraph.json").write_text(json.dumps(config))
    with running(app, tmp_path / "data") as server:
        thread = uuid.uuid4()
        async with httpx.AsyncClient(base_url=server.url) as http:
            assert (await http.post(f"/threads/{thread}/commands", json={"id": 1, "method": "x"})).status_code == 404
            body = {"channels": ["values"]}
            assert (await http.post(f"/threads/{thread}/stream/events", json=body)).status_code == 404
        with pytest.raises(websockets.InvalidStatus):
            async with socket(server.url, thread):
                raise AssertionError("opened")


async def test_a_restart_ends_the_socket_and_the_next_one_goes_on(tmp_path):
    thread = uuid.uuid4()
    with running(APP, tmp_path / "data") as server:
        async with socket(server.url, thread) as ws:
            await ws.ask("subscription.subscribe", {"channels": ["lifecycle"]})
            await ws.ask("run.start", {"assistant_id": "steps", "input": {"n": 1}})
            await ws.until(ended)
            await asyncio.to_thread(server.stop)
            with pytest.raises(websockets.ConnectionClosed):
                await ws.connection.recv()
        server.start()
        async with socket(server.url, thread) as again:
            await again.ask("subscription.subscribe", {"channels": ["lifecycle"]})
            await again.until(ended)
            assert again.events == ws.events
