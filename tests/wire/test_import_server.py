"""`threadloom import --from-url`: what one server shows through its public routes goes on in another."""

import sys

import httpx
import pytest
from langgraph_sdk import get_client

from tests import forkserver
from tests.server import running
from tests.wire.test_import_checkpoints import APP

pytestmark = pytest.mark.anyio


def bring(url, data, *words, status=0):
    command = [sys.executable, "-m", "threadloom", "import", "--from-url", url, *words]
    command += ["--config", str(APP / "langgraph.json"), "--data", str(data)]
    done = forkserver.run(command, timeout=60)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A server with a thread that asks, one with a fork and a user's update, an assistant, a cron and items."""
    with running(APP, tmp_path_factory.mktemp("source") / "data") as server:
        with httpx.Client(base_url=server.url, timeout=30) as http:

            def post(path, **body):
                answer = http.post(path, json=body)
                assert answer.is_success, answer.text
                return answer.json() if answer.content else None

            def thread(graph, **value):
                thread_id = post("/threads", metadata={"mark": graph})["thread_id"]
                post(f"/threads/{thread_id}/runs/wait", assistant_id=graph, input=value)
                return thread_id

            ids = {"ask": thread("ask", path=["s"]), "chain": thread("chain", path=["p"])}
            chain = ids["chain"]
            earlier = post(f"/threads/{chain}/history", limit=3)[-1]["checkpoint"]
            post(f"/threads/{chain}/state", values={"path": ["fork"]}, as_node="a", checkpoint=earlier)
            post(f"/threads/{chain}/runs/wait", assistant_id="chain", input={"path": ["again"]})
            ids["empty"] = post("/threads", metadata={"mark": "empty"})["thread_id"]
            assistant = post("/assistants", graph_id="chain", name="Mine", metadata={"n": 1})["assistant_id"]
            http.patch(f"/assistants/{assistant}", json={"name": "Mine again"})
            ids["assistant"] = assistant
            cron = post(
                f"/threads/{chain}/runs/crons", assistant_id="chain", schedule="0 0 1 1 *", input={"path": ["c"]}
            )
            ids["cron"] = cron["cron_id"]
            for number in range(3):
                item = {"namespace": ["notes", f"n{number % 2}"], "key": str(number), "value": {"n": number}}
                assert http.put("/store/items", json=item).is_success
        yield server, ids


async def histories(url, *threads):
    client = get_client(url=url)
    return [await client.threads.get_history(thread, limit=100) for thread in threads]


async def test_histories_are_the_same_and_questions_can_be_answered(source, tmp_path):
    server, ids = source
    told = bring(server.url, tmp_path)
    assert "3 threads with " in told and "1 assistants, 1 crons and 3 items" in told
    expected = await histories(server.url, ids["ask"], ids["chain"])
    assert len(expected[1]) > 9
    with running(APP, tmp_path) as here:
        assert await histories(here.url, ids["ask"], ids["chain"]) == expected
        client = get_client(url=here.url)
        asked = await client.threads.get(ids["ask"])
        assert (asked["status"], asked["metadata"]["mark"]) == ("interrupted", "ask")
        answered = await client.runs.wait(ids["ask"], "ask", command={"resume": "yes"})
        assert answered["path"] == ["s", "a", "yes", "z"]
        assert (await client.threads.get(ids["empty"]))["metadata"]["mark"] == "empty"


async def test_assistants_crons_and_items_come_along(source, tmp_path):
    server, ids = source
    bring(server.url, tmp_path)
    with running(APP, tmp_path) as here:
        there, client = get_client(url=server.url), get_client(url=here.url)
        for read in (
            lambda one: one.assistants.get(ids["assistant"]),
            lambda one: one.assistants.get_versions(ids["assistant"]),
            lambda one: one.crons.search(),
        ):
            assert await read(client) == await read(there)
        found = (await client.store.search_items(("notes",), limit=10))["items"]
        assert sorted((*one["namespace"], one["key"], one["value"]["n"]) for one in found) == [
            ("notes", "n0", "0", 0),
            ("notes", "n0", "2", 2),
            ("notes", "n1", "1", 1),
        ]


def test_what_is_here_stays_and_one_thread_can_be_asked_for(source, tmp_path):
    server, ids = source
    assert "1 threads with 3 checkpoints, 0 assistants" in bring(server.url, tmp_path, "--thread", ids["ask"])
    told = bring(server.url, tmp_path)
    assert "2 threads with " in told and "1 threads were there already" in told
    assert "0 threads with 0 checkpoints, 0 assistants, 0 crons and 0 items" in bring(server.url, tmp_path)


def test_what_cannot_be_is_said(source, tmp_path):
    server, _ = source
    assert "no answer from" in bring("http://127.0.0.1:9", tmp_path, status=1)
    missing = "00000000-0000-4000-8000-000000000000"
    assert "answered 404" in bring(server.url, tmp_path, "--thread", missing, status=1)
    assert "must be NAME: VALUE" in bring(server.url, tmp_path, "--header", "nothing", status=2)
    assert "--graph belongs to" in bring(server.url, tmp_path, "--graph", "chain", status=2)
