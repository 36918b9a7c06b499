"""kill -9 of any of several processes under load: nothing acknowledged is lost, nothing is executed twice at once."""

import contextlib
import os
import random
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests import cluster
from tests.risk.cluster_tools import APP, Frame, Times, check_whole, ended, rejoined, until

KILLS = int(os.environ.get("THREADLOOM_KILLS", "5"))
CALLERS = 3
STEPS = 4


class Load:
    """Callers who start runs, follow them and keep items, whatever happens to the processes that they ask."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.stop = threading.Event()
        self.runs: list[tuple[str, str]] = []
        self.items: list[str] = []
        self.seen: dict[str, list[Frame]] = {}
        self.faults: list[str] = []
        self._threads = [threading.Thread(target=self._call, args=(number,)) for number in range(CALLERS)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join(120)

    def _call(self, number: int) -> None:
        made = 0
        with httpx.Client(base_url=self.url, timeout=20) as client:
            while not self.stop.is_set():
                made += 1
                try:
                    self._once(client, f"{number}-{made}")
                except httpx.TransportError:
                    continue  # whoever was asked was killed: nothing was acknowledged
                except AssertionError as fault:
                    self.faults.append(str(fault))

    def _once(self, client: httpx.Client, key: str) -> None:
        kept = client.put("/store/items", json={"namespace": ["kills"], "key": key, "value": {"key": key}})
        if kept.is_success:
            self.items.append(key)
        assert kept.status_code in (204, 503), kept.text
        thread = self._answer(client, "/threads", {"metadata": {"key": key}})
        if thread is None:
            return
        body = {
            "assistant_id": "steps",
            "input": {"todo": STEPS, "pause": 0.1},
            "stream_resumable": True,
            "metadata": {"key": key},
        }
        run = self._answer(client, f"/threads/{thread['thread_id']}/runs", body)
        if run is None:
            return
        self.runs.append((thread["thread_id"], run["run_id"]))
        self.seen[run["run_id"]] = rejoined(client, thread["thread_id"], run["run_id"])

    @staticmethod
    def _answer(client: httpx.Client, path: str, body: dict) -> dict | None:
        answer = client.post(path, json=body)
        assert answer.status_code in (200, 503), f"{path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.is_success else None


@pytest.mark.parametrize("messages", ["postgres", "redis"])
def test_killed_at_random_moments_under_load(tmp_path: Path, database, request, messages: str) -> None:
    times = tmp_path / "times"
    env = {"DATABASE_URI": database, "RISK_TIMES": str(times), "RESUMABLE_STREAM_TTL_SECONDS": "600"}
    if messages == "redis":
        env["REDIS_URI"] = request.getfixturevalue("redis_uri")
    chance = random.Random(f"{messages}{KILLS}")
    kills = (KILLS + 1) // 2 if messages == "redis" else KILLS - (KILLS + 1) // 2
    killed: dict[int, float] = {}
    with cluster.running(APP, tmp_path, env=env) as served:
        with Load(served.url) as load:
            until(lambda: len(load.runs) > CALLERS, "runs")
            for number in range(kills):
                time.sleep(chance.uniform(0.3, 1.5))
                victim = chance.choice(served.workers if number % 2 == 0 else served.apis)
                assert victim.process is not None
                pid = victim.process.pid
                victim.kill()
                killed[pid] = time.monotonic()
                victim.start()
            count = len(load.runs)
            until(lambda: len(load.runs) > count + CALLERS, "runs after the last kill")
        assert load.faults == []
        with served.client() as client:
            for thread, run in load.runs:
                assert ended(client, thread, run) == "success"
                state = client.get(f"/threads/{thread}/state").json()["values"]
                assert state["done"] == [str(step) for step in range(STEPS)]
                record = client.get(f"/threads/{thread}").json()
                assert (record["status"], record["values"]["done"]) == ("idle", state["done"])
                assert [one["run_id"] for one in client.get(f"/threads/{thread}/runs").json()] == [run]
                check_whole(load.seen[run], rejoined(client, thread, run))
            for key in load.items:
                item = client.get("/store/items", params={"namespace": "kills", "key": key}).json()
                assert item["value"] == {"key": key}
            # No run is there that nobody was told of but those whose caller lost its server while it answered.
            counted = client.post("/threads/count", json={"status": "busy"}).json()
            assert counted == 0
    Times(times).check_alone(killed)


def test_a_run_that_kills_its_worker_ends_and_takes_no_other_along(tmp_path: Path, database) -> None:
    """Three workers die of it, and are started again. Runs beside it lose time, but end well."""
    env = {"DATABASE_URI": database, "BG_JOB_MAX_RETRIES": "3"}
    with cluster.running(APP, tmp_path, env=env, apis=1, workers=2) as served, served.client() as client:
        beside = []
        for _ in range(4):
            thread = client.post("/threads", json={}).json()["thread_id"]
            body = {"assistant_id": "steps", "input": {"todo": 60, "pause": 0.2}}
            beside.append((thread, client.post(f"/threads/{thread}/runs", json=body).json()["run_id"]))
        thread = client.post("/threads", json={}).json()["thread_id"]
        poison = client.post(f"/threads/{thread}/runs", json={"assistant_id": "poison", "input": {}}).json()
        deaths = 0
        status = None
        deadline = time.monotonic() + 60
        while status != "error":
            assert time.monotonic() < deadline
            for worker in served.workers:
                if worker.process is not None and worker.process.poll() is not None:
                    deaths += 1
                    worker.start()
            with contextlib.suppress(httpx.TransportError):
                status = client.get(f"/threads/{thread}/runs/{poison['run_id']}").json()["status"]
            time.sleep(0.1)
        assert deaths == 3
        error = client.get(f"/threads/{thread}").json()["error"]
        assert error["error"] == "RunLostError"
        for other, run in beside:
            assert ended(client, other, run) == "success"
