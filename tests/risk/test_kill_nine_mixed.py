"""kill -9 amid copies, moves, deletions, updates, items and answers: each is wholly there or not at all, and none twice"""

import os
import random
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.server import Server

APP = Path(__file__).parents[1] / "apps" / "risk"
SEEDS = [int(seed) for seed in os.environ.get("THREADLOOM_SEEDS", "1").split(",")]
KILLS = int(os.environ.get("THREADLOOM_KILLS", "3"))
CALLERS = 3
GONE: Any = "gone"
"""What a thread or an item is that is not there."""


class Killed(Exception):
    """The server was killed while it was asked: what was asked may have been done, or not."""


class Caller:
    """One caller with threads and items of its own, and what each of them may be now.

    Attributes:
        maybe: for each thread and item the states that it may be in: one, or two once a request was cut off by a kill.
    """

    def __init__(self, url: str, number: int, chance: random.Random) -> None:
        self._url = url
        self._number = number
        self._chance = chance
        self.maybe: dict[str, list[Any]] = {}
        self.graph: dict[str, str] = {}
        self.answered: dict[str, str] = {}
        self.done = 0
        self.fault: BaseException | None = None

    def work(self, until: threading.Event) -> None:
        """Asks for one thing after the other until the server is killed."""
        try:
            with httpx.Client(base_url=self._url, timeout=30) as self._client:
                while not until.is_set():
                    self._once()
                    self.done += 1
        except Killed:
            pass
        except BaseException as fault:
            self.fault = fault

    def _once(self) -> None:
        counters = [one for one, graph in self.graph.items() if graph == "counter"]
        askers = [one for one, graph in self.graph.items() if graph == "asking"]
        todo: list[Callable[[], None]] = [self._new, self._item]
        if counters:
            one = self._chance.choice(counters)
            todo += [
                lambda: self._count(one),
                lambda: self._update(one),
                lambda: self._move(one),
                lambda: self._copy(one),
                lambda: self._delete(one),
            ]
        if askers:
            other = self._chance.choice(askers)
            todo += [lambda: self._answer(other), lambda: self._answer(other), lambda: self._copy(other)]
        self._chance.choice(todo)()

    def _ask(self, what: str, after: Any, method: str, path: str, body: Any = None, *, params: Any = None) -> Any:
        """Makes a request that turns a thread or an item into `after`."""
        self.maybe[what].append(after)
        try:
            answer = self._client.request(method, path, json=body, params=params)
        except httpx.TransportError as cut:
            raise Killed from cut
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        self.maybe[what] = [after]
        return answer.json() if answer.content else None

    def _new(self) -> None:
        thread, graph = str(uuid.uuid4()), self._chance.choice(["counter", "asking"])
        self.maybe[thread], self.graph[thread] = [GONE], graph
        self._ask(thread, None, "POST", "/threads", {"thread_id": thread, "metadata": {"graph_id": graph}})
        begin, after = ({"n": 1}, 2) if graph == "counter" else ({"said": []}, [])
        body = {"assistant_id": graph, "input": begin}
        self._ask(thread, after, "POST", f"/threads/{thread}/runs/wait", body)

    def _count(self, thread: str) -> None:
        """A run that adds its input and one more."""
        [now] = self.maybe[thread]
        body = {"assistant_id": "counter", "input": {"n": 10}}
        self._ask(thread, (now or 0) + 11, "POST", f"/threads/{thread}/runs/wait", body)

    def _update(self, thread: str) -> None:
        [now] = self.maybe[thread]
        body = {"values": {"n": 100}, "as_node": "inc"}
        self._ask(thread, (now or 0) + 100, "POST", f"/threads/{thread}/state", body)

    def _copy(self, thread: str) -> None:
        [now] = self.maybe[thread]
        copy = str(uuid.uuid4())
        self.maybe[copy], self.graph[copy] = [GONE], self.graph[thread]
        made = self._ask(copy, now, "POST", f"/threads/{thread}/copy", {"thread_id": copy})
        assert made["thread_id"] == copy

    def _move(self, thread: str) -> None:
        """Goes back to where an earlier run had ended, and sometimes back again."""
        [now] = self.maybe[thread]
        history = self._history(thread)
        ends = [state for state in history if not state["next"]]
        end = self._chance.choice(ends)
        reset = f"/threads/{thread}/reset"
        self._ask(thread, end["values"]["n"], "POST", reset, {"checkpoint_id": end["checkpoint_id"]})
        if self._chance.random() < 0.5:
            self._ask(thread, now, "POST", reset, {"undo": True})
            assert self._history(thread) == history

    def _history(self, thread: str) -> Any:
        try:
            answer = self._client.post(f"/threads/{thread}/history", json={"limit": 100})
        except httpx.TransportError as cut:
            raise Killed from cut
        return answer.raise_for_status().json()

    def _delete(self, thread: str) -> None:
        self.graph.pop(thread)
        self._ask(thread, GONE, "DELETE", f"/threads/{thread}")

    def _item(self) -> None:
        key = f"{self._number}-{self._chance.randrange(20)}"
        self.maybe.setdefault(key, [GONE])
        if self._chance.random() < 0.3:
            self._ask(key, GONE, "DELETE", "/store/items", {"namespace": ["mixed"], "key": key})
            return
        value = uuid.uuid4().hex
        body = {"namespace": ["mixed"], "key": key, "value": {"value": value}}
        self._ask(key, value, "PUT", "/store/items", body)

    def _answer(self, thread: str) -> None:
        """Answers the open question, by its id or without, sometimes twice. Each answer names the round that it is for."""
        [said] = self.maybe[thread]
        record = self._client_get(f"/threads/{thread}")
        [[question]] = record["interrupts"].values()
        answer = f"{question['value']} {uuid.uuid4().hex}"
        by_id = {question["id"]: answer}
        after = [*said, [question["value"], answer]]
        command = {"resume": by_id if self._chance.random() < 0.5 else answer}
        body = {"assistant_id": "asking", "command": command}
        self._ask(thread, after, "POST", f"/threads/{thread}/runs/wait", body)
        if self._chance.random() < 0.3:
            body = {"assistant_id": "asking", "command": {"resume": by_id}}
            self._ask(thread, after, "POST", f"/threads/{thread}/runs/wait", body)

    def _client_get(self, path: str) -> Any:
        try:
            answer = self._client.get(path)
        except httpx.TransportError as cut:
            raise Killed from cut
        return answer.raise_for_status().json()

    def check(self) -> None:
        """Whether everything is in a state that it may be in; from here on it is in that one."""
        with httpx.Client(base_url=self._url, timeout=30) as client:
            for what in list(self.maybe):
                found = thread_now(client, what) if len(what) == 36 else item_now(client, what)
                assert found in self.maybe[what], (what, self.graph.get(what), found, self.maybe[what])
                self.maybe[what] = [found]
                if found is GONE or found is None:
                    self.graph.pop(what, None)


