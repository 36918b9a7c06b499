"""What the risk tests of several processes share."""

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

APP = Path(__file__).parents[1] / "apps" / "risk" / "processes.json"
FINAL = {"success", "error", "timeout", "interrupted"}
PATIENCE = 120.0


def until(look: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """Looks until there is something to see."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.05)
    return found


def status_of(client: httpx.Client, thread: str, run: str) -> str:
    return str(client.get(f"/threads/{thread}/runs/{run}").raise_for_status().json()["status"])


def ended(client: httpx.Client, thread: str, run: str, seconds: float = PATIENCE) -> str:
    """Waits until a run has ended; gives its status."""

    def look() -> str | None:
        with contextlib.suppress(httpx.TransportError, httpx.HTTPStatusError):
            status = status_of(client, thread, run)
            return status if status in FINAL else None
        return None

    return str(until(look, f"the end of run {run}", seconds))


class Frame:
    """One event of a stream, as it came."""

    def __init__(self, name: str, data: str, place: tuple[int, int] | None) -> None:
        self.name = name
        self.data = data
        self.place = place


def frames(lines: Iterator[str]) -> Iterator[Frame]:
    """The events of a stream; a cut-off one at the end is left out."""
    name, data, place = "", "", None
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            data = line.removeprefix("data: ")
        elif line.startswith("id: "):
            ms, _, n = line.removeprefix("id: ").partition("-")
            place = (int(ms), int(n))
        elif not line and name:
            yield Frame(name, data, place)
            name, data, place = "", "", None


def rejoined(client: httpx.Client, thread: str, run: str, seconds: float = PATIENCE) -> list[Frame]:
    """Follows a resumable run to its end, joining again after its last event whenever the connection breaks."""
    seen: list[Frame] = []
    last = "-"
    deadline = time.monotonic() + seconds
    while not (seen and seen[-1].name == "end"):
        assert time.monotonic() < deadline, f"run {run} did not end: {[frame.name for frame in seen]}"
        with contextlib.suppress(httpx.TransportError, httpx.HTTPStatusError):
            path = f"/threads/{thread}/runs/{run}/stream"
            with client.stream("GET", path, headers={"Last-Event-ID": last}, timeout=seconds) as answer:
                answer.raise_for_status()
                for frame in frames(answer.iter_lines()):
                    seen.append(frame)
                    if frame.place is not None:
                        last = f"{frame.place[0]}-{frame.place[1]}"
        time.sleep(0.02)
    return seen


def check_whole(seen: list[Frame], stored: list[Frame]) -> None:
    """What a reader saw who joined again and again is what is stored, once and in order."""
    places = [frame.place for frame in seen]
    assert None not in places
    assert places == sorted(set(places)), "doubled, or out of order"
    assert places == [frame.place for frame in stored], "not what is stored"


class Times:
    """When which process executed which step, from the file that `RISK_TIMES` names."""

    def __init__(self, file: Path) -> None:
        self.spans: dict[str, list[tuple[float, float | None, int, int]]] = defaultdict(list)
        begun: dict[tuple[str, int, int, int], list[float]] = defaultdict(list)
        for line in file.read_text().splitlines() if file.exists() else ():
            run, number, attempt, pid, what, moment = line.split()
            key = (run, int(number), int(attempt), int(pid))
            if what == "begin":
                begun[key].append(float(moment))
            else:
                self.spans[run].append((begun[key].pop(), float(moment), int(number), int(pid)))
        for (run, number, _, pid), moments in begun.items():
            self.spans[run] += [(moment, None, number, pid) for moment in moments]

    def pids(self, run: str) -> list[int]:
        """Who executed steps of a run, in order."""
        return [pid for _, _, _, pid in sorted(self.spans[run], key=lambda span: span[0])]

    def check_alone(self, killed: dict[int, float]) -> None:
        """No step was executed while another of its run was. One that never ended did so when its process was killed."""
        for run, spans in self.spans.items():
            ends = 0.0
            for begin, end, number, pid in sorted(spans, key=lambda span: span[0]):
                assert begin >= ends, f"step {number} of run {run} began while another was executed"
                assert end is not None or pid in killed, f"step {number} of run {run} did not end"
                ends = killed[pid] if end is None else end
