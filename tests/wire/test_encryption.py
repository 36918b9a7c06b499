"""Custom encryption (`langgraph_sdk.Encryption`) on a real server: which handlers are called, told what, and what is stored."""

import asyncio
import base64
import json
import shutil
import sqlite3
import time
from pathlib import Path

import httpx
import pytest
from langgraph_sdk import get_client

from tests.risk.test_nothing_in_clear import APP, Words, used
from tests.server import Server, running

pytestmark = pytest.mark.anyio

SEALED = {"LANGGRAPH_ENCRYPTION": json.dumps({"path": "./encryption.py:sealed"})}


class Calls:
    """What handlers noted, from the last look on."""

    def __init__(self, path: Path):
        self.path = path
        self._seen = 0

    def new(self):
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        fresh, self._seen = lines[self._seen :], len(lines)
        return [json.loads(line) for line in fresh]

    def kinds(self):
        return {(way, model, field) for way, model, field, _ in self.new()}


@pytest.fixture
def calls(tmp_path):
    return Calls(tmp_path / "calls.jsonl")


@pytest.fixture
def env(calls):
    return {**SEALED, "SEALED_CALLS": str(calls.path)}


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def server(data, env):
    with running(APP, data, env=env) as server:
        yield server


def told(**metadata):
    return {"X-Encryption-Context": base64.b64encode(json.dumps(metadata).encode()).decode()}


def stored(data, query, *values):
    with sqlite3.connect(data / "threadloom.db", timeout=5) as connection:
        return connection.execute(query, values).fetchall()


async def test_nothing_that_handlers_encrypt_lies_in_clear_and_everything_is_served(data, env):
    word = Words()
    with running(APP, data, env=env) as server:
        client, thread, _ = await used(server.url, word)
        shown = await client.threads.get(thread)
        assert shown["metadata"]["name"].startswith("named-")
        assert shown["values"]["said"][0].startswith("input-")
        assert "__encryption_context__" not in json.dumps([shown, *await client.runs.list(thread)])
        assert await client.threads.search(metadata={"name": word.said[0]}) == []
        assert len(await client.threads.search(metadata={"team": "blue"})) == 2
        history = await client.threads.get_history(thread)
        server.stop()
    assert word.found_in(data) == set()
    with running(APP, data, env=env) as server:
        assert await get_client(url=server.url).threads.get_history(thread) == history
    refused = Server(APP, data)
    with pytest.raises(AssertionError, match="the server ended with 2"):
        refused.start()
    assert "encryption.path is not configured" in refused.log()


async def test_handlers_are_called_for_the_fields_that_the_contract_names(server, calls):
    client = get_client(url=server.url)
    calls.new()
    thread = (await client.threads.create(metadata={"a": 1}))["thread_id"]
    assert calls.kinds() == {("encrypt json", "thread", "metadata")}
    await client.threads.get(thread)
    assert calls.kinds() == {("decrypt json", "thread", "metadata")}
    await client.threads.update(thread, metadata={"b": 2})
    assert ("encrypt json", "thread", "metadata") in calls.kinds()
    await client.threads.search()
    assert ("decrypt json", "thread", "metadata") in calls.kinds()

    config = {"configurable": {"word": "w"}, "tags": ["t"]}
    assistant = await client.assistants.create("agent", config=config, metadata={"a": 1})
    assert {(kind[2]) for kind in calls.kinds() if kind[:2] == ("encrypt json", "assistant")} == {
        "metadata",
        "config",
        "context",
        "configurable",
    }
    await client.runs.wait(thread, assistant["assistant_id"], input={"said": ["a"]}, context={"word": "x"})
    kinds = calls.kinds()
    encrypted = {field for way, model, field in kinds if (way, model) == ("encrypt json", "run")}
    assert encrypted >= {"metadata", "input", "config", "context", "configurable"}
    assert {("encrypt blob", "checkpoint", part) for part in ("body", "blob", "write")} <= kinds
    assert ("encrypt blob", "thread", "values") in kinds

    cron = await client.crons.create("agent", schedule="0 0 1 1 *", input={"said": ["a"]}, metadata={"a": 1})
    assert {("encrypt json", "cron", "metadata"), ("encrypt json", "cron", "input")} <= calls.kinds()
    await client.store.put_item(["n"], "k", {"a": 1})
    assert calls.kinds() == {("encrypt json", "store", "value")}
    assert (await client.store.get_item(["n"], "k"))["value"] == {"a": 1}
    assert calls.kinds() == {("decrypt json", "store", "value")}
    assert cron


