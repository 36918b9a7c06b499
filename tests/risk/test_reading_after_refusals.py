"""A thread can be read whatever its graph refuses of what it holds, and takes the next good input"""

import contextlib

import httpx
import pytest

from tests.postgres_server import database_in
from tests.server import Server

FOLDER = "tests/apps/refused"


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def http(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("refused")
    app = request.config.rootpath / FOLDER
    with contextlib.ExitStack() as stack:
        server = Server(app, folder / "data")
        if request.param == "postgres":
            env = {"DATABASE_URI": stack.enter_context(database_in(request.getfixturevalue("postgres_uri")))}
            server = Server(app, None, env=env, verb="serve", log=folder / "log")
        server.start()
        stack.callback(server.kill)
        with httpx.Client(base_url=server.url, timeout=120) as client:
            yield client


def new_thread(http):
    return http.post("/threads", json={}).json()["thread_id"]


def run(http, thread, graph, **body):
    return http.post(f"/threads/{thread}/runs/wait", json={"assistant_id": graph, **body}).json()


def reads(http, thread):
    """State, state with subgraphs, history, and the state of the v2 protocol: all there, with the same newest values."""
    state = http.get(f"/threads/{thread}/state")
    deep = http.get(f"/threads/{thread}/state", params={"subgraphs": True})
    history = http.post(f"/threads/{thread}/history", json={"limit": 10})
    v2 = http.post(f"/threads/{thread}/commands", json={"id": 1, "method": "state.get", "params": {}})
    for answer in (state, deep, history, v2):
        assert answer.status_code == 200, answer.text
    assert v2.json()["type"] == "success", v2.text
    record = http.get(f"/threads/{thread}").json()
    assert record["values"] == state.json()["values"] == deep.json()["values"]
    found = http.post("/threads/search", json={"ids": [thread]}).json()
    assert [one["values"] for one in found] == [record["values"]]
    return state.json(), history.json()


@pytest.mark.parametrize("body", [{"returns": 5}, {"log": 5}, {"messages": 5}, {"returns": {"a": 1}}])
def test_a_write_that_a_reducer_refuses(http, body):
    thread = new_thread(http)
    run(http, thread, "reduced", input={"log": ["first"]})
    assert "__error__" in run(http, thread, "reduced", input=body)
    state, _ = reads(http, thread)
    assert state["values"]["log"] == ["first", "ok"]
    # What was refused is its task's error, and the task is still to do.
    assert state["next"] == [task["name"] for task in state["tasks"]] == ["node" if "returns" in body else "__start__"]
    assert all(task["error"] for task in state["tasks"])
    copy = http.post(f"/threads/{thread}/copy", json={}).json()["thread_id"]
    assert reads(http, copy)[0]["values"] == state["values"]
    after = run(http, thread, "reduced", input={"log": ["second"], "returns": None})
    assert after["log"] == ["first", "ok", "second", "ok"]


def test_an_update_that_a_reducer_refuses_is_kept_nowhere(http):
    thread = new_thread(http)
    run(http, thread, "reduced", input={"log": ["first"]})
    assert run(http, thread, "reduced", command={"update": {"log": 5}})["__error__"]["error"] == "TypeError"
    assert reads(http, thread)[0]["values"]["log"] == ["first", "ok"]
    refused = http.post(f"/threads/{thread}/state", json={"values": {"log": 5}, "as_node": "node"})
    assert refused.status_code == 400, refused.text
    assert run(http, thread, "reduced", input={"log": ["second"]})["log"] == ["first", "ok", "second", "ok"]


def test_writes_that_only_together_are_refused(http):
    thread = new_thread(http)
    assert "__error__" in run(http, thread, "clashing", input={"clash": True})
    state, _ = reads(http, thread)
    assert state["next"] == ["a", "b"]
    assert all("InvalidUpdateError" in task["error"] for task in state["tasks"])
    assert "__error__" not in run(http, thread, "clashing", input={"clash": False})


@pytest.mark.parametrize("graph", ["model", "around"])
@pytest.mark.parametrize("first", [True, False])
def test_an_input_that_the_state_model_refuses(http, graph, first):
    thread = new_thread(http)
    if first:
        run(http, thread, graph, input={"phase": "a", "n": 1})
    assert "__error__" in run(http, thread, graph, input={"phase": "zzz"})
    state, _ = reads(http, thread)
    assert state["values"]["phase"] == "zzz"
    assert "validation error for Model" in state["tasks"][0]["error"]
    copy = http.post(f"/threads/{thread}/copy", json={}).json()["thread_id"]
    for one in (thread, copy):
        after = run(http, one, graph, input={"phase": "a"})
        assert after == {"phase": "a", "n": 3 if first else 1}
        reads(http, one)


def test_an_update_puts_a_state_right_that_the_model_refuses(http):
    thread = new_thread(http)
    run(http, thread, "model", input={"phase": "zzz", "n": 1})
    made = http.post(f"/threads/{thread}/state", json={"values": {"phase": "a"}, "as_node": "__start__"})
    assert made.status_code == 200, made.text
    assert run(http, thread, "model", input=None) == {"phase": "a", "n": 2}


def test_a_run_from_a_checkpoint_that_the_model_refuses(http):
    thread = new_thread(http)
    run(http, thread, "model", input={"phase": "zzz", "n": 1})
    at = reads(http, thread)[0]["checkpoint"]["checkpoint_id"]
    run(http, thread, "model", input={"phase": "a", "n": 5})
    assert run(http, thread, "model", input={"phase": "a"}, checkpoint_id=at)["n"] == 2


def test_a_state_from_before_its_model_got_a_required_field(http):
    thread = new_thread(http)
    run(http, thread, "old", input={"text": "x"})
    # Read by the new model, as after a deployment, nothing has the field; then nothing but the newest state.
    run(http, thread, "new", input={"text": "y"})
    state, _ = reads(http, thread)
    assert "owner" in state["tasks"][0]["error"]
    run(http, thread, "new", input={"text": "z", "owner": "me"})
    _, history = reads(http, thread)
    shown = [one["values"].get("text") for one in history]
    assert {"x12", "y", "z12"} <= set(shown)


def test_the_history_has_all_its_pages(http):
    thread = new_thread(http)
    for text in "abc":
        run(http, thread, "old", input={"text": text})
    run(http, thread, "new", input={"text": "d"})
    whole = http.post(f"/threads/{thread}/history", json={"limit": 100}).json()
    ids = [one["checkpoint_id"] for one in whole]
    assert len(ids) == len(set(ids)) == 14
    paged: list[str] = []
    while len(paged) < len(ids):
        before = {"before": paged[-1]} if paged else {}
        page = http.post(f"/threads/{thread}/history", json={"limit": 4, **before}).json()
        paged += [one["checkpoint_id"] for one in page]
    assert paged == ids
