"""One slow reader of a stream stalls nobody: not the run, not other readers."""

import socket
import time
from pathlib import Path

import httpx
import orjson

from tests.server import running

APP = Path(__file__).parents[1] / "apps" / "risk"


def test_slow_reader_stalls_nobody(tmp_path: Path) -> None:
    with running(APP, tmp_path / "data") as server:
        thread = httpx.post(f"{server.url}/threads", json={}).json()["thread_id"]
        body = orjson.dumps(
            {"assistant_id": "firehose", "input": {"events": 20_000, "size": 1000}, "stream_mode": ["custom"]}
        )
        slow = socket.create_connection(("127.0.0.1", server.port))
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        head = f"POST /threads/{thread}/runs/stream HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        slow.sendall(head.encode() + f"content-length: {len(body)}\r\n\r\n".encode() + body)
        slow.recv(100)
        [run] = httpx.get(f"{server.url}/threads/{thread}/runs").json()
        took = []
        deadline = time.monotonic() + 30
        while True:
            began = time.monotonic()
            status = httpx.get(f"{server.url}/threads/{thread}/runs/{run['run_id']}").json()["status"]
            took.append(time.monotonic() - began)
            if status == "success":
                break
            assert time.monotonic() < deadline, status
            time.sleep(0.02)
        slow.close()
        assert sorted(took)[len(took) // 2] < 0.5
        other = httpx.post(f"{server.url}/runs/wait", json={"assistant_id": "counter", "input": {"n": 1}})
        assert other.json() == {"n": 2}
