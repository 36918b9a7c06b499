"""One slow reader of a stream stalls nobody and costs little: not the run, not other readers; it is told what it missed."""

import threading
import time
from pathlib import Path

import httpx

from tests.risk.cluster_tools import FINAL, Frame, frames, status_of
from tests.risk.test_unread_streams import APP, Unread, memory
from tests.server import running

EVENTS = 20_000
LONGEST = 1.0
"""Seconds that anybody else may have to wait on a busy machine; a server that waits for the reader takes for ever."""

GROWTH = 95
"""Megabytes that the server may grow by while 20 MB are told that nobody fetches: eight of them may wait, and the graph holds
what it has told."""


def test_slow_reader_stalls_nobody(tmp_path: Path) -> None:
    body = {"assistant_id": "firehose", "input": {"events": EVENTS, "size": 1000}, "stream_mode": ["custom"]}
    with running(APP, tmp_path / "data") as server, httpx.Client(base_url=server.url, timeout=60) as client:
        client.post("/runs/stream", json={**body, "input": {"events": 10}}).raise_for_status()
        thread = client.post("/threads", json={}).json()["thread_id"]
        before = peak = memory(server)
        heard: list[Frame] = []

        def follow() -> None:
            with httpx.stream("GET", f"{server.url}/threads/{thread}/stream", timeout=60) as answer:
                following.set()
                for frame in frames(answer.iter_lines()):
                    heard.append(frame)
                    if "run_done" in frame.data:
                        return

        following = threading.Event()
        other = threading.Thread(target=follow, daemon=True)
        other.start()
        following.wait(60)
        slow = Unread(server, "POST", f"/threads/{thread}/runs/stream", body)
        [run] = client.get(f"/threads/{thread}/runs").json()
        longest = 0.0
        status = "running"
        deadline = time.monotonic() + 60
        while status not in FINAL:
            began = time.monotonic()
            status = status_of(client, thread, run["run_id"])
            longest = max(longest, time.monotonic() - began)
            peak = max(peak, memory(server))
            assert time.monotonic() < deadline, status
            time.sleep(0.01)
        assert status == "success"
        other.join(60)
        assert [frame.name for frame in heard].count("custom") == EVENTS, "the other reader lost something"
        assert longest < LONGEST
        assert peak - before < GROWTH, f"{before:.0f} MB before, {peak:.0f} MB then"

        got = slow.rest()
        slow.close()
        assert "event: end" not in got, "a reader that missed something took the run for complete"
        assert got.count("event: custom") < EVENTS
        assert "event: error" in got
        assert "ReaderTooSlow" in got[-1000:]
        assert "is too slow: more than" in server.log()
