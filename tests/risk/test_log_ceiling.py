"""SQLite's write-ahead log stays below 64 MB under load that never pauses, and nobody waits while it begins anew."""

import statistics
import threading
import time
from pathlib import Path

import httpx

from tests.server import running
from threadloom.storage.sqlite.wal import WriteAheadLog

APP = Path(__file__).parents[1] / "apps" / "risk"
CEILING = 64 * 1024 * 1024
TEXT = "x" * 100_000
RUN_BYTES = 80_000
"""What one run of one node may write, on a thread of its own or not."""

WAIT = 1.0
"""Seconds that no request may take: far more than beginning anew does, on a machine that has much to do."""


def test_ceiling(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(APP, data) as server:
        written, largest = [0, 0], 0
        enough = threading.Event()

        def write(number: int) -> None:
            with httpx.Client(base_url=server.url, timeout=60) as client:
                while not enough.is_set():
                    client.post("/threads", json={"metadata": {"text": TEXT}}).raise_for_status()
                    written[number] += len(TEXT)

        writers = [threading.Thread(target=write, args=(number,)) for number in range(2)]
        longest = 0.0
        with httpx.Client(base_url=server.url, timeout=60) as client:
            thread = client.post("/threads", json={}).json()["thread_id"]
            for writer in writers:
                writer.start()
            try:
                deadline = time.monotonic() + 120
                while sum(written) < 3 * CEILING and time.monotonic() < deadline:
                    largest = max(largest, *(file.stat().st_size for file in data.glob("*-wal")))
                    began = time.monotonic()
                    client.get(f"/threads/{thread}").raise_for_status()
                    client.post("/runs/wait", json={"assistant_id": "counter", "input": {"n": 1}}).raise_for_status()
                    longest = max(longest, time.monotonic() - began)
            finally:
                enough.set()
                for writer in writers:
                    writer.join()
        assert sum(written) >= 3 * CEILING
        assert 0 < largest < CEILING
        assert longest < WAIT


def test_one_run_writes_little(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(APP, data) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        thread = client.post("/threads", json={}).json()["thread_id"]
        (file,) = data.glob("*.db")
        log = WriteAheadLog(file, threading.Lock())
        for path in (f"/threads/{thread}/runs/wait", "/runs/wait"):
            written = []
            while len(written) < 9:
                before = log.size()
                client.post(path, json={"assistant_id": "counter", "input": {"n": 1}}).raise_for_status()
                time.sleep(0.1)  # what nobody waits for is stored within 50 ms
                if (more := log.size() - before) > 0:  # else it was emptied meanwhile
                    written.append(more)
            assert statistics.median(written) <= RUN_BYTES, (path, written)
        log.close()