async def test_a_copy_shares_ciphertext_and_asks_no_handler_for_history(server, data, calls):
    client = get_client(url=server.url)
    thread = (await client.threads.create(metadata={"a": 1}))["thread_id"]
    for number in range(3):
        await client.runs.wait(thread, "agent", input={"said": [f"{number}"]})
    tables = ("checkpoints", "blobs", "writes", "states")
    before = {table: stored(data, f"SELECT count(*) FROM {table}") for table in tables}
    ciphertext = stored(data, "SELECT metadata FROM threads WHERE thread_id = ?", thread)
    calls.new()
    copy = await client.threads.copy(thread)
    kinds = [call for call in calls.new() if call[1] == "checkpoint" or call[0].startswith("encrypt")]
    assert kinds == []
    assert before == {table: stored(data, f"SELECT count(*) FROM {table}") for table in tables}
    assert stored(data, "SELECT metadata FROM threads WHERE thread_id = ?", copy["thread_id"]) == ciphertext
    assert copy["metadata"]["a"] == 1
    state, other = [await client.threads.get_state(id_) for id_ in (thread, copy["thread_id"])]
    assert state["values"] == other["values"]


async def test_the_header_is_told_stored_given_back_and_never_shown(server, data, calls):
    calls.new()
    client = get_client(url=server.url, headers=told(tenant="blue"))
    thread = (await client.threads.create(metadata={"a": 1}))["thread_id"]
    expected = {"tenant": "blue", "asked": True}
    assert {json.dumps(metadata) for *_, metadata in calls.new()} == {json.dumps(expected)}
    [(metadata,)] = stored(data, "SELECT metadata FROM threads WHERE thread_id = ?", thread)
    assert json.loads(metadata)["__encryption_context__"] == expected

    # A run is told the same of all that it does, and whoever reads with another header decrypts with what was stored.
    run = await client.runs.create(thread, "agent", input={"said": ["a"]})
    await client.runs.join(thread, run["run_id"])
    blobs = [metadata for way, _, _, metadata in calls.new() if way == "encrypt blob"]
    assert blobs and all(metadata == expected for metadata in blobs)
    other = get_client(url=server.url, headers=told(tenant="red"))
    shown = [await other.threads.get(thread), await other.threads.get_state(thread), await other.runs.list(thread)]
    decrypted = [metadata for way, *_, metadata in calls.new() if way.startswith("decrypt")]
    assert decrypted and all(metadata == expected for metadata in decrypted)
    assert "__encryption_context__" not in json.dumps(shown) and "tenant" not in json.dumps(shown)


AUTH = """
from langgraph_sdk import Auth

auth = Auth()


@auth.authenticate
async def who(authorization):
    return authorization.removeprefix("Bearer ")
"""


