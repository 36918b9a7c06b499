"""Credentials, and what an authenticate handler returned beside identity, name and permissions, leave the process nowhere."""

import asyncio
import contextlib
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from langgraph_sdk import get_client

from tests import cluster, postgres_server
from tests.server import running
from tests.users import User, token

pytestmark = pytest.mark.anyio

APP = Path(__file__).parents[1] / "apps" / "auth"
MODES = ["values", "updates", "messages", "messages-tuple", "debug", "tasks", "checkpoints", "custom", "events"]
CHANNELS = ["values", "updates", "messages", "tools", "lifecycle", "input", "checkpoints", "tasks", "custom"]


class Receiver:
    """Somebody whom webhooks tell."""

    def __init__(self):
        self.bodies = []
        self.came = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.bodies.append(str(self.headers).encode() + body)
                receiver.came.set()
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@contextlib.contextmanager
def receiver():
    found = Receiver()
    try:
        yield found
    finally:
        found.close()


class Told:
    """All that a client was ever told."""

    def __init__(self, http):
        self._http = http
        self.texts = []
        self.places = []

    async def call(self, method, path, **more):
        response = await self._http.request(method, path, **more)
        self.texts.append(f"{response.headers}\n{response.text}")
        self.places.append((method, path, response.status_code))
        return response

    async def events(self, method, path, until, **more):
        """What a stream that does not end tells, up to a text."""
        text = ""
        async with asyncio.timeout(120), self._http.stream(method, path, **more) as response:
            async for part in response.aiter_text():
                text += part
                if until in text:
                    break
        self.texts.append(text)


async def use_everything(user, told, hook):
    """Calls whatever may show something of a user."""
    thread = (await told.call("POST", "/threads", json={"metadata": {"m": 1}})).json()["thread_id"]
    at = f"/threads/{thread}"
    body = {"assistant_id": "asking", "input": {"texts": ["a"]}, "stream_mode": MODES, "stream_subgraphs": True}
    streamed = await told.call("POST", f"{at}/runs/stream", json={**body, "stream_resumable": True, "webhook": hook})
    assert streamed.status_code == 200, streamed.text
    run = streamed.headers["content-location"].rpartition("/")[2]
    await told.call("GET", f"{at}/runs/{run}/stream", headers={"Last-Event-ID": "-1"})
    await told.call("POST", f"{at}/runs/wait", json={"assistant_id": "asking", "command": {"resume": "b"}})
    for path in (
        "",
        "/state?subgraphs=true",
        "/history?limit=100",
        "/runs",
        f"/runs/{run}",
        f"/runs/{run}/join",
        "/storage",
    ):
        await told.call("GET", at + path)
    copy = (await told.call("POST", f"{at}/copy")).json()["thread_id"]
    await told.call("GET", f"/threads/{copy}/history")
    await told.call("POST", f"{at}/state", json={"values": {"texts": ["c"]}})
    await told.call("POST", "/threads/search", json={"limit": 100})
    assistant = (await told.call("POST", "/assistants", json={"graph_id": "made"})).json()["assistant_id"]
    for path in ("", "/graph", "/schemas"):
        await told.call("GET", f"/assistants/{assistant}{path}")
    await told.call("POST", "/runs/wait", json={"assistant_id": assistant, "input": {}})
    await told.call("POST", "/runs/batch", json=[{"assistant_id": "plain", "input": {}}])
    cron = {"assistant_id": "plain", "schedule": "* * * * *", "input": {}}
    await told.call("POST", "/runs/crons", json=cron)
    await told.call("POST", "/runs/crons/search", json={})
    await told.call("PUT", "/store/items", json={"namespace": ["n"], "key": "k", "value": {}})
    await told.call("POST", "/store/items/search", json={"namespace_prefix": []})
    await told.call("GET", "/webhooks/deliveries")
    new = str(uuid.uuid4())
    start = {"id": 1, "method": "run.start", "params": {"assistant_id": "asking", "input": {"texts": ["v2"]}}}
    await told.call("POST", f"/threads/{new}/commands", json=start)
    await told.events("POST", f"/threads/{new}/stream/events", '"event":"interrupted"', json={"channels": CHANNELS})
    for method in ("agent.getTree", "state.get"):
        await told.call("POST", f"/threads/{new}/commands", json={"id": 2, "method": method})
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    await told.call("POST", "/mcp", json=call)
    message = {
        "kind": "message",
        "messageId": "m",
        "role": "user",
        "parts": [{"kind": "data", "data": {"texts": ["x"]}}],
    }
    send = {"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": {"message": message}}
    await told.call("POST", f"/a2a/{assistant}", json=send)
    await get_client(url=str(told._http.base_url), headers=user.headers).threads.get(thread)


