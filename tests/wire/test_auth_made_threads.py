"""Threads that runs make, and maps of threads: who may not make threads or read copies gets none by a side door.

See docs/contract/auth.md#what-each-route-asks.
"""

import asyncio
import json
import uuid
from pathlib import Path

import pytest

from tests.server import running
from tests.users import User

pytestmark = pytest.mark.anyio

APP = Path(__file__).parents[1] / "apps" / "auth"
RUN = {"assistant_id": "plain", "input": {"texts": ["a"]}}
REFUSED = {"raise": [403, "no threads for you"]}
MESSAGE = {"messageId": "m", "role": "user", "parts": [{"kind": "data", "data": {"texts": ["x"]}}]}


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    env = {"CRON_SCHEDULER_SLEEP_TIME": "0.1"}
    with running(APP, tmp_path_factory.mktemp("made") / "data", env=env) as server:
        yield server.url


@pytest.fixture
async def ann(url):
    user = User(url)
    yield user
    await user.close()


def ways():
    """Every way in which a run makes a thread that stays: path and body."""
    created, kept = {**RUN, "if_not_exists": "create"}, {**RUN, "on_completion": "keep"}
    start = {"id": 1, "method": "run.start", "params": RUN}
    send = {"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": {"message": MESSAGE}}
    yield from (("/threads/{thread}/runs" + path, created) for path in ("", "/wait", "/stream"))
    yield from ((f"/runs{path}", kept) for path in ("", "/wait", "/stream"))
    yield "/runs/batch", [RUN, kept]
    yield "/threads/{thread}/commands", start
    yield "/a2a/{assistant}", send
    yield "/a2a/{assistant}", {**send, "method": "message/stream"}


async def count(user):
    return (await user.http.post("/threads/count", json={})).json()


@pytest.mark.parametrize(("path", "body"), list(ways()), ids=lambda part: part if isinstance(part, str) else "")
async def test_whom_threads_create_refuses_gets_no_thread_by_a_run(ann, path, body):
    refused = ann.told(threads__create=REFUSED)
    assistant = (await ann.http.post("/assistants", json={"graph_id": "plain"})).json()["assistant_id"]
    answer = await refused.http.post(path.format(thread=uuid.uuid4(), assistant=assistant), json=body)
    told = "Access denied" if "/a2a/" in path else "no threads for you"
    assert told in answer.text, answer.text
    assert await count(ann) == 0
    await refused.close()


async def test_he_runs_on_threads_that_are_there_and_statelessly(ann):
    thread = await ann.thread()
    refused = ann.told(threads__create=REFUSED)
    for path, body in (
        (f"/threads/{thread}/runs/wait", {**RUN, "if_not_exists": "create"}),
        (f"/threads/{thread}/commands", {"id": 1, "method": "run.start", "params": RUN}),
        ("/runs/wait", RUN),
        ("/runs/batch", [RUN]),
    ):
        answer = await refused.http.post(path, json=body)
        assert answer.status_code == 200, answer.text
        assert '"error"' not in answer.text
    tool = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "plain", "arguments": {"texts": ["a"]}},
    }
    assert "no threads for you" not in (await refused.http.post("/mcp", json=tool)).text
    async with asyncio.timeout(60):
        while await count(ann) > 1:  # the temporary threads go when their runs have ended
            await asyncio.sleep(0.05)
    await refused.close()


@pytest.mark.parametrize(
    ("path", "body", "asked"),
    [
        ("/threads/{new}/runs", {**RUN, "if_not_exists": "create"}, ["threads.create_run", "threads.create"]),
        ("/threads/{new}/runs", RUN, ["threads.create_run"]),
        ("/threads/{there}/runs", {**RUN, "if_not_exists": "create"}, ["threads.create_run"]),
        ("/runs", {**RUN, "on_completion": "keep"}, ["threads.create_run", "threads.create"]),
        ("/runs", RUN, ["threads.create_run"]),
    ],
)
async def test_who_is_asked_and_with_what(ann, path, body, asked):
    there = await ann.thread()
    await ann.asked()
    await ann.http.post(path.format(new=uuid.uuid4(), there=there), json={**body, "metadata": {"x": 1}})
    questions = await ann.asked()
    assert [one["of"] for one in questions] == asked
    for one in questions[1:]:
        assert one["value"].keys() == {"thread_id", "metadata", "if_exists"}
        assert one["value"]["metadata"] == {"x": 1, "owner": ann.identity}


