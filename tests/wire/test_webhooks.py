"""Webhooks through the public face: told, signed, found in the log, told again; and nothing secret on the way."""

import base64
import hashlib
import hmac
import json
import re
import sqlite3
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests import forkserver
from tests.receiver import receiving
from tests.server import running

APP = Path(__file__).parents[1] / "apps" / "hooks"
DOCS = Path(__file__).parents[2] / "docs" / "webhooks.md"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running(APP, tmp_path_factory.mktemp("hooks") / "data") as server:
        yield server


@pytest.fixture
def http(server):
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


def make_run(http, webhook, graph="counter", **more):
    thread_id = http.post("/threads", json={}).json()["thread_id"]
    body = {"assistant_id": graph, "input": {"n": 1}, "webhook": webhook, **more}
    return http.post(f"/threads/{thread_id}/runs", json=body).raise_for_status().json()


def delivery_of(http, run, hold=lambda one: one["status"] != "pending"):
    """The delivery of a run, once it is as it should be."""
    deadline = time.monotonic() + 120
    while True:
        found = http.get("/webhooks/deliveries", params={"run_id": run["run_id"]}).raise_for_status().json()
        if found and hold(found[0]):
            return found[0]
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


def command(server, *words):
    words = [sys.executable, "-m", "threadloom", "webhooks", *words, "--url", server.url]
    done = forkserver.run(words, timeout=60)
    return done.returncode, done.stdout, done.stderr


def test_the_example_of_the_documentation_verifies_a_delivery(http):
    code = re.search(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)[1]
    names = {}
    exec(code, names)
    with receiving() as receiver:
        make_run(http, receiver.url)
        [(_, headers, body)] = receiver.wait(1)
    names["verify"](b"hidden-secret", headers, body)
    with pytest.raises(ValueError, match="not signed"):
        names["verify"](b"another", headers, body)
    with pytest.raises(ValueError, match="not signed"):
        names["verify"](b"hidden-secret", headers, body + b" ")
    old = headers | {"webhook-timestamp": "1"}
    signed = b".".join([headers["webhook-id"].encode(), b"1", body])
    digest = hmac.digest(b"hidden-secret", signed, hashlib.sha256)
    with pytest.raises(ValueError, match="too old"):
        names["verify"](b"hidden-secret", old | {"webhook-signature": "v1," + base64.b64encode(digest).decode()}, body)


def test_what_was_told_is_in_the_log(http):
    with receiving() as receiver:
        run = make_run(http, receiver.url + "?key=hidden-query")
        [(path, headers, body)] = receiver.wait(1)
        delivery = delivery_of(http, run)
    assert path == "/hook?key=hidden-query"
    assert headers["webhook-id"] == delivery["delivery_id"]
    assert (delivery["thread_id"], delivery["status"], delivery["url"]) == (run["thread_id"], "delivered", receiver.url)
    assert [(one["status"], one["error"]) for one in delivery["tries"]] == [(200, None)]
    assert (delivery["next_try_at"], delivery["tries_left"]) == (None, 0)
    whole = http.get(f"/webhooks/deliveries/{delivery['delivery_id']}").json()
    told = json.loads(body)
    del told["webhook_sent_at"]
    assert whole == {**delivery, "payload": told}
    listed = http.get("/webhooks/deliveries", params={"thread_id": run["thread_id"], "limit": 1})
    assert listed.json() == [delivery]
    assert listed.headers["x-pagination-total"] == "1"


def test_secrets_stay_out_of_payloads_the_log_and_the_database(http, server):
    secrets = ("hidden-header", "hidden-secret", "hidden-token")
    with receiving() as receiver:
        http.headers["Authorization"] = "Bearer hidden-token"
        http.headers["X-Team"] = "blue"
        run = make_run(http, receiver.url)
        [(_, headers, body)] = receiver.wait(1)
        delivery_of(http, run)
    assert headers["x-key"] == "hidden-header"
    assert b"blue" in body
    assert "hidden-header" in APP.joinpath("langgraph.json").read_text()
    database = sqlite3.connect(f"file:{server.data / 'threadloom.db'}?mode=ro", uri=True)
    rows = repr(database.execute("SELECT * FROM deliveries").fetchall())
    database.close()
    for secret in secrets:
        assert secret.encode() not in body
        assert secret not in rows
        assert secret not in server.log()


