"""A worker that was paused for longer than its lease: another has taken its run over, and nothing of it lands any more."""

import json
import os
import signal
import threading
import time
from pathlib import Path

from tests import cluster
from tests.receiver import receiving
from tests.risk.cluster_tools import APP, Frame, Times, check_whole, ended, frames, rejoined, until

STEPS = 8


def test_paused_worker(tmp_path: Path, database) -> None:
    times = tmp_path / "times"
    env = {"DATABASE_URI": database, "RISK_TIMES": str(times)}
    with receiving() as receiver, cluster.running(APP, tmp_path, env=env, apis=1) as served, served.client() as client:
        thread = client.post("/threads", json={}).json()["thread_id"]
        live = client.post("/threads", json={}).json()["thread_id"]
        body = {"assistant_id": "steps", "input": {"todo": STEPS, "pause": 0.5}, "stream_resumable": True}
        run = client.post(f"/threads/{thread}/runs", json={**body, "webhook": receiver.url}).json()["run_id"]
        seen: list[Frame] = []

        def follow() -> None:
            """A reader of a run whose events are stored nowhere."""
            plain = {**body, "stream_resumable": False}
            with client.stream("POST", f"/threads/{live}/runs/stream", json=plain) as answer:
                seen.extend(frames(answer.iter_lines()))

        reader = threading.Thread(target=follow)
        reader.start()
        until(lambda: len(Times(times).spans) == 2, "both runs begun")
        until(lambda: all(len(spans) >= 2 for spans in Times(times).spans.values()), "some steps")
        paused = {pid for own in Times(times).spans for pid in Times(times).pids(own)[-1:]}
        began = time.monotonic()
        for pid in paused:
            os.kill(pid, signal.SIGSTOP)
        others = {worker.process.pid for worker in served.workers if worker.process} - paused
        if not others:
            # Each had one of the runs: the first goes on alone, and has both from then on.
            others = {paused.pop()}
            os.kill(next(iter(others)), signal.SIGCONT)
        until(lambda: set(Times(times).pids(run)[-1:]) <= others, "the run taken over")
        until(lambda: len(Times(times).spans) == 2, "both runs")
        time.sleep(max(0.0, 4.5 - (time.monotonic() - began)))
        for pid in paused:
            os.kill(pid, signal.SIGCONT)
        assert ended(client, thread, run) == "success"
        reader.join(60)
        expected = [str(step) for step in range(STEPS)]
        assert client.get(f"/threads/{thread}/state").json()["values"]["done"] == expected
        # One checkpoint a step, whoever made it.
        history = client.get(f"/threads/{thread}/history", params={"limit": 100}).json()
        lengths = [len(state["values"].get("done", [])) for state in history]
        assert sorted(set(lengths)) == list(range(STEPS + 1))
        assert lengths == sorted(lengths, reverse=True)
        replay = rejoined(client, thread, run)
        check_whole(replay, rejoined(client, thread, run))
        for told in (replay, seen):
            assert told[-1].name == "end"
            check_told(told)
        time.sleep(1)
        assert [path for path, _, _ in receiver.received] == ["/hook"]
        assert client.get(f"/threads/{live}/state").json()["values"]["done"] == expected


def check_told(told: list[Frame]) -> None:
    """Each attempt tells of its steps one after the other, and nothing of an earlier one comes after its beginning: that would be
    out of turn. It begins where the earlier ones had stored: what they told and had not stored yet is made, and told, again."""
    attempts: list[tuple[int, list[int]]] = []
    for frame in told:
        if frame.name == "metadata":
            attempts.append((json.loads(frame.data)["attempt"], []))
        elif frame.name == "values":
            attempts[-1][1].append(len(json.loads(frame.data).get("done", [])))
    numbers = [number for number, _ in attempts]
    assert numbers == list(range(1, len(numbers) + 1))
    reached = -1
    for _, counts in attempts:
        if counts:
            assert counts == list(range(counts[0], counts[0] + len(counts))), "something of the paused worker was told"
            assert counts[0] <= reached + 1, "a step was never told"
            reached = counts[-1]
    assert reached == STEPS