def item_now(client: httpx.Client, key: str) -> Any:
    answer = client.get("/store/items", params={"namespace": "mixed", "key": key})
    found = answer.json() if answer.content else None
    return found["value"]["value"] if answer.is_success and found else GONE


def thread_now(client: httpx.Client, thread: str) -> Any:
    """What a thread says once nothing runs on it; record, state and history agree, and nothing is there twice."""
    while True:
        answer = client.get(f"/threads/{thread}")
        if answer.status_code == 404:
            assert client.post(f"/threads/{thread}/history", json={}).status_code == 404
            return GONE
        record = answer.raise_for_status().json()
        if record["status"] != "busy":
            break
        time.sleep(0.05)
    state = client.get(f"/threads/{thread}/state").raise_for_status().json()
    if record["metadata"].get("graph_id") is None or state["checkpoint"] is None:
        return None
    assert record["values"] == state["values"]
    assert record["status"] == ("interrupted" if state["next"] else "idle")
    assert [one for of_task in record["interrupts"].values() for one in of_task] == state["interrupts"]
    history = client.post(f"/threads/{thread}/history", json={"limit": 1000}).raise_for_status().json()
    ids = [one["checkpoint"]["checkpoint_id"] for one in history]
    assert len(ids) == len(set(ids))
    assert ids == sorted(ids, reverse=True)
    runs = client.get(f"/threads/{thread}/runs?limit=1000").raise_for_status().json()
    assert {run["status"] for run in runs} <= {"success"}
    values = state["values"]
    if "said" not in values:
        return values["n"]
    for number, (question, answer) in enumerate(values["said"]):
        assert question == f"round {number}"
        assert answer.startswith(f"{question} ")
    assert [one["value"] for one in state["interrupts"]] == [f"round {len(values['said'])}"]
    return values["said"]


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_amid_all_kinds_of_writes(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    server = Server(APP, tmp_path / "data").start()
    callers = [Caller(server.url, number, random.Random(f"{seed} {number}")) for number in range(CALLERS)]
    try:
        for _ in range(KILLS):
            over = threading.Event()
            working = [threading.Thread(target=caller.work, args=(over,)) for caller in callers]
            for thread in working:
                thread.start()
            before = sum(caller.done for caller in callers)
            deadline = time.monotonic() + 60
            while sum(caller.done for caller in callers) < before + 10 and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(chance.uniform(0.0, 1.0))
            server.kill()
            over.set()
            for thread in working:
                thread.join(60)
            assert [caller.fault for caller in callers if caller.fault] == []
            server.start()
            for caller in callers:
                caller.check()
        assert sum(caller.done for caller in callers) >= 10 * KILLS
    finally:
        server.kill()
