"""`threadloom serve --workers 2`: what becomes of the processes when one dies, cannot start, or all are to end."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.risk.cluster_tools import Times, ended, until
from tests.server import Server, free_port

GRAPHS = Path(__file__).parents[1] / "apps" / "risk" / "graphs.py"

TELLING = """
import os
from typing import TypedDict

from langgraph.graph import END, START, StateGraph

class State(TypedDict, total=False):
    pid: int

async def tell(state: State):
    return {"pid": os.getpid()}

telling = StateGraph(State).add_node("tell", tell).add_edge(START, "tell").add_edge("tell", END).compile()
"""

BROKEN = "raise RuntimeError('nobody can load this')\n"


class Supervised(Server):
    """Two processes on one port, and the one above them."""

    def __init__(self, folder: Path, database: str) -> None:
        self.times = folder / "times"
        self.module = folder / "telling.py"
        self.module.write_text(TELLING)
        config = folder / "langgraph.json"
        document = {
            "dependencies": ["."],
            "graphs": {"steps": f"{GRAPHS}:steps", "telling": f"{self.module}:telling"},
            "threadloom": {"lease_seconds": 3, "drain_seconds": 4},
        }
        config.write_text(json.dumps(document))
        temporary = folder / ("long" * 25)  # too long for the path of a socket
        temporary.mkdir()
        env = {"DATABASE_URI": database, "RISK_TIMES": str(self.times), "TMPDIR": str(temporary)}
        super().__init__(config, None, verb="serve", arguments=("--workers", "2"), env=env, log=folder / "log")

    def start(self) -> "Supervised":
        before = self.log().count("Ready.")
        self.launch()
        until(lambda: self.log().count("Ready.") > before, "both processes ready")
        return self

    def children(self) -> set[int]:
        """The process ids of those under it."""
        assert self.process is not None
        found = set()
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                _, _, fields = stat.read_text().rpartition(")")
            except OSError:
                continue  # it has just ended
            state, parent, *_ = fields.split()
            if int(parent) == self.process.pid and state != "Z":
                found.add(int(stat.parent.name))
        return found

    def executors(self) -> set[int]:
        """Who executes runs that come at the same time. Each asks over a connection of its own."""
        with ThreadPoolExecutor(10) as pool:
            return set(pool.map(lambda _: self._executor(), range(10)))

    def _executor(self) -> int:
        answer = httpx.post(f"{self.url}/runs/wait", json={"assistant_id": "telling", "input": {}}, timeout=30)
        return int(answer.raise_for_status().json()["pid"])

    def begin(self, client: httpx.Client, todo: int, pause: float) -> tuple[str, str, int]:
        """A run in the midst of its steps: thread, run, and who executes it."""
        thread = client.post("/threads", json={}).json()["thread_id"]
        body = {"assistant_id": "steps", "input": {"todo": todo, "pause": pause}}
        run = client.post(f"/threads/{thread}/runs", json=body).json()["run_id"]
        until(lambda: len(Times(self.times).spans[run]) >= 2, "some steps")
        return thread, run, Times(self.times).pids(run)[0]


@pytest.fixture
def supervised(tmp_path: Path, database: str) -> Iterator[Supervised]:
    server = Supervised(tmp_path, database)
    try:
        yield server
    finally:
        # Its children end when it is gone.
        server.kill()


def client_of(server: Server) -> httpx.Client:
    """Every request over a connection of its own: the one who answered the last may be dead."""
    return httpx.Client(base_url=server.url, headers={"connection": "close"}, timeout=30)


def refused(client: httpx.Client) -> bool:
    try:
        client.get("/live")
    except httpx.TransportError:
        return True
    return False


def runs_counted(client: httpx.Client) -> dict[str, int]:
    """How many runs of `encryption_context` each process says it has executed, as one `/metrics` tells it."""
    pattern = r'lg_api_runs_total\{graph="telling",process="(\d)",status="success"\} (\d+)'
    return {process: int(count) for process, count in re.findall(pattern, client.get("/metrics").text)}


def test_figures_are_those_of_all_whichever_is_asked(supervised: Supervised) -> None:
    server = supervised.start()
    executors = server.executors()
    with client_of(server) as client:
        told = [runs_counted(client) for _ in range(8)]
        assert told == [told[0]] * 8
        assert (len(told[0]), sum(told[0].values())) == (len(executors), 10)
        figures = [client.get("/metrics", params={"format": "json"}).json() for _ in range(8)]
        assert {json.dumps(each["api"]["runs_total"]) for each in figures} == {
            json.dumps([{"graph": "telling", "status": "success", "count": 10}])
        }
        assert {each["workers"]["max"] for each in figures} == {200}
        victim = server.children().pop()
        os.kill(victim, signal.SIGKILL)
        # Meanwhile, and when another has taken its place, whoever is asked answers.
        assert sum(runs_counted(client).values()) in (*told[0].values(), 10)
        started = re.compile(r'process_start_time_seconds\{process="\d"\}')
        until(lambda: len(started.findall(client.get("/metrics").text)) == 2, "figures of another in its place")


def test_one_that_is_killed_is_started_again_and_its_runs_end(supervised: Supervised) -> None:
    server = supervised.start()
    before = server.children()
    assert len(before) == 2
    with client_of(server) as client:
        thread, run, pid = server.begin(client, todo=10, pause=0.3)
        assert pid in before
        os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        assert client.get("/ok").status_code == 200
        assert ended(client, thread, run) == "success"
        assert len(client.get(f"/threads/{thread}/state").json()["values"]["done"]) == 10
    times = Times(server.times)
    assert len(set(times.pids(run))) == 2
    times.check_alone({pid: killed})
    [new] = until(lambda: server.children() - before, "another in its place")
    until(lambda: new in server.executors(), "runs that the new one executes")
    assert server.children() == before - {pid} | {new}
    assert server.log().count("of 2 ended (signal 9); it is started again") == 1
    # None outlives the one above.
    children = server.children()
    server.kill()
    until(lambda: not [child for child in children if Path(f"/proc/{child}").exists()], "all gone")


def test_all_end_in_order(supervised: Supervised) -> None:
    server = supervised.start()
    children = server.children()
    with client_of(server) as client:
        thread, run, pid = server.begin(client, todo=12, pause=1)
        server.tell(signal.SIGTERM)
        until(lambda: client.get("/ok").status_code == 503, "both told to stop")
        assert client.get("/live").status_code == 200
        until(lambda: refused(client), "no more requests taken")
    assert server.process is not None
    assert server.process.poll() is None, "it waits for the run"
    assert server.process.wait(60) == 0
    assert not [child for child in children if Path(f"/proc/{child}").exists()]
    # What ran came to its end where it was.
    spans = Times(server.times).spans[run]
    assert [number for _, _, number, _ in sorted(spans)] == list(range(12))
    assert {executor for *_, executor in spans} == {pid}
    server.start()
    with client_of(server) as client:
        assert ended(client, thread, run) == "success"


def test_one_that_cannot_start_again_is_tried_less_and_less_often(supervised: Supervised) -> None:
    server = supervised.start()
    before = server.children()
    server.module.write_text(BROKEN)
    victim, other = sorted(before)
    killed = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    again = "it is started again"
    until(lambda: server.log().count(again) >= 3, "some attempts")
    tries, passed = server.log().count(again), time.monotonic() - killed
    assert tries <= 2 + math.log2(passed + 1), f"{tries} in {passed:.1f} s"
    assert "of 2 ended (status 2)" in server.log()
    assert "nobody can load this" in server.log()
    with client_of(server) as client:
        assert client.get("/ok").status_code == 200
    assert server.executors() == {other}
    server.module.write_text(TELLING)
    until(lambda: server.executors() - {other}, "runs that the new one executes")


@pytest.mark.parametrize(
    ("module", "uri", "told"),
    [
        (BROKEN, None, "not all graphs can be loaded"),
        (TELLING, f"postgresql://postgres@127.0.0.1:{free_port()}/none", "cannot be reached"),
    ],
    ids=["a graph that cannot be loaded", "no database"],
)
def test_what_can_never_start_ends_at_once(
    tmp_path: Path, database: str, module: str, uri: str | None, told: str
) -> None:
    server = Supervised(tmp_path, database)
    server.module.write_text(module)
    command = [sys.executable, "-m", "threadloom", "serve", "--workers", "2", "--port", "0", "-c", str(server.app)]
    env = {**os.environ, "DATABASE_URI": uri or database}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=120)
    said = done.stdout + done.stderr
    assert done.returncode > 0, said
    assert told in said
    assert "of 2 could not start" in said
    # Each was tried once.
    assert said.count(told) <= 2, said
    assert "Ready." not in said
