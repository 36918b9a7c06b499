"""No run fails of its storage, however many put at once beside heavy writes, and whoever looks at the threads' frames."""

import threading
from pathlib import Path

import httpx

from tests.server import running

APP = Path(__file__).parents[1] / "apps" / "risk"
TASKS = 800
"""Tasks of one step of a run; each puts its writes, all at once."""
ROUNDS = 5


def test_soak(tmp_path: Path) -> None:
    with (
        running(APP, tmp_path / "data", env={"RISK_SAMPLER": "1"}) as server,
        httpx.Client(base_url=server.url, timeout=120) as client,
    ):
        over = threading.Event()
        wrong: list[str] = []

        def write_much() -> None:
            with httpx.Client(base_url=server.url, timeout=120) as other:
                steps = [{"updates": [{"values": {"n": 1}, "as_node": "inc"}]}] * 60
                while not over.is_set():
                    answers = [
                        other.post("/threads", json={"metadata": {"graph_id": "counter"}, "supersteps": steps}),
                        other.post("/runs/batch", json=[{"assistant_id": "counter", "input": {"n": 1}}] * 50),
                    ]
                    wrong.extend(answer.text for answer in answers if answer.status_code != 200)
                    ids = [run["thread_id"] for run in answers[1].json()][:25]
                    other.post("/threads/prune", json={"thread_ids": ids, "strategy": "keep_latest"})

        beside = threading.Thread(target=write_much)
        beside.start()
        try:
            for _ in range(ROUNDS):
                thread = client.post("/threads", json={}).json()["thread_id"]
                sends = [{"node": "inc", "input": {}}] * TASKS
                body = {"assistant_id": "counter", "command": {"goto": sends}}
                answer = client.post(f"/threads/{thread}/runs/wait", json=body)
                assert answer.json() == {"n": TASKS + 1}, answer.text[:300]
        finally:
            over.set()
            beside.join()
        assert not wrong
        assert "InterfaceError" not in server.log()
