"""No request leaves the machine that the user's own graphs, webhooks or configuration did not ask for."""

import os
import subprocess
import sys
from pathlib import Path

import httpx

from tests.server import running

CHAT = Path(__file__).parents[2] / "examples" / "chat"
LOCAL = ("127.0.0.1", "localhost", "::1", "None", "/")
HELLO = {"assistant_id": "agent", "input": {"messages": [{"role": "user", "content": "hello"}]}}

WATCH = '''
"""Notes every name that the process looks up and every address that it connects or sends to."""
import asyncio, os, sys
import uvloop
uvloop.new_event_loop = asyncio.new_event_loop  # whose sockets are Python's, which can be watched

def note(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        told = arguments[1][0] if isinstance(arguments[1], tuple) else arguments[1]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        told = arguments[0]
    else:
        return
    with open(os.environ["WATCHED"], "a") as file:
        file.write(f"{told}\\n")

sys.addaudithook(note)
'''


def test_no_outside_request(tmp_path: Path) -> None:
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch" / "sitecustomize.py").write_text(WATCH)
    notes = tmp_path / "notes"
    paths = os.pathsep.join(filter(None, [str(tmp_path / "watch"), os.environ.get("PYTHONPATH")]))
    env = {"PYTHONPATH": paths, "WATCHED": str(notes)}

    outside = (
        "import asyncio, socket, contextlib\nwith contextlib.suppress(OSError): socket.getaddrinfo('a.invalid', 80)"
    )
    subprocess.run([sys.executable, "-c", outside], env={**os.environ, **env}, check=True)
    assert notes.read_text().split() == ["a.invalid"], "the watch itself sees nothing"
    notes.unlink()

    with running(CHAT, tmp_path / "data", env=env) as server, httpx.Client(base_url=server.url, timeout=30) as client:
        for path in ("/ok", "/info", "/docs", "/openapi.json", "/metrics", "/assistants/agent/schemas"):
            client.get(path)
        thread_id = client.post("/threads", json={}).json()["thread_id"]
        for body in (HELLO, {**HELLO, "assistant_id": "tools"}, {**HELLO, "assistant_id": "team"}):
            client.post(f"/threads/{thread_id}/runs/wait", json=body).raise_for_status()
        client.post(f"/threads/{thread_id}/copy").raise_for_status()
        client.put("/store/items", json={"namespace": ["a"], "key": "k", "value": {"v": 1}}).raise_for_status()
        client.post("/store/items/search", json={"namespace_prefix": ["a"], "query": "v"})
        assert server.stop() == 0
    told = notes.read_text().split() if notes.exists() else []
    assert [address for address in told if not address.startswith(LOCAL)] == []