async def test_the_context_handler_knows_the_user(tmp_path, data, env, calls):
    app = tmp_path / "app"
    shutil.copytree(APP, app)
    config = json.loads((app / "langgraph.json").read_text())
    config |= {"auth": {"path": "./auth.py:auth"}, "encryption": {"path": "./encryption.py:sealed"}}
    (app / "langgraph.json").write_text(json.dumps(config))
    (app / "auth.py").write_text(AUTH)
    without = {name: value for name, value in env.items() if name != "LANGGRAPH_ENCRYPTION"}
    with running(app, data, env=without) as server:
        headers = {**told(tenant="blue"), "Authorization": "Bearer ann"}
        client = get_client(url=server.url, headers=headers)
        calls.new()
        thread = (await client.threads.create(metadata={"a": 1}))["thread_id"]
        await client.runs.wait(thread, "agent", input={"said": ["a"]})
        encrypted = [metadata for way, *_, metadata in calls.new() if way.startswith("encrypt")]
        assert encrypted and all(metadata == {"tenant": "blue", "asked": "ann"} for metadata in encrypted)
        async with httpx.AsyncClient(base_url=server.url) as http:
            answer = await http.get("/threads/search", headers={**headers, "X-Encryption-Context": "?"})
            assert answer.status_code == 422


async def test_what_is_told_survives_the_server(data, env, calls):
    with running(APP, data, env=env, arguments=("--jobs", "0")) as server:
        client = get_client(url=server.url, headers=told(tenant="blue"))
        thread = (await client.threads.create())["thread_id"]
        run = await client.runs.create(thread, "agent", input={"said": ["a"]})
        server.kill()
    calls.new()
    with running(APP, data, env=env) as server:
        await get_client(url=server.url).runs.join(thread, run["run_id"])
    blobs = [metadata for way, model, _, metadata in calls.new() if (way, model) == ("encrypt blob", "checkpoint")]
    assert blobs and all(metadata == {"tenant": "blue", "asked": True} for metadata in blobs)


@pytest.mark.parametrize("header", ["%%%", base64.b64encode(b"{").decode(), base64.b64encode(b"[1]").decode(), ""])
async def test_a_header_that_cannot_be_read_is_refused(server, header):
    async with httpx.AsyncClient(base_url=server.url) as http:
        answer = await http.post("/threads", json={}, headers={"X-Encryption-Context": header})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("Invalid X-Encryption-Context header: ")


async def test_the_reserved_key_is_not_taken_from_a_client(server):
    client = get_client(url=server.url)
    metadata = {"__encryption_context__": {"tenant": "evil"}, "a": 1}
    thread = await client.threads.create(metadata=metadata)
    assert (await client.threads.get(thread["thread_id"]))["metadata"] == {"a": 1}
    await client.store.put_item(["n"], "k", {"a": 1, "__encryption_context__": {}})
    assert (await client.store.get_item(["n"], "k"))["value"] == {"a": 1}


async def test_a_new_key_takes_the_place_of_the_old_one_as_things_are_read(data, env, calls):
    with running(APP, data, env=env) as server:
        client = get_client(url=server.url)
        thread = (await client.threads.create(metadata={"a": 1, "team": "blue"}))["thread_id"]
        await client.runs.wait(thread, "agent", input={"said": ["a"]})
        await client.store.put_item(["n"], "k", {"a": 1})
        seen = [
            await client.threads.get(thread),
            await client.threads.get_history(thread),
            await client.runs.list(thread),
        ]
        server.stop()
    rows = "SELECT pos, seg, namespace, checkpoint_id, parent, refs FROM checkpoints ORDER BY pos"
    before = stored(data, rows)
    with running(APP, data, env={**env, "SEALED_MARK": "two"}) as server:
        client = get_client(url=server.url)
        again = [
            await client.threads.get(thread),
            await client.threads.get_history(thread),
            await client.runs.list(thread),
        ]
        assert again == seen
        assert (await client.store.get_item(["n"], "k"))["value"] == {"a": 1}
        assert stored(data, rows) == before
        for query in (
            "SELECT metadata FROM threads",
            "SELECT kwargs FROM runs",
            "SELECT metadata FROM runs",
            "SELECT meta FROM checkpoints WHERE namespace = ''",
            "SELECT value FROM items WHERE key = 'k'",
        ):
            texts = [text if isinstance(text, str) else text.decode() for (text,) in stored(data, query)]
            assert texts and all('"one:' not in text for text in texts), query
            assert any('"two:' in text for text in texts), query
        for query in (
            "SELECT body FROM checkpoints WHERE namespace = ''",
            "SELECT data FROM blobs WHERE id IN (SELECT value FROM checkpoints, json_each(refs) WHERE namespace = '')",
            "SELECT w.data FROM writes w WHERE namespace = ''",
        ):
            for (ciphertext,) in stored(data, query):
                length = int.from_bytes(ciphertext[1:5])
                assert ciphertext[5 + length : 8 + length] == b"two", query
        assert [await client.threads.get(thread), *again[1:]] == seen


