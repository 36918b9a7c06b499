"""MAX_STREAM_CHUNK_SIZE_BYTES: no event is larger; who follows is told, and the run is not touched."""

import json
import re

import httpx
import pytest

from tests.server import running

CODE = """
from typing import TypedDict
from langgraph.graph import START, StateGraph

class State(TypedDict, total=False):
    size: int
    text: str

def grow(state):
    return {"text": "x" * state["size"]}

def shrink(state):
    return {"text": "small"}

graph = StateGraph(State).add_node(grow).add_node(shrink).add_edge(START, "grow").add_edge("grow", "shrink").compile()
"""


@pytest.fixture(scope="module")
def http(tmp_path_factory):
    folder = tmp_path_factory.mktemp("size")
    (folder / "agent.py").write_text(CODE)
    (folder / "langgraph.json").write_text(json.dumps({"dependencies": ["."], "graphs": {"agent": "./agent.py:graph"}}))
    with (
        running(folder, folder / "data", env={"MAX_STREAM_CHUNK_SIZE_BYTES": "1000"}) as server,
        httpx.Client(base_url=server.url, timeout=30) as client,
    ):
        yield client


def events(answer):
    """Name and data of each event."""
    found = re.findall(r"event: (.+)\n(?:id: .+\n)?data: (.*)\n", answer.text.replace("\r", ""))
    return [(name, json.loads(data)) for name, data in found]


@pytest.mark.parametrize("resumable", [False, True])
def test_an_error_stands_where_a_larger_event_would(http, resumable):
    body = {"assistant_id": "agent", "input": {"size": 2000}, "stream_mode": "updates", "stream_resumable": resumable}
    thread_id = http.post("/threads", json={}).json()["thread_id"]
    answer = http.post(f"/threads/{thread_id}/runs/stream", json=body)
    told = dict(events(answer))
    assert told["error"]["error"] == "EventTooLarge"
    assert "MAX_STREAM_CHUNK_SIZE_BYTES allows 1000" in told["error"]["message"]
    assert told["updates"] == {"shrink": {"text": "small"}}
    (run,) = http.get(f"/threads/{thread_id}/runs").json()
    assert run["status"] == "success"
    assert http.get(f"/threads/{thread_id}/state").json()["values"]["text"] == "small"


def test_what_is_within_the_limit_passes(http):
    body = {"assistant_id": "agent", "input": {"size": 900}, "stream_mode": "updates"}
    names = [name for name, _ in events(http.post("/runs/stream", json=body))]
    assert names == ["metadata", "updates", "updates"]


def test_who_only_waits_gets_all(http):
    body = {"assistant_id": "agent", "input": {"size": 2000}, "interrupt_after": ["grow"]}
    assert len(http.post("/runs/wait", json=body).json()["text"]) == 2000


def test_channels_of_v2_runs_have_the_same_limit(http):
    thread_id = http.post("/threads", json={}).json()["thread_id"]
    start = {"id": 1, "method": "run.start", "params": {"assistant_id": "agent", "input": {"size": 2000}}}
    http.post(f"/threads/{thread_id}/commands", json=start).raise_for_status()
    told = []
    with http.stream(
        "POST", f"/threads/{thread_id}/stream/events", json={"channels": ["updates", "lifecycle"]}
    ) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: "):
                told.append(json.loads(line[6:]))
                if told[-1]["params"]["data"].get("event") == "completed":
                    break
    updates = [event["params"]["data"] for event in told if event["method"] == "updates"]
    assert updates[0]["__error__"]["error"] == "EventTooLarge"
    assert "small" in str(updates[1])
