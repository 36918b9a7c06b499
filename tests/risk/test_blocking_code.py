"""A user's blocking code never loses a run, is named with its line, and, isolated, stalls no other request."""

import threading
import time
from pathlib import Path

import httpx

from tests.server import running

APP = Path(__file__).parents[1] / "apps" / "risk"


def hog(url: str, seconds: float) -> tuple[dict[str, object], list[float]]:
    """Runs the blocking graph; gives its output and how long each of the requests beside it took."""
    output: dict[str, object] = {}
    body = {"assistant_id": "blocking", "input": {"seconds": seconds}}

    def run() -> None:
        output.update(httpx.post(f"{url}/runs/wait", json=body, timeout=30).json())

    thread = threading.Thread(target=run)
    thread.start()
    took = []
    while thread.is_alive():
        began = time.monotonic()
        httpx.get(f"{url}/info", timeout=30)
        took.append(time.monotonic() - began)
        time.sleep(0.02)
    thread.join()
    return output, took


def test_is_named_with_its_line_and_ends_well(tmp_path: Path) -> None:
    with running(APP, tmp_path / "data") as server:
        output, _ = hog(server.url, 1.5)
        assert output["woke"] is True
        line = next(
            n for n, text in enumerate((APP / "graphs.py").read_text().splitlines(), 1) if "time.sleep(" in text
        )
        assert f"graphs.py:{line}" in server.log()


def test_isolated_loops_stall_no_other_request(tmp_path: Path) -> None:
    with running(APP, tmp_path / "data", env={"BG_JOB_ISOLATED_LOOPS": "true"}) as server:
        output, took = hog(server.url, 1.5)
        assert output["woke"] is True
        assert max(took) < 0.5