async def test_a_decryptor_that_fails_is_told_with_model_and_field_and_no_ciphertext(data, env):
    with running(APP, data, env=env, arguments=("--jobs", "0")) as server:
        client = get_client(url=server.url)
        thread = (await client.threads.create(metadata={"a": "secret"}))["thread_id"]
        await client.store.put_item(["n"], "k", {"a": 1})
        run = await client.runs.create(thread, "agent", input={"said": ["a"]})
        server.stop()
    with running(APP, data, env={**env, "SEALED_FAIL": "1"}) as server:
        async with httpx.AsyncClient(base_url=server.url) as http:
            for method, path, body, name in (
                ("GET", f"/threads/{thread}", None, "thread.metadata"),
                ("POST", "/threads/search", {}, "thread.metadata"),
                ("GET", f"/threads/{thread}/runs", None, "metadata"),
                ("GET", "/store/items?namespace=n&key=k", None, "store.value"),
            ):
                answer = await http.request(method, path, json=body)
                assert answer.status_code == 500, path
                assert name in answer.json()["detail"] and "cannot be decrypted" in answer.json()["detail"]
                assert "terces" not in answer.text and "no key for you" not in answer.text
            # What cannot be read fails by itself, and nothing else waits for it.
            answer = await http.get(f"/threads/{thread}/runs/{run['run_id']}/join", timeout=30)
            assert answer.json()["__error__"]["error"] == "UndecipherableError"
            assert "terces" not in answer.text
        assert "no key for you" in server.log()


async def test_what_cannot_be_decrypted_is_named_and_can_be_deleted(data, env):
    with running(APP, data, env=env, arguments=("--jobs", "0")) as server:
        client = get_client(url=server.url)
        thread = (await client.threads.create(metadata={"a": "secret"}))["thread_id"]
        ended = (await client.threads.create(metadata={"a": "s"}, ttl={"ttl": 0.0001, "strategy": "delete"}))[
            "thread_id"
        ]
        copy = (await client.threads.copy(thread))["thread_id"]
        copied = (await client.threads.copy(copy))["thread_id"]
        await client.runs.create(thread, "agent", input={"said": ["a"]}, after_seconds=3600)
        pruned = (await client.threads.create(metadata={"b": "secret"}))["thread_id"]
        assistant = (await client.assistants.create("agent", metadata={"a": "secret"}))["assistant_id"]
        cron = (await client.crons.create("agent", schedule="0 0 1 1 *", metadata={"a": "secret"}))["cron_id"]
        await client.store.put_item(["n"], "k", {"a": 1})
        server.stop()
    with running(APP, data, env={**env, "SEALED_FAIL": "1"}, arguments=("--jobs", "0")) as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=60) as http:
            named = [
                ("GET", f"/threads/{copy}", None, copy),
                ("POST", "/threads/search", {"ids": [pruned]}, pruned),
                ("GET", f"/assistants/{assistant}", None, assistant),
                ("GET", f"/runs/crons/{cron}", None, cron),
                ("POST", "/store/items/search", {"namespace_prefix": ["n"]}, "'k'"),
            ]
            for method, path, body, name in named:
                answer = await http.request(method, path, json=body)
                assert answer.status_code == 500, path
                assert name in answer.json()["detail"] and "cannot be decrypted" in answer.json()["detail"]
            gone = [
                ("POST", "/threads/prune", {"thread_ids": [pruned], "strategy": "keep_latest"}, 200),
                ("POST", "/threads/prune", {"thread_ids": [pruned]}, 200),
                ("DELETE", f"/threads/{copy}?cascade=copies", None, 200),
                ("DELETE", f"/threads/{thread}", None, 204),
                ("DELETE", f"/runs/crons/{cron}", None, 200),
                ("DELETE", f"/assistants/{assistant}", None, 200),
                ("DELETE", "/store/items", {"namespace": ["n"], "key": "k"}, 204),
            ]
            for method, path, body, status in gone:
                answer = await http.request(method, path, json=body)
                assert answer.status_code in (status, 204), (path, answer.text)
            for one in (thread, copy, copied, pruned):
                assert (await http.get(f"/threads/{one}")).status_code == 404
            # So does what only time deletes: a server looks for it when it starts.
            deadline = time.monotonic() + 60
            while (await http.get(f"/threads/{ended}")).status_code != 404:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.1)


