"""Values of every kind that nodes give are kept, and look alike wherever they are shown."""

import sqlite3

import httpx
import pytest

from tests.server import Server

SHOWN = {
    "float64": 1.5,
    "float32": 0.5,
    "int64": 3,
    "bool": True,
    "longdouble": 1.5,
    "nested": {"mean": 1.5, "rows": [1]},
    "datetime64": "2026-01-02T00:00:00",
    "timedelta64": 1.5,
    "array": [0, 1, 2],
    "scalar_array": 3,
    "dates": ["2026-01-02T00:00:00", None],
    "records": [[1, 2.0]],
    "objects": [1, "a", None],
    "fraction": 0.25,
    "complex": "(1+2j)",
    "range": [0, 1, 2],
    "decimal": 1.5,
    "huge": 2.0**70,
    "huge_keys": {str(2**70): 1, "a": 2, "true": 3, "2026-01-02": 4},
    "numpy_keys": {"1": "one"},
    "surrogate": {"?": 1, "2026-01-02": 2},
    "named": {"x": 1, "y": [2]},
    "send": {"node": "n", "arg": {"a": 1}},
    "address": "10.0.0.1",
    "old_model": {"a": 1},
    "generic": {"content": 1},
    "slots": {"a": 1, "unset": None},
    "moment": "2026-01-02T00:00:00",
    "zone": "Europe/Berlin",
    "pattern": "a+",
    "path": "/a/b",
    "deque": [1, 2],
    "uuid": "00000000-0000-0000-0000-000000000001",
    "bytes": ["YWI=", "YWI="],
    "enum": ["a"],
}
"""By kind (tests/apps/refused/graphs.py, `VALUES`): how it is shown."""

TYPES = {
    "float64": "float64",
    "fraction": "Fraction",
    "complex": "complex",
    "range": "range",
    "named": "Point",
    "huge": "int",
}
"""What a node finds in its state after the run has stopped: the type that was put there."""


@pytest.fixture(scope="module")
def server(tmp_path_factory, request):
    one = Server(request.config.rootpath / "tests" / "apps" / "refused", tmp_path_factory.mktemp("values") / "data")
    one.start()
    yield one
    one.kill()


@pytest.fixture(scope="module")
def http(server):
    with httpx.Client(base_url=server.url, timeout=60) as http:
        yield http


@pytest.mark.parametrize("kind", SHOWN)
def test_a_value_looks_alike_everywhere(http, kind):
    shown = SHOWN[kind]
    thread = http.post("/threads", json={}).json()["thread_id"]
    body = {"assistant_id": "holds", "input": {"kind": kind}}
    stream = http.post(f"/threads/{thread}/runs/stream", json={**body, "stream_mode": ["updates"]}).text
    [update] = [line for line in stream.splitlines() if line.startswith('data: {"put"')]
    assert httpx.Response(200, text=update.removeprefix("data: ")).json()["put"]["value"] == shown
    state = http.get(f"/threads/{thread}/state").json()
    record = http.get(f"/threads/{thread}").json()
    assert state["values"]["value"] == record["values"]["value"] == shown
    [[question]] = record["interrupts"].values()
    assert question["value"] == state["tasks"][0]["interrupts"][0]["value"] == shown
    if "surrogate" not in kind:
        item = http.get("/store/items", params={"namespace": "values", "key": kind}).json()
        assert item["value"]["value"] == shown
    output = http.post(
        f"/threads/{thread}/runs/wait", json={"assistant_id": "holds", "command": {"resume": "yes"}}
    ).json()
    assert (output["value"] == shown, output["answer"]) == (True, "yes"), output
    assert output["seen"] == TYPES.get(kind, output["seen"])


@pytest.mark.parametrize(
    "kind, words",
    [
        ("function", ("State key 'value'", "builtin_function_or_method")),
        ("cycle", ("State key 'value'", "contains itself")),
        ("deep", ("State key 'value'", "nested too deeply")),
        ("question", ("The value of an interrupt", "builtin_function_or_method")),
    ],
)
def test_what_cannot_be_stored_is_named_with_its_key(http, kind, words):
    thread = http.post("/threads", json={}).json()["thread_id"]
    body = {"assistant_id": "refuses", "input": {"kind": kind}}
    fault = http.post(f"/threads/{thread}/runs/wait", json=body).json()["__error__"]
    for word in (*words, "pickle_fallback"):
        assert word in fault["message"], fault
    state = http.get(f"/threads/{thread}/state")
    assert (state.status_code, state.json()["values"]) == (200, {"kind": kind})


@pytest.mark.parametrize("graph", ["secretive", "secretive_inside", "secretive_called"])
def test_an_untracked_channel_is_kept_nowhere(http, server, graph):
    thread = http.post("/threads", json={}).json()["thread_id"]
    body = {"assistant_id": graph, "input": {"text": "hi"}}
    modes = ["values", "updates", "tasks", "debug", "events", "checkpoints"]
    answer = http.post(
        f"/threads/{thread}/runs/stream",
        json={**body, "stream_mode": modes, "stream_resumable": True, "stream_subgraphs": True},
    )
    assert "heard 19 characters" in answer.text
    run = http.get(f"/threads/{thread}/runs").json()[0]["run_id"]
    http.post(f"/threads/{thread}/runs/wait", json=body)
    params = {"assistant_id": graph, "input": {"text": "hi"}}
    assert http.post(f"/threads/{thread}/commands", json={"id": 1, "method": "run.start", "params": params}).is_success
    while http.get(f"/threads/{thread}").json()["status"] == "busy":
        pass
    shown = [
        http.get(f"/threads/{thread}/runs/{run}/stream", headers={"last-event-id": "0-0"}).text,
        http.get(f"/threads/{thread}").text,
        http.get(f"/threads/{thread}/state", params={"subgraphs": True}).text,
        http.post(f"/threads/{thread}/history", json={}).text,
        http.get(f"/threads/{thread}/runs/{run}/join").text,
    ]
    for text in shown:
        assert "heard 19" in text
        assert "WHISPERED" not in text
    dump = "\n".join(
        line
        for file in server.data.glob("*.db")
        for line in sqlite3.connect(f"file:{file}?mode=ro", uri=True).iterdump()
    )
    found = {text: text in dump or text.encode().hex() in dump.lower() for text in ("heard 19", "WHISPERED")}
    assert found == {"heard 19": True, "WHISPERED": False}


def test_a_question_is_told_whole_whatever_untracked_keys_are_called(http):
    thread = http.post("/threads", json={}).json()["thread_id"]
    body = {"assistant_id": "secretive_asks", "input": {"text": "hi"}}
    told = http.post(
        f"/threads/{thread}/runs/stream", json={**body, "stream_mode": ["updates"], "stream_resumable": True}
    ).text
    [[question]] = http.get(f"/threads/{thread}").json()["interrupts"].values()
    assert question["value"] == "who?"
    assert f'"value":"who?","id":"{question["id"]}"' in told
    params = {"assistant_id": "secretive_asks", "input": "you"}
    assert http.post(f"/threads/{thread}/commands", json={"id": 1, "method": "run.start", "params": params}).is_success
    while http.get(f"/threads/{thread}").json()["status"] == "busy":
        pass
    record = http.get(f"/threads/{thread}").json()
    assert (record["status"], record["values"]) == ("idle", {"text": "you"})
