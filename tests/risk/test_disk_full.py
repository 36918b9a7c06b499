"""A disk that takes no more: a clear error, nothing lost, service again when there is room."""

import resource
from pathlib import Path

import httpx

from tests.server import running

APP = Path(__file__).parents[1] / "apps" / "risk"
NO_LIMIT = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


def test_disk_full(tmp_path: Path) -> None:
    with running(APP, tmp_path / "data") as server, httpx.Client(base_url=server.url) as client:
        assert server.process is not None
        kept = client.post("/threads", json={"metadata": {"kept": True}}).json()["thread_id"]
        # No file of the process may grow: what a full disk does to it, and what can be taken back.
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
        refused = client.post("/threads", json={"metadata": {"text": "x" * 100_000}})
        assert refused.status_code in (503, 507)
        assert "database" in refused.json()["detail"]
        run = client.post(f"/threads/{kept}/runs/wait", json={"assistant_id": "counter", "input": {"n": 1}})
        assert run.status_code in (503, 507)
        assert client.get(f"/threads/{kept}").json()["metadata"]["kept"] is True
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, NO_LIMIT)
        made = client.post("/threads", json={"metadata": {"text": "x" * 100_000}})
        assert made.status_code == 200
        run = client.post(f"/threads/{kept}/runs/wait", json={"assistant_id": "counter", "input": {"n": 1}})
        assert run.json() == {"n": 2}
        assert client.get(f"/threads/{kept}").json()["status"] == "idle"
        assert client.post("/threads/count", json={}).json() == 2
