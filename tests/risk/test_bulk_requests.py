"""A batch, a prune, metadata or a command is worked off beside other requests, or is refused with the limit that it is beyond."""

import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.contract.test_runs import run as made
from tests.in_process import serving
from tests.server import Server, running
from threadloom.services.requests import bounds
from threadloom.services.runs import RUNS_AT_ONCE
from threadloom.types import SYSTEM, Thread

APP = Path(__file__).parents[1] / "apps" / "risk"
RUN = {"assistant_id": "counter", "input": {"n": 1}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Executes no runs: what is tested is what making them costs."""
    folder = tmp_path_factory.mktemp("bulk")
    with running(APP, folder / "data", env={"N_JOBS_PER_WORKER": "0"}) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=120) as client:
        yield client


def keys(count: int) -> dict[str, int]:
    return {f"key{number}": number for number in range(count)}


BEYOND: dict[str, tuple[str, str, Any, str, bounds.Bound]] = {
    "batch": ("POST", "/runs/batch", [RUN] * 501, "request body", bounds.BATCH),
    "prune": ("POST", "/threads/prune", {"thread_ids": [str(uuid.uuid4())] * 5001}, "thread_ids", bounds.PRUNE),
    "thread": ("POST", "/threads", {"metadata": keys(10_001)}, "metadata", bounds.METADATA),
    "nested": ("POST", "/threads", {"metadata": {"a": [{"b": [1] * 10_000}]}}, "metadata", bounds.METADATA),
    "patch": ("PATCH", "/threads/{thread}", {"metadata": keys(10_001)}, "metadata", bounds.METADATA),
    "patches": ("PATCH", "/threads/{full}", {"metadata": {"one": "more"}}, "metadata", bounds.METADATA),
    "copy": ("POST", "/threads/{thread}/copy", {"metadata": keys(10_001)}, "metadata", bounds.METADATA),
    "run": ("POST", "/threads/{thread}/runs", {**RUN, "metadata": keys(10_001)}, "metadata", bounds.METADATA),
    "config": (
        "POST",
        "/threads/{thread}/runs",
        {**RUN, "config": {"metadata": keys(10_001)}},
        "config.metadata",
        bounds.METADATA,
    ),
    "assistant": (
        "POST",
        "/assistants",
        {"graph_id": "counter", "metadata": keys(10_001)},
        "metadata",
        bounds.METADATA,
    ),
    "cron": (
        "POST",
        "/runs/crons",
        {**RUN, "schedule": "@yearly", "metadata": keys(10_001)},
        "metadata",
        bounds.METADATA,
    ),
    "sends": (
        "POST",
        "/threads/{thread}/runs",
        {"assistant_id": "counter", "command": {"goto": [{"node": "inc", "input": {}}] * 1001}},
        "command.goto",
        bounds.GOTO,
    ),
    "update": (
        "POST",
        "/threads/{thread}/runs",
        {"assistant_id": "counter", "command": {"update": [["n", 1]] * 1001}},
        "command.update",
        bounds.UPDATES,
    ),
    "supersteps": (
        "POST",
        "/threads",
        {"supersteps": [{"updates": [{"as_node": "inc", "values": {"n": 1}}] * 501}] * 2},
        "supersteps",
        bounds.UPDATES,
    ),
}


@pytest.fixture(scope="module")
def places(server: Server) -> dict[str, str]:
    """A thread, and one with as many metadata as may be."""
    with httpx.Client(base_url=server.url, timeout=120) as client:
        made = [
            client.post("/threads", json={"metadata": metadata}).raise_for_status().json()["thread_id"]
            for metadata in ({}, keys(bounds.METADATA.most))
        ]
    return dict(zip(("thread", "full"), made, strict=True))


@pytest.mark.parametrize("name", BEYOND)
def test_what_is_beyond_a_limit_is_refused_by_name(name: str, client: httpx.Client, places: dict[str, str]) -> None:
    method, path, body, field, bound = BEYOND[name]
    before = client.get("/threads/" + places["thread"]).json()
    answer = client.request(method, path.format(**places), json=body)
    assert answer.status_code == 422
    detail = answer.json()["detail"]
    assert detail.startswith(f"{field}: ")
    assert detail.endswith(f"{bound.unit} are more than the limit of {bound.most}")
    assert len(detail) < 200
    assert client.get("/threads/" + places["thread"]).json() == before
    assert client.get(f"/threads/{places['thread']}/runs").json() == []


def beside(server: Server, path: str, work: Any) -> int:
    """Does one thing, and reads a thread again and again meanwhile. Gives how often that was answered before the thing was."""
    reading, done = threading.Event(), threading.Event()
    answered = 0

    def read() -> None:
        nonlocal answered
        with httpx.Client(base_url=server.url, timeout=120) as client:
            client.get(path).raise_for_status()
            reading.set()
            while not done.is_set():
                client.get(path).raise_for_status()
                answered += not done.is_set()

    reader = threading.Thread(target=read)
    reader.start()
    assert reading.wait(60)
    try:
        work()
    finally:
        done.set()
        reader.join()
    return answered


def test_the_largest_batch_and_the_largest_prune_keep_nobody_waiting(
    server: Server, client: httpx.Client, places: dict[str, str]
) -> None:
    """Counted: how many others are answered meanwhile. Each was answered after all of the work when it held the process up."""
    path = "/threads/" + places["thread"]

    def batch() -> None:
        made = client.post("/runs/batch", json=[RUN] * bounds.BATCH.most).raise_for_status().json()
        assert len({run["run_id"] for run in made}) == bounds.BATCH.most

    def prune() -> None:
        ids = [str(uuid.uuid4()) for _ in range(bounds.PRUNE.most)]
        assert client.post("/threads/prune", json={"thread_ids": ids}).raise_for_status().json() == {"pruned_count": 0}

    beside(server, path, batch)
    assert beside(server, path, batch) >= 3
    assert beside(server, path, prune) >= 10


@pytest.mark.anyio
async def test_many_runs_of_a_thread_are_cancelled_a_few_in_a_transaction(tmp_path: Path) -> None:
    """Of three threads, one with hundreds of runs; those that were named, those of a status, then all."""
    threads = [str(uuid.uuid4()) for _ in range(3)]
    async with serving(APP / "langgraph.json", {}, tmp_path / "data", N_JOBS_PER_WORKER="0") as (server, client, _):

        async def fill(tx: Any) -> None:
            for name in threads:
                thread = Thread(thread_id=name, created_at=1, updated_at=1, state_updated_at=1, metadata={})
                await tx.threads.insert(thread)
            for number in range(3 * RUNS_AT_ONCE):
                kwargs = {"config": {"configurable": {"graph_id": "counter"}}}
                await tx.runs.insert(made(f"r{number}", threads[number and min(number % 50, 2)], kwargs=kwargs))

        async def left() -> int:
            return sum([len(await storage.read(lambda tx, name=name: tx.runs.active(name))) for name in threads])

        storage, looked = server.storage, list[int]()
        await storage.write(fill)
        total = await left()
        runs = server.generation.services.runs
        write = storage.write

        async def counting(work: Any, **how: Any) -> Any:
            before = await left()
            result = await write(work, **how)
            looked.append(before - await left())
            return result

        storage.write = counting
        named = [f"r{3 * RUNS_AT_ONCE - 1}", "r2"]
        await runs.cancel_many(SYSTEM, status=None, thread_id=threads[2], run_ids=named)
        assert await left() == total - 2
        await runs.cancel_many(SYSTEM, status="pending", thread_id=threads[1], run_ids=None)
        await runs.cancel_many(SYSTEM, status="all", thread_id=None, run_ids=None)
        assert await left() == 0
        assert max(looked) <= RUNS_AT_ONCE
        for name in threads:
            answer = (await client.get(f"/threads/{name}")).json()
            assert answer["status"] == "idle"
