"""No request leaves the machine that the user's own graphs, webhooks or configuration did not ask for.

An app that uses everything a server offers is served by a process in which whatever would leave the loopback is counted and
refused, and every kind of client does what it does.
"""

import asyncio
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import httpx
import pytest
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
from a2a.types import Message, Part, Role, SendMessageRequest
from langgraph.pregel.remote import RemoteGraph
from langgraph_sdk import get_client
from mcp import Client as McpClient
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client

from tests.receiver import receiving
from tests.server import running
from threadloom.ids import default_assistant_id

pytestmark = pytest.mark.anyio

APP = Path(__file__).parents[1] / "apps" / "whole"
TOKEN = {"Authorization": "Bearer ann"}
SAY = {"messages": [{"role": "user", "content": "abba"}]}

WATCH = '''
"""Notes every name that the process looks up and every address that it connects or sends to; refuses those elsewhere."""
import asyncio, os, sys
import uvloop
uvloop.new_event_loop = asyncio.new_event_loop  # whose sockets are Python's, which can be watched

LOCAL = ("127.", "::1", "localhost", "/", "None", "0.0.0.0")

def watch(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        told = arguments[1][0] if isinstance(arguments[1], tuple) else arguments[1]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        told = arguments[0].decode() if isinstance(arguments[0], bytes) else arguments[0]
    else:
        return
    with open(os.environ["WATCHED"], "a") as file:
        file.write(f"{event} {told}\\n")
    if not str(told).startswith(LOCAL):
        raise ConnectionRefusedError(f"{told} is elsewhere")

sys.addaudithook(watch)
'''

ELSEWHERE = """
import asyncio, socket
for attempt in (lambda: socket.getaddrinfo("a.invalid", 80), lambda: socket.socket().connect(("192.0.2.1", 80))):
    try:
        attempt()
    except ConnectionRefusedError:
        print("refused")
"""


class Watched:
    """An environment whose Python processes are watched, and what was seen of them."""

    def __init__(self, folder: Path) -> None:
        (folder / "watch").mkdir()
        (folder / "watch" / "sitecustomize.py").write_text(WATCH)
        self._notes = folder / "notes"
        paths = filter(None, [str(folder / "watch"), os.environ.get("PYTHONPATH")])
        self.env = {"PYTHONPATH": os.pathsep.join(paths), "WATCHED": str(self._notes)}

    def seen(self) -> Counter[str]:
        """How often each event was seen, with where it led."""
        return Counter(self._notes.read_text().splitlines()) if self._notes.exists() else Counter()

    def outside(self) -> Counter[str]:
        """Those that led elsewhere."""
        here = re.compile(r"\S+ (127\.|::1|localhost|/|None|0\.0\.0\.0)")
        return Counter({note: count for note, count in self.seen().items() if not here.match(note)})


@pytest.fixture
def watched(tmp_path):
    return Watched(tmp_path)


