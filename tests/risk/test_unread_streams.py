"""A stream that nobody reads costs the server a few megabytes, whatever is told on it and whatever kind of stream it is"""

import base64
import json
import os
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.risk.cluster_tools import FINAL, ended, status_of
from tests.server import Server, running

APP = Path(__file__).parents[1] / "apps" / "risk"
EVENTS, SIZE = 300, 100_000
"""30 MB a run."""

RUNS = 4
MOST = 130
"""Megabytes that the server may grow by. Four runs tell 120 MB, twice or three times as much with all their readers; a reader may
have eight waiting, and each connection to the database keeps some of what it read."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(APP, tmp_path_factory.mktemp("unread") / "data") as server:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            # What is kept of the first runs, and of the first pages that are read, is no matter of readers.
            client.post("/runs/stream", json=_pouring(stream_resumable=True)).raise_for_status()
        yield server


def _pouring(**more: Any) -> dict[str, Any]:
    return {"assistant_id": "firehose", "input": {"events": EVENTS, "size": SIZE}, "stream_mode": ["custom"], **more}


def memory(server: Server) -> float:
    """Megabytes that the server's process takes up."""
    assert server.process is not None
    [line] = [one for one in Path(f"/proc/{server.process.pid}/status").read_text().splitlines() if "VmRSS" in one]
    return int(line.split()[1]) / 1024


class Unread:
    """A connection that sends a request and reads no more of the answer than its head, until it is told to."""

    def __init__(self, server: Server, method: str, path: str, body: Any = None, head: str = "") -> None:
        data = b"" if body is None else json.dumps(body).encode()
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.connect(("127.0.0.1", server.port))
        lines = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {len(data)}\r\n{head}\r\n"
        self.send(lines.encode() + data)
        self._begin = b""
        while b"\r\n\r\n" not in self._begin:
            self._begin += self._socket.recv(200)

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def more(self) -> str:
        """Reads a little, and gives all that was read."""
        self._begin += self._socket.recv(2000)
        return self._begin.decode(errors="replace")

    def rest(self) -> str:
        """Reads the answer to its end after all."""
        self._socket.settimeout(60)
        got = bytearray(self._begin)
        while not got.endswith(b"0\r\n\r\n") and (more := self._socket.recv(65536)):
            got += more
        return got.decode(errors="replace")

    def close(self) -> None:
        self._socket.close()


def web_socket(server: Server, thread: str) -> Unread:
    """A web socket that subscribes to a thread's events and reads none."""
    key = base64.b64encode(os.urandom(16)).decode()
    upgrade = f"upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: {key}\r\n"
    unread = Unread(server, "GET", f"/threads/{thread}/stream/events", head=upgrade)
    text = json.dumps({"id": 1, "method": "subscription.subscribe", "params": {"channels": ["custom"]}}).encode()
    unread.send(struct.pack("!BBI", 0x81, 0x80 | len(text), 0) + text)
    return unread


def _classic(server: Server, client: httpx.Client, thread: str, *, resumable: bool) -> tuple[list[Unread], str]:
    path = f"/threads/{thread}"
    opened = [] if resumable else [Unread(server, "GET", f"{path}/stream")]
    opened.append(Unread(server, "POST", f"{path}/runs/stream", _pouring(stream_resumable=resumable)))
    [run] = client.get(f"{path}/runs").json()
    head = "last-event-id: -\r\n" if resumable else ""
    opened.append(Unread(server, "GET", f"{path}/runs/{run['run_id']}/stream", head=head))
    return opened, run["run_id"]


def _channels(server: Server, client: httpx.Client, thread: str) -> tuple[list[Unread], str]:
    path = f"/threads/{thread}"
    opened = [Unread(server, "POST", f"{path}/stream/events", {"channels": ["custom"]}), web_socket(server, thread)]
    params = {"assistant_id": "firehose", "input": {"events": EVENTS, "size": SIZE}}
    answer = client.post(f"{path}/commands", json={"id": 1, "method": "run.start", "params": params}).json()
    opened.append(web_socket(server, thread))  # it gets what was told before
    return opened, answer["result"]["run_id"]


@pytest.mark.parametrize("kind", ["stream, join, thread", "resumable: stream, join", "v2: stream, web sockets"])
def test_memory_of_unread_streams(server: Server, kind: str) -> None:
    before = peak = memory(server)
    opened: list[Unread] = []
    waiting: list[tuple[str, str]] = []
    with httpx.Client(base_url=server.url, timeout=60) as client:
        for _ in range(RUNS):
            thread = client.post("/threads", json={}).json()["thread_id"]
            if kind.startswith("v2"):
                unread, run = _channels(server, client, thread)
            else:
                unread, run = _classic(server, client, thread, resumable=kind.startswith("resumable"))
            opened += unread
            waiting.append((thread, run))
        for thread, run in waiting:
            while (status := status_of(client, thread, run)) not in FINAL:
                peak = max(peak, memory(server))
                time.sleep(0.01)
            assert status == "success"
        peak = max(peak, memory(server))
    for one in opened:
        one.close()
    assert peak - before < MOST, f"{before:.0f} MB before, {peak:.0f} MB then"


def test_a_reader_that_comes_back_to_a_resumable_run_gets_all(server: Server) -> None:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        thread = client.post("/threads", json={}).json()["thread_id"]
        unread = Unread(server, "POST", f"/threads/{thread}/runs/stream", _pouring(stream_resumable=True))
        [run] = client.get(f"/threads/{thread}/runs").json()
        assert ended(client, thread, run["run_id"]) == "success"
    seen = unread.rest()
    unread.close()
    assert seen.count("event: custom") == EVENTS
    assert seen.endswith("0\r\n\r\n")
    assert "event: error" not in seen