async def test_an_encryptor_that_changes_keys_is_refused(data):
    env = {"LANGGRAPH_ENCRYPTION": json.dumps({"path": "./encryption.py:broken"})}
    with running(APP, data, env=env) as server:
        async with httpx.AsyncClient(base_url=server.url) as http:
            answer = await http.post("/threads", json={"metadata": {"secret": "s"}})
            found = (await http.post("/threads/search", json={})).json()
    assert answer.status_code == 500
    assert "thread.metadata cannot be encrypted" in answer.json()["detail"]
    assert "must keep the keys" in answer.json()["detail"]
    assert found == []


async def test_what_was_stored_in_clear_is_still_there(data, env):
    with running(APP, data) as server:
        client = get_client(url=server.url)
        thread = (await client.threads.create(metadata={"a": "b"}))["thread_id"]
        await client.runs.wait(thread, "agent", input={"said": ["a"]})
        before = await client.threads.get_history(thread)
        server.stop()
    with running(APP, data, env=env) as server:
        client = get_client(url=server.url)
        assert await client.threads.get_history(thread) == before
        assert (await client.threads.get(thread))["metadata"]["a"] == "b"
        await client.runs.wait(thread, "agent", input={"said": ["c"]})
        said = (await client.threads.get_state(thread))["values"]["said"]
        assert said[:2] == ["a", "heard a"] and said[-2:] == ["c", "heard c"]


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("./encryption.py:nothing", "is a object, not an instance of langgraph_sdk.Encryption"),
        ("./encryption.py:missing", "missing"),
        ("./nowhere.py:sealed", "nowhere.py"),
    ],
)
async def test_what_is_no_encryption_is_refused_at_start(data, path, why):
    server = Server(APP, data, env={"LANGGRAPH_ENCRYPTION": json.dumps({"path": path})})
    with pytest.raises(AssertionError, match="the server ended with 2"):
        server.start()
    assert why in server.log()


async def test_handlers_and_a_key_together(data, env):
    word = Words()
    both = {**env, "LANGGRAPH_AES_KEY": "x" * 32, "BG_JOB_ISOLATED_LOOPS": "true"}
    with running(APP, data, env=both) as server:
        client, thread, _ = await used(server.url, word)
        history = await client.threads.get_history(thread)
        server.stop()
    assert word.found_in(data) == set()
    assert {type_ for (type_,) in stored(data, "SELECT DISTINCT type FROM blobs")} == {"msgpack+custom+aes-gcm"}
    with running(APP, data, env={**both, "SEALED_MARK": "two"}) as server:
        client = get_client(url=server.url)
        assert await client.threads.get_history(thread) == history
        assert await client.threads.get_history(thread) == history