def test_the_watch_counts_and_refuses(watched) -> None:
    command = [sys.executable, "-c", ELSEWHERE]
    done = subprocess.run(command, env={**os.environ, **watched.env}, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["refused", "refused"]
    assert watched.outside() == {"socket.getaddrinfo a.invalid": 1, "socket.connect 192.0.2.1": 1}


async def test_whatever_clients_do_nothing_leaves_the_machine(watched, tmp_path) -> None:
    with receiving() as receiver, running(APP, tmp_path / "data", env=watched.env) as server:
        await pages(server.url)
        await threads_runs_and_store(server.url)
        await crons_and_webhooks(server.url, receiver)
        await mcp(server.url)
        await a2a(server.url)
        await streams(server.url)
        await remote(server.url)
        assert receiver.received
        assert server.stop() == 0
    assert watched.seen()[f"socket.connect {receiver.server.server_address[0]}"] >= 2, "the webhooks were not seen"
    assert watched.outside() == Counter()


async def pages(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, headers=TOKEN, timeout=30) as http:
        for path in ("/ok?check_db=1", "/info", "/metrics", "/openapi.json", "/assistants/chat/schemas"):
            (await http.get(path)).raise_for_status()
        docs = (await http.get("/docs")).text
        assert re.findall(r"""(?:src|href)=["']?(?:https?:)?//[^"'\s>]+""", docs) == []
        assert (await http.get("/own/inside")).json() == 2
        assert (await http.post("/ui/chat", json={"name": "x"})).status_code == 200
        assert (await http.get("/ui/chat/entrypoint.js")).status_code == 200
        assert (await http.get("/threads", headers={"Authorization": ""})).status_code < 500


async def threads_runs_and_store(url: str) -> None:
    client = get_client(url=url, headers=TOKEN)
    thread_id = (await client.threads.create())["thread_id"]
    await client.runs.wait(thread_id, "chat", input=SAY)
    modes = ["values", "updates", "messages", "custom", "debug", "tasks", "checkpoints", "events"]
    async for _ in client.runs.stream(thread_id, "chat", input=SAY, stream_mode=modes):
        pass
    await client.runs.wait(None, "chat", input=SAY)
    await client.runs.create_batch([{"assistant_id": "chat", "input": SAY}])
    run = await client.runs.create(thread_id, "ask", input=SAY)
    await client.runs.join(thread_id, run["run_id"])
    await client.runs.wait(thread_id, "ask", command={"resume": "yes"})
    await client.threads.update_state(thread_id, {"messages": []})
    history = await client.threads.get_history(thread_id)
    assert len(history) > 5
    copy = await client.threads.copy(thread_id)
    await client.threads.search(metadata={"owner": "ann"}, values={})
    await client.threads.delete(copy["thread_id"])
    await client.store.put_item(["ann"], "k", {"text": "abc"})
    assert (await client.store.search_items(["ann"], query="abc"))["items"]
    assistant = await client.assistants.create("chat", name="mine")
    await client.assistants.get_graph(assistant["assistant_id"])
    await client.assistants.delete(assistant["assistant_id"])
    await client.aclose()


async def crons_and_webhooks(url: str, receiver) -> None:
    client = get_client(url=url, headers=TOKEN)
    thread_id = (await client.threads.create())["thread_id"]
    await client.runs.wait(thread_id, "chat", input=SAY, webhook=receiver.url)
    await client.runs.wait(None, "chat", input=SAY, webhook="/own/hook")
    cron = await client.crons.create("chat", schedule="* * * * * *", input=SAY, webhook=receiver.url)
    await asyncio.to_thread(receiver.wait, 2)
    await client.crons.delete(cron["cron_id"])
    async with httpx.AsyncClient(base_url=url, headers=TOKEN, timeout=30) as http:
        [delivery] = (await http.get("/webhooks/deliveries")).json()
        assert (await http.post(f"/webhooks/deliveries/{delivery['delivery_id']}/redeliver")).status_code in (202, 409)
    await client.aclose()


async def mcp(url: str) -> None:
    http = create_mcp_http_client(headers=TOKEN)
    async with http, McpClient(streamable_http_client(f"{url}/mcp", http_client=http)) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == {"chat", "ask"}
        assert not (await client.call_tool("chat", {"messages": "abba"})).is_error


async def a2a(url: str) -> None:
    said = Message(role=Role.ROLE_USER, message_id="m", parts=[Part(text="abba")])
    async with httpx.AsyncClient(headers=TOKEN, timeout=30) as http:
        card = await A2ACardResolver(http, f"{url}/a2a/{default_assistant_id('chat')}").get_agent_card()
        for streaming in (True, False):
            client = ClientFactory(ClientConfig(httpx_client=http, streaming=streaming)).create(card)
            assert [event async for event in client.send_message(SendMessageRequest(message=said))]


async def streams(url: str) -> None:
    client = get_client(url=url, headers=TOKEN)
    for transport in ("sse", "websocket"):
        async with client.threads.stream(assistant_id="chat", transport=transport, headers=TOKEN) as thread:
            await thread.run.start(input=SAY)
            assert (await thread.output)["messages"]
    await client.aclose()


async def remote(url: str) -> None:
    graph = RemoteGraph("chat", url=url, headers=TOKEN)
    assert (await graph.ainvoke(SAY))["messages"][-1]["content"] == "echo: abba"
    assert await graph.aget_graph()
