"""`threadloom serve` as one process: what it refuses, how it tells that it is well, and how it ends."""

import json
import signal
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests import forkserver
from tests.server import Server

APP = Path(__file__).parents[1] / "apps" / "risk"


@pytest.fixture
def serving(tmp_path):
    """Starts a server with settings of its own."""
    servers = []

    def start(own=None, **env):
        document = json.loads((APP / "langgraph.json").read_text())
        graphs = {name: f"{APP}/{path}" for name, path in document["graphs"].items()}
        config = tmp_path / "langgraph.json"
        config.write_text(json.dumps({**document, "graphs": graphs, "threadloom": own or {}}))
        server = Server(config, tmp_path / "data", verb="serve", env=env)
        servers.append(server)
        return server.start()

    yield start
    for server in servers:
        server.kill()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--workers", "2"), "--workers 2 cannot be. Set DATABASE_URI=postgresql://"),
        (("--role", "worker"), "--role worker cannot be"),
        (("--role", "api"), "--role api cannot be"),
        (("--workers", "0"), "must be at least 1"),
    ],
)
def test_more_than_sqlite_can_do_is_refused(tmp_path, arguments, told):
    command = [sys.executable, "-m", "threadloom", "serve", "-c", str(APP / "langgraph.json"), "--data", str(tmp_path)]
    done = forkserver.run([*command, *arguments], timeout=60)
    assert done.returncode == 2
    assert told in done.stderr


def test_it_serves_and_says_where(serving):
    server = serving(PORT="1", LANGGRAPH_SERVER_HOST="127.0.0.1")
    body = {"assistant_id": "counter", "input": {"n": 1}}
    assert httpx.post(f"{server.url}/runs/wait", json=body).json() == {"n": 2}
    for path in ("/ok", "/live"):
        assert httpx.get(server.url + path).json() == {"ok": True, "services": {}}
    assert f"API      {server.url}" in server.log()
    assert "Role     all: up to 100 runs at once" in server.log()


def test_told_to_stop_it_says_so_while_it_still_answers(serving):
    server = serving({"drain_seconds": 6}, BG_JOB_SHUTDOWN_GRACE_PERIOD_SECS="60")
    with httpx.Client(base_url=server.url) as client:
        thread = client.post("/threads", json={}).json()["thread_id"]
        body = {"assistant_id": "steps", "input": {"todo": 16, "pause": 0.5}}
        run = client.post(f"/threads/{thread}/runs", json=body).json()["run_id"]
        server.tell(signal.SIGTERM)
        began = time.monotonic()
        while (answer := client.get("/ok")).status_code == 200:
            assert time.monotonic() - began < 6
        assert (answer.status_code, "stops" in answer.json()["detail"]) == (503, True)
        assert client.get("/live").status_code == 200
        # It takes requests, but executes no more runs than it had.
        later = client.post("/threads", json={}).json()["thread_id"]
        waiting = client.post(f"/threads/{later}/runs", json={"assistant_id": "counter", "input": {"n": 1}}).json()
        assert waiting["status"] == "pending"
        with client.stream("GET", f"/threads/{later}/stream", timeout=30) as stream:
            # What has no end of its own ends when no more requests are taken.
            assert b"".join(stream.iter_bytes()).count(b"event: error") == 0
        assert 5.5 < time.monotonic() - began < 60
    assert server.process is not None
    assert server.process.wait(120) == 0
    assert time.monotonic() - began > 7
    server.start()
    state = httpx.get(f"{server.url}/threads/{thread}/state").json()
    assert len(state["values"]["done"]) == 16
    assert httpx.get(f"{server.url}/threads/{thread}/runs/{run}").json()["status"] == "success"
    assert httpx.get(f"{server.url}/threads/{later}/runs/{waiting['run_id']}/join").json() == {"n": 2}


def test_what_does_not_end_in_time_goes_on_where_it_was(serving, tmp_path):
    journal = tmp_path / "journal"
    server = serving({"drain_seconds": 0}, BG_JOB_SHUTDOWN_GRACE_PERIOD_SECS="1", RISK_JOURNAL=str(journal))
    thread = httpx.post(f"{server.url}/threads", json={}).json()["thread_id"]
    body = {"assistant_id": "steps", "input": {"todo": 8, "pause": 0.4}}
    run = httpx.post(f"{server.url}/threads/{thread}/runs", json=body).json()["run_id"]
    time.sleep(1)
    server.tell(signal.SIGTERM)
    assert server.process is not None
    assert server.process.wait(120) == 0
    server.start()
    assert httpx.get(f"{server.url}/threads/{thread}/runs/{run}/join", timeout=20).json()["done"] == [
        str(number) for number in range(8)
    ]
    numbers = [int(line.split()[1]) for line in journal.read_text().splitlines()]
    # The step that was cut off is made anew, and no other.
    assert len(numbers) == 9
    assert sorted(set(numbers)) == list(range(8))
