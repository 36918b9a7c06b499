"""A user's blocking code never loses a run, is named with its line, and, isolated, stalls no other request."""

import signal
import threading
import time
from pathlib import Path
from typing import Any

import httpx

from tests.server import Server, running

APP = Path(__file__).parents[1] / "apps" / "risk"
BLOCKED = 3.0
"""Seconds that the graph blocks: far more than any request beside it may take on a machine that has much to do."""


def beside_a_blocking_run(server: Server) -> dict[str, float]:
    """Runs the blocking graph to its good end; gives the longest time of each kind of request beside it, in seconds."""
    ended: list[Any] = []
    body = {"assistant_id": "blocking", "input": {"seconds": BLOCKED}}
    post = httpx.Client(base_url=server.url, timeout=60).post
    thread = threading.Thread(target=lambda: ended.append(post("/runs/wait", json=body).json()))
    requests = {
        "read": lambda client: client.get("/info"),
        "write": lambda client: client.post("/threads", json={}),
        "run": lambda client: client.post("/runs/wait", json={"assistant_id": "counter", "input": {"n": 1}}),
    }
    longest = dict.fromkeys(requests, 0.0)
    with httpx.Client(base_url=server.url, timeout=60) as client:
        thread.start()
        while thread.is_alive():
            for kind, request in requests.items():
                began = time.monotonic()
                request(client).raise_for_status()
                longest[kind] = max(longest[kind], time.monotonic() - began)
            time.sleep(0.02)
    thread.join()
    assert ended == [{"seconds": BLOCKED, "woke": True}]
    return longest


def blocking_line() -> int:
    lines = (APP / "graphs.py").read_text().splitlines()
    return next(number for number, text in enumerate(lines, 1) if "time.sleep(" in text)


def test_is_named_with_its_line_and_ends_well(tmp_path: Path) -> None:
    with running(APP, tmp_path / "data") as server:
        # On the loop that serves, it does hold the others up: what is measured here is measured rightly.
        assert max(beside_a_blocking_run(server).values()) > BLOCKED / 2
        assert server.log().count(f"graphs.py:{blocking_line()} has blocked the server") == 1


def test_isolated_it_stalls_no_read_no_write_and_no_other_run(tmp_path: Path) -> None:
    with running(APP, tmp_path / "data", env={"BG_JOB_ISOLATED_LOOPS": "true"}) as server:
        longest = beside_a_blocking_run(server)
        assert max(longest.values()) < BLOCKED / 6, longest
        assert "has blocked the server" not in server.log()


def test_a_process_that_was_stopped_blames_the_machine_and_no_line(tmp_path: Path) -> None:
    with running(APP, tmp_path / "data") as server:
        deadline = time.monotonic() + 60
        while "the machine is busy" not in server.log():
            # More than once: when the loop gets a processor before the thread that watches it, there is nothing to be seen.
            assert time.monotonic() < deadline, server.log()
            server.tell(signal.SIGSTOP)
            time.sleep(2)
            server.tell(signal.SIGCONT)
            time.sleep(0.5)
        assert "has blocked the server" not in server.log()