def test_a_receiver_that_is_down_can_be_told_later(http, server):
    with receiving(500) as receiver:
        run = make_run(http, receiver.url, graph="failing")
        pending = delivery_of(http, run, lambda one: len(one["tries"]) >= 1)
        assert (pending["status"], pending["tries"][0]["error"]) == ("pending", "it answered 500")
        assert pending["next_try_at"] > pending["updated_at"]
        assert http.get(f"/threads/{run['thread_id']}/runs/{run['run_id']}").json()["status"] == "error"
        # Three quick tries, then a pause that this test need not wait for.
        waiting = delivery_of(http, run, lambda one: len(one["tries"]) == 3)
        assert waiting["tries_left"] == 1
        status, told, _ = command(server, "list", "--status", "pending", "--run", run["run_id"])
        assert status == 0
        assert waiting["delivery_id"] in told
        assert "it answered 500" in told
    with receiving(port=receiver.port) as receiver:
        status, told, _ = command(server, "redeliver", waiting["delivery_id"])
        assert (status, told.strip()) == (0, waiting["delivery_id"])
        [(_, headers, body)] = receiver.wait(1)
        done = delivery_of(http, run)
    assert headers["webhook-id"] == waiting["delivery_id"]
    assert json.loads(body)["error"] == {"error": "ValueError", "message": "ouch"}
    assert (done["status"], len(done["tries"])) == ("delivered", 4)
    status, told, _ = command(server, "list", "--json", "--thread", run["thread_id"])
    assert [json.loads(line) for line in told.splitlines()] == [done]


def test_a_stateless_run_is_told_and_found_though_its_thread_is_gone(http):
    with receiving() as receiver:
        http.post("/runs/wait", json={"assistant_id": "counter", "input": {"n": 1}, "webhook": receiver.url})
        [(_, _, body)] = receiver.wait(1)
        told = json.loads(body)
        delivery_of(http, told)
    assert told["values"] == {"n": 2}


def test_a_receiver_is_told_the_whole_state_of_a_stateless_run_too(http):
    with receiving() as receiver:
        asked = {"assistant_id": "narrow", "input": {"n": 1}, "webhook": receiver.url}
        assert http.post("/runs/wait", json=asked).json() == {"twice": 2}
        thread = http.post("/threads", json={}).json()["thread_id"]
        http.post(f"/threads/{thread}/runs/wait", json=asked)
        told = [json.loads(body)["values"] for _, _, body in receiver.wait(2)]
    assert told == [{"n": 1, "twice": 2}] * 2


@pytest.mark.parametrize(("path", "thread"), [("/runs/wait", False), ("/runs/wait", True)], ids=str)
def test_a_failed_run_is_told_with_its_whole_state(http, path, thread):
    with receiving() as receiver:
        if thread:
            path = f"/threads/{http.post('/threads', json={}).json()['thread_id']}{path}"
        http.post(path, json={"assistant_id": "failing", "input": {"n": 7}, "webhook": receiver.url})
        [(_, _, body)] = receiver.wait(1)
    told = json.loads(body)
    assert (told["values"], told["error"]) == ({"n": 7}, {"error": "ValueError", "message": "ouch"})


def test_what_was_asked_for_is_told_though_a_node_changed_it_in_place(http):
    with receiving() as receiver:
        run = make_run(http, receiver.url, "careless", input={"items": ["given"]})
        [(_, _, body)] = receiver.wait(1)
        delivery_of(http, run)
    told = json.loads(body)
    assert told["kwargs"]["input"] == {"items": ["given"]}
    assert told["values"] == {"items": ["given", "put in by the node"]}


def test_a_relative_url_is_called_in_the_process(http):
    run = make_run(http, "/own/hook")
    delivery_of(http, run)
    [told] = [one for one in http.get("/own/hook").json() if one["body"]["run_id"] == run["run_id"]]
    assert told["host"] == "localhost"


def test_what_is_deleted_takes_its_deliveries_along(http):
    with receiving() as receiver:
        first, second = make_run(http, receiver.url), make_run(http, receiver.url)
        delivery_of(http, first)
        delivery_of(http, second)
    http.delete(f"/threads/{first['thread_id']}").raise_for_status()
    http.delete(f"/threads/{second['thread_id']}/runs/{second['run_id']}").raise_for_status()
    for run in (first, second):
        assert http.get("/webhooks/deliveries", params={"run_id": run["run_id"]}).json() == []


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/webhooks/deliveries?status=lost", 422, "status"),
        ("/webhooks/deliveries?run_id=1", 422, "run ID"),
        ("/webhooks/deliveries?thread_id=1", 422, "thread ID"),
        ("/webhooks/deliveries?limit=0", 422, "limit"),
        ("/webhooks/deliveries?limit=1001", 422, "limit"),
        ("/webhooks/deliveries?offset=-1", 422, "offset"),
        ("/webhooks/deliveries/1", 422, "delivery ID"),
        ("/webhooks/deliveries/01a20be8-681c-74a1-ade6-26e7b55ceb54", 404, "Delivery"),
    ],
)
def test_bad_questions_are_refused(http, path, status, said):
    answer = http.get(path)
    assert answer.status_code == status
    assert said in answer.text


def test_telling_again_what_is_not_there_is_refused(http, server):
    unknown = "01a20be8-681c-74a1-ade6-26e7b55ceb54"
    assert http.post(f"/webhooks/deliveries/{unknown}/redeliver").status_code == 404
    status, _, told = command(server, "redeliver", unknown)
    assert status == 1
    assert "404" in told


def test_info_announces_the_log(http):
    assert http.get("/info").json()["flags"]["webhook_deliveries"] is True