async def break_everything(url, told, secret):
    """Lets handlers fail with all they know in their texts."""
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:
        answers = Told(http)
        crash = {"Authorization": token(crash="the provider said no to", secret=secret)}
        await answers.call("POST", "/threads", json={}, headers=crash)
        assert answers.places[-1][2] == 500
        told.texts += answers.texts
        for rule in ({"crash": "no"}, {"give": {"owner": {"$in": [secret]}}}):
            failing = User(url, rules={"threads.create": rule}, secret=secret)
            answers = Told(failing.http)
            assert (await answers.call("POST", "/threads", json={})).status_code == 500
            told.texts += answers.texts
            await failing.close()
        return crash["Authorization"], failing.authorization


async def test_no_secret_leaves(tmp_path):
    secret = f"s3cr3t-{uuid.uuid4().hex}"
    data = tmp_path / "data"
    with receiver() as hook, running(APP, data) as server:
        user = User(server.url, secret=secret, nested={"deep": [secret]}, permissions=("reader",))
        told = Told(user.http)
        await use_everything(user, told, hook.url)
        credentials = {user.authorization, *await break_everything(server.url, told, secret)}
        assert await asyncio.to_thread(hook.came.wait, 20)
        await user.close()
        log = server.log()
        assert server.stop() == 0
    refused = [place for place in told.places if place[2] >= 400]
    assert refused == []
    heaps = {
        "answers": "\n".join(told.texts).encode(),
        "webhooks": b"\n".join(hook.bodies),
        "log": (log + server.log()).encode(),
        **{file.name: file.read_bytes() for file in data.iterdir() if file.is_file()},
    }
    assert user.identity.encode() in heaps["answers"], "the test sees what is told of users"
    assert any(user.identity.encode() in heap for name, heap in heaps.items() if name.startswith("threadloom.db"))
    hidden = {secret.encode()} | {one.removeprefix("Bearer ").encode() for one in credentials}
    leaks = {name: word[:40] for name, heap in heaps.items() for word in hidden if word in heap}
    assert leaks == {}
    assert b"the provider said no to ***" in heaps["log"], "what failed is told all the same"


async def test_a_user_comes_whole_to_another_process_and_lies_nowhere(tmp_path):
    secret = f"s3cr3t-{uuid.uuid4().hex}"
    with postgres_server.running() as postgres:
        with cluster.running(APP, tmp_path, env={"DATABASE_URI": postgres.uri}, apis=1, workers=1) as served:
            user = User(served.url, secret=secret, team="blue")
            told = Told(user.http)
            for graph in ("plain", "asking"):
                thread = await user.thread()
                who = (await user.run(thread, graph, stream_resumable=True))["who"]
                assert who["team"] == "blue"
                assert {"secret", "label", "authorization"} <= set(who["knows"])
                for path in ("", "/state", "/history", "/runs"):
                    await told.call("GET", f"/threads/{thread}{path}")
            await user.close()
            logs = served.logs()
        postgres.stop()  # which writes down all that it has in memory
        heaps = {str(file): file.read_bytes() for file in postgres.folder.rglob("*") if file.is_file()}
    heaps |= {"logs": logs.encode(), "answers": "\n".join(told.texts).encode()}
    assert any(user.identity.encode() in heap for name, heap in heaps.items() if "/base/" in name)
    hidden = (secret.encode(), user.authorization.removeprefix("Bearer ").encode())
    assert {name: word for name, heap in heaps.items() for word in hidden if word in heap} == {}
    assert b"user_at" not in heaps["answers"]
