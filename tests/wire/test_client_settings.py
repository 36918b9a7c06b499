"""Settings that clients notice: the event `end`, the config of graphs' own assistants, how long threads live that runs make."""

import json
import shutil
import uuid
from pathlib import Path

import pytest

from tests.server import running
from tests.wire.protocol_client import start

pytestmark = pytest.mark.anyio

APP = Path(__file__).parent.parent / "apps" / "protocol"
ENCRYPTION = '''"""Encrypts nothing, and refuses the outcome of one run that failed."""
from langgraph_sdk import Encryption

sealed = Encryption()
refused = []

@sealed.encrypt.json
async def encrypt(ctx, data):
    if (ctx.model, ctx.field) == ("run", "error") and data and not refused:
        refused.append(data)
        raise RuntimeError("not now")
    return data

@sealed.decrypt.json
async def decrypt(ctx, data):
    return data
'''
CONFIGS = {"steps": {"configurable": {"model_name": "openai"}, "tags": ["own"]}}


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    folder = tmp_path_factory.mktemp("settings")
    shutil.copytree(APP, folder / "app", ignore=shutil.ignore_patterns(".threadloom", "__pycache__"))
    config = json.loads((APP / "langgraph.json").read_text()) | {
        "threadloom": {"end_event": True},
        "encryption": {"path": "./refusing.py:sealed"},
        "env": {"LANGGRAPH_CONFIG": json.dumps(CONFIGS)},
        "checkpointer": {"ttl": {"strategy": "keep_latest", "default_ttl": 60}},
    }
    (folder / "app" / "langgraph.json").write_text(json.dumps(config))
    (folder / "app" / "refusing.py").write_text(ENCRYPTION)
    with running(folder / "app", folder / "data") as server:
        yield server.url


async def told(stream):
    return [(part.event, part.data) async for part in stream]


@pytest.mark.parametrize("resumable", [True, False])
async def test_every_stream_of_a_run_ends_with_an_end_event(client, resumable):
    thread = (await client.threads.create())["thread_id"]
    streaming = client.runs.stream(thread, "steps", input={"n": 1}, stream_mode="values", stream_resumable=resumable)
    parts = [part async for part in streaming]
    seen = [(part.event, part.data) for part in parts]
    (run,) = await client.runs.list(thread)
    end = ("end", {"run_id": run["run_id"], "status": "success"})
    assert [name for name, _ in seen] == ["metadata", "values", "values", "end"]
    assert seen[-1] == end

    def join(**more):
        return told(client.runs.join_stream(thread, run["run_id"], **more))

    assert await join() == [end]
    assert await join(stream_mode="updates") == [end]
    assert await join(last_event_id="-1") == (seen if resumable else [end])
    if resumable:
        assert await join(last_event_id=parts[-2].id) == [end]
        assert await join(last_event_id=parts[-1].id) == [], "it has had the end"


async def test_a_failure_that_is_tried_again_is_told_once_before_the_end(client):
    """The end of the first attempt cannot be stored."""
    for attempts in ([1, 2], [1]):
        seen = await told(client.runs.stream(None, "failing", input={}, stream_mode="values"))
        assert [data["attempt"] for name, data in seen if name == "metadata"] == attempts
        assert [name for name, _ in seen if name in ("error", "end")] == ["error", "end"]
        assert seen[-2:] == [
            ("error", {"error": "ValueError", "message": "planned failure"}),
            ("end", {"run_id": seen[0][1]["run_id"], "status": "error"}),
        ]


async def test_the_own_assistant_of_a_graph_has_the_config_of_the_environment(client):
    (own,) = await client.assistants.search(graph_id="steps")
    assert (own["config"], own["context"], own["version"]) == (CONFIGS["steps"], {"model_name": "openai"}, 1)
    (other,) = await client.assistants.search(graph_id="slow")
    assert (other["config"], other["context"]) == ({}, {})
    run = await client.runs.create(None, "steps", input={"n": 1})
    assert run["kwargs"]["config"]["configurable"]["model_name"] == "openai"
    assert (run["kwargs"]["config"]["tags"], run["kwargs"]["context"]) == (["own"], {"model_name": "openai"})


async def test_threads_that_runs_make_live_as_long_as_the_configuration_says(client, http):
    made = str(uuid.uuid4())
    await client.runs.wait(made, "steps", input={"n": 1}, if_not_exists="create")
    started = str(uuid.uuid4())
    await start(http, started, "steps", {"n": 1})
    kept = (await client.runs.create(None, "steps", input={"n": 1}, on_completion="keep"))["thread_id"]
    for thread in (made, started, kept):
        ttl = (await http.get(f"/threads/{thread}", params={"include": "ttl"})).json()["ttl"]
        assert (ttl["strategy"], ttl["ttl_minutes"]) == ("keep_latest", 60)
