"""kill -9 at any moment: what was acknowledged is there, no ghost run, nothing doubled, the run goes on."""

import random
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.server import Server

APP = Path(__file__).parents[1] / "apps" / "risk"
FINAL = {"success", "error", "timeout", "interrupted"}
STEPS = 6


def finalize(url: str, thread_id: str, run_id: str, seconds: float = 120) -> str:
    """Waits until a run has ended; gives its status."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        status = httpx.get(f"{url}/threads/{thread_id}/runs/{run_id}").raise_for_status().json()["status"]
        if status in FINAL:
            return str(status)
        time.sleep(0.05)
    raise AssertionError("the run did not end")


def until_done(url: str, thread_id: str, at_least: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        values = httpx.get(f"{url}/threads/{thread_id}/state").json()["values"] or {}
        if len(values.get("done", [])) >= at_least:
            return
        time.sleep(0.02)
    raise AssertionError("the run does not move")


def test_run_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    server = Server(APP, tmp_path / "data", env={"RISK_JOURNAL": str(journal)}).start()
    try:
        thread = httpx.post(f"{server.url}/threads", json={}).json()["thread_id"]
        body = {"assistant_id": "steps", "input": {"todo": 8, "pause": 0.15}}
        run = httpx.post(f"{server.url}/threads/{thread}/runs", json=body).json()["run_id"]
        until_done(server.url, thread, 3)
        server.kill()
        server.start()
        began = time.monotonic()
        assert finalize(server.url, thread, run) == "success"
        # At once: the lease of the one that is gone would have lasted for 30 seconds.
        assert time.monotonic() - began < 25
        state = httpx.get(f"{server.url}/threads/{thread}/state").json()
        assert state["values"]["done"] == [str(n) for n in range(8)]
        assert httpx.get(f"{server.url}/threads/{thread}").json()["status"] == "idle"
        steps = Counter(int(line.split()[1]) for line in journal.read_text().splitlines())
        # Only the step that was under way when the process died is begun a second time.
        assert sum(steps.values()) in (8, 9)
        assert max(int(line.split()[2]) for line in journal.read_text().splitlines()) == 2
    finally:
        server.kill()


def test_used_up_attempts_end_as_error_and_leave_the_thread_usable(tmp_path: Path) -> None:
    server = Server(APP, tmp_path / "data", env={"BG_JOB_MAX_RETRIES": "2"}).start()
    try:
        thread = httpx.post(f"{server.url}/threads", json={}).json()["thread_id"]
        body = {"assistant_id": "steps", "input": {"todo": 2, "pause": 30}}
        run = httpx.post(f"{server.url}/threads/{thread}/runs", json=body).json()["run_id"]
        for _ in range(2):
            deadline = time.monotonic() + 120
            while httpx.get(f"{server.url}/threads/{thread}/runs/{run}").json()["status"] != "running":
                assert time.monotonic() < deadline
                time.sleep(0.02)
            server.kill()
            server.start()
        assert finalize(server.url, thread, run) == "error"
        record = httpx.get(f"{server.url}/threads/{thread}").json()
        assert record["status"] == "error"
        assert record["error"]["error"] == "RunLostError"
        joined = httpx.get(f"{server.url}/threads/{thread}/runs/{run}/join").json()
        assert joined["__error__"] == record["error"]
        body = {"assistant_id": "counter", "input": {"n": 1}}
        assert httpx.post(f"{server.url}/threads/{thread}/runs/wait", json=body).json() == {"n": 2}
        assert httpx.get(f"{server.url}/threads/{thread}").json()["status"] == "idle"
    finally:
        server.kill()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_nothing_acknowledged_is_lost(tmp_path: Path, seed: int) -> None:
    """Killed at random moments under load: every acknowledged thread and run is there and ends as it should, and no step
    that somebody had seen, or that the run itself had waited for (`durability: sync`), is executed or stored twice."""
    chance = random.Random(seed)
    journal = tmp_path / "journal"
    server = Server(APP, tmp_path / "data", env={"RISK_JOURNAL": str(journal)}).start()
    acknowledged: list[tuple[str, str]] = []
    seen: dict[str, int] = {}
    try:
        for _ in range(2):
            first = len(acknowledged)
            stop_at = time.monotonic() + chance.uniform(0.2, 1.0)
            with httpx.Client(base_url=server.url) as client:
                while time.monotonic() < stop_at and len(acknowledged) < first + 30:
                    number = len(acknowledged)
                    thread = client.post("/threads", json={"metadata": {"n": number}}).json()["thread_id"]
                    body = {
                        "assistant_id": "steps",
                        "input": {"todo": STEPS, "pause": 0.03},
                        "durability": "sync" if number % 3 else "async",
                    }
                    run = client.post(f"/threads/{thread}/runs", json=body).json()["run_id"]
                    acknowledged.append((thread, run))
                for thread, run in acknowledged[first:][::-1][:8]:
                    seen[run] = done_by(client, thread)
            server.kill()
            server.start()
        assert len(acknowledged) > 4
        for number, (thread, run) in enumerate(acknowledged):
            assert finalize(server.url, thread, run) == "success"
            record = httpx.get(f"{server.url}/threads/{thread}").json()
            assert (record["metadata"]["n"], record["status"]) == (number, "idle")
            assert record["values"]["done"] == [str(step) for step in range(STEPS)]
            runs = httpx.get(f"{server.url}/threads/{thread}/runs").json()
            assert [one["run_id"] for one in runs] == [run]
            history = httpx.get(f"{server.url}/threads/{thread}/history?limit=100").json()
            assert sorted(
                len(state["values"].get("done", [])) for state in history if state["next"] != ["__start__"]
            ) == [*range(STEPS + 1)]
        begun = begun_steps(journal)
        assert any(len(steps) > 1 for steps in begun.values()), "no run was killed at work"
        for number, (_, run) in enumerate(acknowledged):
            times = Counter(step for steps in begun[run].values() for step in steps)
            assert all(times[step] == 1 for step in range(seen.get(run, 0))), (begun[run], seen.get(run))
            if number % 3:
                for attempt, steps in begun[run].items():
                    following = begun[run].get(attempt + 1, steps)
                    assert following[0] >= steps[-1] or following is steps, begun[run]
    finally:
        server.kill()


def done_by(client: httpx.Client, thread: str) -> int:
    """How many steps a thread shows as done."""
    return len((client.get(f"/threads/{thread}/state").json()["values"] or {}).get("done", []))


def begun_steps(journal: Path) -> dict[str, dict[int, list[int]]]:
    """The steps that were begun, by run and attempt."""
    begun: dict[str, dict[int, list[int]]] = {}
    for line in journal.read_text().splitlines():
        run, step, attempt, _ = line.split()
        begun.setdefault(run, {}).setdefault(int(attempt), []).append(int(step))
    return begun


def test_resumable_stream_survives_the_restart(tmp_path: Path) -> None:
    server = Server(APP, tmp_path / "data").start()
    try:
        thread = httpx.post(f"{server.url}/threads", json={}).json()["thread_id"]
        body = {"assistant_id": "steps", "input": {"todo": 6, "pause": 0.15}, "stream_resumable": True}
        run = httpx.post(f"{server.url}/threads/{thread}/runs", json=body).json()["run_id"]
        until_done(server.url, thread, 2)
        server.kill()
        server.start()
        assert finalize(server.url, thread, run) == "success"
        path = f"{server.url}/threads/{thread}/runs/{run}/stream"
        replay = httpx.get(path, headers={"Last-Event-ID": "-"}).text
        ids = [line.removeprefix("id: ") for line in replay.split("\r\n") if line.startswith("id: ")]
        assert ids == sorted(set(ids), key=lambda one: tuple(map(int, one.split("-"))))
        assert '"done":["0","1","2","3","4","5"]' in replay
    finally:
        server.kill()


def test_a_command_takes_effect_once(tmp_path: Path) -> None:
    """What it writes is stored before its step begins: the next attempt must not write it once more, and still answers."""
    server = Server(APP.parent / "answers", tmp_path / "data").start()
    commands = {
        "plain": {"resume": "yes", "update": {"pause": 2, "said": ["updated"]}},
        "resting": {"update": {"pause": 0, "said": ["updated"]}, "goto": [{"node": "rest", "input": {"pause": 2}}]},
    }
    try:
        with httpx.Client(base_url=server.url, timeout=60) as http:
            threads = {graph: http.post("/threads", json={}).json()["thread_id"] for graph in commands}
            runs = {}
            for graph, thread in threads.items():
                body = {"assistant_id": graph, "input": {"said": [], "rounds": 1, "pause": 0}}
                http.post(f"/threads/{thread}/runs/wait", json=body).raise_for_status()
            for graph, thread in threads.items():
                body = {"assistant_id": graph, "command": commands[graph]}
                runs[graph] = http.post(f"/threads/{thread}/runs", json=body).json()["run_id"]
            for thread in threads.values():
                while "updated" not in http.get(f"/threads/{thread}/state").json()["values"]["said"]:
                    time.sleep(0.02)
            server.kill()
            server.start()
            states = {}
            for graph, thread in threads.items():
                assert finalize(server.url, thread, runs[graph]) == "success"
                states[graph] = http.get(f"/threads/{thread}/state").json()
        assert [one["value"] for one in states["plain"]["interrupts"]] == ["two"]
        assert states["plain"]["values"]["said"] == ["updated"]
        assert sorted(states["resting"]["values"]["said"]) == ["rested", "rested", "updated"]
    finally:
        server.kill()