async def test_he_cannot_tell_a_thread_of_another_from_none(ann, url):
    other = User(url, "bob")
    refused = ann.told(threads__create=REFUSED)
    body = {**RUN, "if_not_exists": "create"}
    answers = [
        await refused.http.post(f"/threads/{thread}/runs/wait", json=body)
        for thread in (await other.thread(), uuid.uuid4())
    ]
    assert answers[0].status_code == answers[1].status_code == 403
    assert answers[0].content == answers[1].content
    for user in (other, refused):
        await user.close()


async def test_the_metadata_that_the_handler_leaves_are_the_threads(ann):
    stamped = {"set": {"metadata": {"stamp": "thread", "owner": ann.identity}}, "give": {"owner": ann.identity}}
    run_of = {"set": {"metadata": {"stamp": "run", "owner": ann.identity}}}
    user = ann.told(threads__create=stamped, threads__create_run=run_of)
    thread = str(uuid.uuid4())
    answer = await user.http.post(
        f"/threads/{thread}/runs", json={**RUN, "if_not_exists": "create", "metadata": {"x": 1}}
    )
    assert answer.json()["metadata"]["stamp"] == "run"
    kept = (await user.http.post("/runs", json={**RUN, "on_completion": "keep"})).json()["thread_id"]
    for one in (thread, kept):
        metadata = (await ann.http.get(f"/threads/{one}")).json()["metadata"]
        assert (metadata["stamp"], metadata["owner"], metadata["graph_id"]) == ("thread", ann.identity, "plain")
    await user.close()


async def test_a_cron_that_keeps_its_threads_is_refused_them_when_it_fires(ann, url):
    refused = User(url, identity=ann.identity, permissions=("no threads.create",))
    cron = {**RUN, "schedule": "* * * * * *", "on_run_completed": "keep"}
    cron_id = (await refused.http.post("/runs/crons", json=cron)).json()["cron_id"]
    try:
        async with asyncio.timeout(60):
            while (error := (await ann.http.get(f"/runs/crons/{cron_id}")).json()["last_error"]) is None:
                await asyncio.sleep(0.1)
        assert "no threads.create for you" in json.dumps(error)
        assert await count(ann) == 0
    finally:
        await ann.http.delete(f"/runs/crons/{cron_id}")
        await refused.close()


async def test_it_can_be_left_to_create_run_alone(tmp_path):
    app = tmp_path / "app"
    app.mkdir()
    (app / "access.py").write_text((APP / "access.py").read_text())
    config = json.loads((APP / "langgraph.json").read_text()) | {"threadloom": {"auth": {"implicit_threads": "run"}}}
    (app / "langgraph.json").write_text(json.dumps(config))
    with running(app, tmp_path / "data") as server:
        ann = User(server.url)
        refused = ann.told(threads__create=REFUSED)
        await refused.http.post(f"/threads/{uuid.uuid4()}/runs/wait", json={**RUN, "if_not_exists": "create"})
        await refused.http.post("/runs/wait", json={**RUN, "on_completion": "keep"})
        assert await count(ann) == 2
        for user in (ann, refused):
            await user.close()


async def test_a_map_names_no_copies_that_the_caller_may_not_read(url, ann):
    """Neither those of others, nor those that the handler refuses."""
    thread = await ann.thread()
    await ann.run(thread)
    own = (await ann.http.post(f"/threads/{thread}/copy")).json()["thread_id"]
    eve = User(url, "eve", rules={"threads.read": {"give": None}})
    others = (await eve.http.post(f"/threads/{thread}/copy")).json()["thread_id"]

    async def copies(user):
        answer = await user.http.get(f"/threads/{thread}/branches")
        assert answer.status_code == 200, answer.text
        return [copy for turn in answer.json()["turns"] for copy in turn["copies"]] + answer.json()["copies"]

    assert await copies(ann) == [own]
    assert await copies(eve) == [own, others]
    bob = User(url, "bob")
    assert (await bob.http.get(f"/threads/{thread}/branches")).status_code == 404
    await ann.asked()
    await copies(ann)
    assert [one["of"] for one in await ann.asked()] == ["threads.read"] * 3
    for user in (eve, bob):
        await user.close()
