"""`priority.path`: the user's function settles, once a thread, how urgent its runs are; waiting runs start in that order."""

import json
import time
from pathlib import Path

import httpx
import pytest

from tests.server import running
from threadloom.ids import default_assistant_id

APP = Path(__file__).parents[1] / "apps" / "priority"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running(APP, tmp_path_factory.mktemp("priority") / "data", arguments=("--jobs", "1")) as started:
        yield started


@pytest.fixture
def http(server):
    with httpx.Client(base_url=server.url, timeout=60, headers={"authorization": "somebody"}) as client:
        yield client


@pytest.fixture
def file(tmp_path):
    return tmp_path / "order"


def until(hold):
    deadline = time.monotonic() + 60
    while not (value := hold()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return value


def asked(server):
    return [json.loads(line.split("ASKED ", 1)[1]) for line in server.log().splitlines() if line.startswith("ASKED ")]


def job(file, name="job", **more):
    return {"assistant_id": "job", "input": {"name": name, "file": str(file), **more}}


def thread(http, **metadata):
    return http.post("/threads", json={"metadata": metadata}).json()["thread_id"]


def run(http, thread_id, body, **headers):
    answer = http.post(f"/threads/{thread_id}/runs", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["run_id"]


def test_waiting_runs_start_by_priority_and_then_in_the_order_they_came(http, file):
    gate = file.with_name("gate")
    run(http, thread(http), job(file, "first", until=str(gate)))
    until(lambda: file.exists())
    waiting = {"late": {"priority": 5}, "plain": None, "plain too": {}, "early": {"priority": -2}, "number": 1}
    for name, answer in waiting.items():
        run(http, thread(http, answer=answer), job(file, name))
    run(http, thread(http), job(file, "paid"), authorization="premium user")
    gate.touch()
    lines = until(lambda: len(lines := file.read_text().splitlines()) == 7 and lines)
    assert lines == ["first", "paid", "early", "plain", "plain too", "number", "late"]


def test_it_is_asked_once_a_thread_and_its_answer_holds(server, http, file):
    thread_id = thread(http, of="thread", answer={"priority": 3, "fairness_group": "g"})
    before = len(asked(server))
    for _ in range(2):
        http.get(f"/threads/{thread_id}/runs/{run(http, thread_id, {**job(file), 'metadata': {'of': 'run'}})}/join")
    http.post(f"/threads/{thread_id}/runs/wait", json=job(file))
    (told,) = asked(server)[before:]
    assert told == {
        "user": "somebody",
        "org": "o1",
        "permissions": [],
        "thread_id": thread_id,
        "thread": {"of": "thread", "answer": {"priority": 3, "fairness_group": "g"}},
        "assistant_id": default_assistant_id("job"),
        "graph_id": "job",
        "assistant": {"created_by": "system"},
        "run": {"of": "run"},
        "cron_id": None,
    }
    copy = http.post(f"/threads/{thread_id}/copy").json()["thread_id"]
    http.post(f"/threads/{copy}/runs/wait", json=job(file))
    assert [told["thread_id"] for told in asked(server)[before + 1 :]] == [copy]


def test_the_queue_says_what_each_run_waits_for(http, file):
    gate = file.with_name("gate")
    first, second, late = thread(http), thread(http, answer={"priority": -1}), thread(http, answer={"priority": 4})
    for thread_id in (first, first, late, second):
        run(http, thread_id, job(file, until=str(gate)))
    run(http, late, {**job(file), "after_seconds": 3600})
    until(lambda: file.exists())
    listed = http.get("/queue").json()
    assert [(one["thread_id"], one["status"], one["ahead"], one["attempt"]) for one in listed] == [
        (first, "running", None, 1),
        (second, "pending", 0, 0),
        (late, "pending", 1, 0),
        (first, "pending", None, 0),
        (late, "pending", None, 0),
    ]
    reasons = [one["reason"] for one in listed]
    assert reasons[:4] == [
        "A worker executes it.",
        "It waits for a free worker. It is the next run.",
        "It waits for a free worker. 1 run is before it.",
        "Another run of its thread is before it.",
    ]
    assert reasons[4].startswith("It starts in 3")
    assert listed[0]["lease_seconds"] > 0
    assert listed[0]["max_attempts"] >= 1
    of_one = http.get("/queue", params={"thread_id": late}).json()
    assert [(one["run_id"], one["ahead"]) for one in of_one] == [(listed[2]["run_id"], 1), (listed[4]["run_id"], None)]
    assert http.get("/queue", params={"limit": 0}).status_code == 422
    gate.touch()
    for thread_id in (first, second, late):
        http.delete(f"/threads/{thread_id}")


@pytest.mark.parametrize("path", ["/runs", "/runs/wait", "/runs/stream", "/runs/batch"])
def test_it_is_asked_of_runs_that_make_their_threads(server, http, file, path):
    before = len(asked(server))
    body = {**job(file), "metadata": {"m": 1}}
    answer = http.post(path, json=[body, body] if path == "/runs/batch" else body)
    assert answer.status_code == 200, answer.text
    told = asked(server)[before:]
    assert len(told) == (2 if path == "/runs/batch" else 1)
    for one in told:
        assert one["thread_id"] is None
        assert one["run"] == {"m": 1}
        assert one["thread"] == {"m": 1, "graph_id": "job", "assistant_id": default_assistant_id("job")}


def test_a_v2_run_and_a_cron_ask_it_too(server, http, file):
    before = len(asked(server))
    thread_id = thread(http)
    command = {"id": 1, "method": "run.start", "params": {"assistant_id": "job", "input": job(file)["input"]}}
    answer = http.post(f"/threads/{thread_id}/commands", json=command)
    assert answer.json()["type"] == "success", answer.text
    assert [told["thread_id"] for told in asked(server)[before:]] == [thread_id]
    body = {**job(file), "schedule": "* * * * * *", "metadata": {"by": "cron"}}
    cron = http.post("/runs/crons", json=body).json()["cron_id"]
    told = until(lambda: [told for told in asked(server)[before + 1 :] if told["cron_id"] == cron])
    http.delete(f"/runs/crons/{cron}")
    assert (told[0]["user"], told[0]["org"]) == (
        "somebody",
        None,
    )  # of a user only identity, name and permissions are kept
    assert told[0]["run"]["by"] == "cron"
    assert told[0]["thread_id"] is None


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ({"fails": True}, "failed: RuntimeError"),
        ({"answer": {"priority": 6}}, "gave the priority 6, which must be from -5 to 5"),
        ({"answer": {"priority": "high"}}, "gave a str as the priority, which must be a whole number"),
        ({"answer": {"priority": True}}, "gave a bool as the priority, which must be a whole number"),
        ({"answer": {"urgency": 1}}, "gave the unknown key 'urgency'; known are priority, fairness_group"),
        ({"answer": {"fairness_group": "g" * 257}}, "gave a fairness_group that is no text of at most 256 characters"),
        ({"answer": [1]}, "gave a list as the priority, which must be a whole number"),
    ],
)
def test_without_a_priority_there_is_no_run(server, http, file, metadata, why):
    thread_id = thread(http, **metadata)
    answer = http.post(f"/threads/{thread_id}/runs", json=job(file))
    assert answer.status_code == 500
    assert answer.json() == {"detail": f"The priority function ./urgency.py:priority {why}"}
    assert http.get(f"/threads/{thread_id}/runs").json() == []
    assert why.partition(":")[0] in server.log()
    # The next run asks again.
    http.patch(f"/threads/{thread_id}", json={"metadata": {"fails": False, "answer": None}})
    assert http.post(f"/threads/{thread_id}/runs/wait", json=job(file)).status_code == 200


def test_what_cannot_be_made_asks_nothing(server, http, file):
    before = len(asked(server))
    unknown = default_assistant_id("nothing")
    assert http.post(f"/threads/{unknown}/runs", json=job(file)).status_code == 404
    assert http.post("/runs", json={**job(file), "assistant_id": unknown}).status_code == 404
    assert asked(server)[before:] == []
