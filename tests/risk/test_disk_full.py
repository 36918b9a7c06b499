"""A disk that takes no more: a clear error, nothing lost, service again when there is room."""

import resource
import threading
import time
from pathlib import Path

import httpx

from tests.server import running

APP = Path(__file__).parents[1] / "apps" / "risk"
NO_LIMIT = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
STEPS = 20
LONG = 120
"""Seconds that anything may take on a machine that has much to do."""


class Waiting:
    """A request that waits for a run, on a thread of its own; `heard` is what it was answered."""

    def __init__(self, url: str, method: str, path: str, body: object = None) -> None:
        self.heard = ""

        def wait() -> None:
            with httpx.Client(base_url=url, timeout=LONG) as client:
                self.heard = client.request(method, path, json=body).text

        self.thread = threading.Thread(target=wait)
        self.thread.start()

    def told(self) -> str:
        self.thread.join(LONG)
        return self.heard


def until(condition: object, what: str) -> None:
    assert callable(condition)
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def test_disk_full(tmp_path: Path) -> None:
    with running(APP, tmp_path / "data") as server, httpx.Client(base_url=server.url, timeout=LONG) as client:
        assert server.process is not None
        kept, busy = (client.post("/threads", json={"metadata": {"kept": True}}).json()["thread_id"] for _ in range(2))

        def state() -> dict[str, list[str]]:
            values: dict[str, list[str]] = client.get(f"/threads/{busy}/state").json()["values"]
            return values

        def health() -> httpx.Response:
            return client.get("/ok?check_db=1")

        assert health().json() == {"ok": True, "services": {"database": "healthy"}}
        body = {"assistant_id": "steps", "input": {"todo": STEPS, "pause": 0.1}}
        waits = Waiting(server.url, "POST", f"/threads/{busy}/runs/wait", body)
        until(lambda: len((state() or {}).get("done", [])) >= 3, "the run does not begin")
        [run] = client.get(f"/threads/{busy}/runs").json()
        reads = Waiting(server.url, "GET", f"/threads/{busy}/runs/{run['run_id']}/stream")
        # No file of the process may grow: what a full disk does to it, and what can be taken back.
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
        refused = client.post("/threads", json={"metadata": {"text": "x" * 100_000}})
        assert refused.status_code in (503, 507)
        assert "database" in refused.json()["detail"]
        refused = client.post(f"/threads/{kept}/runs/wait", json={"assistant_id": "counter", "input": {"n": 1}})
        assert refused.status_code in (503, 507)
        assert client.get(f"/threads/{kept}").json()["metadata"]["kept"] is True
        assert (health().status_code, health().json()["services"]) == (500, {"database": "unhealthy"})
        # Those who wait are told, and the run is none the worse for it.
        for told in (waits.told(), reads.told()):
            assert "the database refused" in told, told[-500:]
            assert "the run goes on when there is room again" in told
        assert client.get(f"/threads/{busy}/runs/{run['run_id']}").json()["status"] == "running"

        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, NO_LIMIT)
        made = client.post("/threads", json={"metadata": {"text": "x" * 100_000}})
        assert made.status_code == 200
        done = client.post(f"/threads/{kept}/runs/wait", json={"assistant_id": "counter", "input": {"n": 1}})
        assert done.json() == {"n": 2}
        assert health().json() == {"ok": True, "services": {"database": "healthy"}}
        assert client.get(f"/threads/{kept}").json()["status"] == "idle"
        assert client.post("/threads/count", json={}).json() == 3
        joined = client.get(f"/threads/{busy}/runs/{run['run_id']}/join").json()
        assert joined["done"] == [f"{number}" for number in range(STEPS)]
        assert client.get(f"/threads/{busy}/runs/{run['run_id']}").json()["status"] == "success"
        assert state()["done"] == joined["done"]
