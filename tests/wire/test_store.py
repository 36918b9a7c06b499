"""The long-term store over HTTP and in graphs, beyond what the conformance suite shows."""

import asyncio
import sqlite3
import uuid
from pathlib import Path

import httpx
import pytest
from langgraph_sdk import get_client

from tests.server import running

pytestmark = pytest.mark.anyio

APP = Path(__file__).parent.parent / "apps" / "store"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running(APP, tmp_path_factory.mktemp("server") / "data") as server:
        yield server


@pytest.fixture
def client(server):
    return get_client(url=server.url)


@pytest.fixture
async def http(server):
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as session:
        yield session


@pytest.fixture
def space():
    return uuid.uuid4().hex


async def put(http, namespace, key, value, **fields):
    return await http.put("/store/items", json={"namespace": namespace, "key": key, "value": value, **fields})


async def get(http, namespace, key, **params):
    return await http.get("/store/items", params={"namespace": ".".join(namespace), "key": key, **params})


async def search(http, *namespace, **query):
    answer = await http.post("/store/items/search", json={"namespace_prefix": namespace, **query})
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


# --- exactness ---


@pytest.mark.parametrize(
    "number",
    ["9223372036854775808", "-9223372036854775809", "18446744073709551616", "1" + "0" * 60, "0.1", "1e22", "1.0"],
)
async def test_a_number_comes_back_as_it_was_sent(http, space, number):
    body = f'{{"namespace": ["{space}"], "key": "k", "value": {{"n": {number}}}}}'
    assert (await http.put("/store/items", content=body)).status_code == 204
    for answer in (
        await get(http, [space], "k"),
        await http.post("/store/items/search", content=f'{{"namespace_prefix":["{space}"],"filter":{{"n":{number}}}}}'),
    ):
        assert f'"value":{{"n":{number}}}' in answer.text


async def test_a_number_beyond_all_bounds_is_refused(http, space):
    body = f'{{"namespace": ["{space}"], "key": "k", "value": {{"n": 1e999}}}}'
    assert (await http.put("/store/items", content=body)).status_code == 422
    assert (await get(http, [space], "k")).json() is None


async def test_a_large_value_survives(http, space):
    value = {"text": "ü" * 500_000, "list": list(range(1000))}
    assert (await put(http, [space], "k", value, index=False)).status_code == 204
    assert (await get(http, [space], "k")).json()["value"] == value


# --- what is put and read again ---


async def test_a_put_keeps_when_the_item_was_made_and_a_delete_does_not(http, space):
    await put(http, [space], "k", {"n": 1})
    first = (await get(http, [space], "k")).json()
    assert first["created_at"] == first["updated_at"]
    await put(http, [space], "k", {"n": 2})
    second = (await get(http, [space], "k")).json()
    assert (second["created_at"], second["value"]) == (first["created_at"], {"n": 2})
    await http.request("DELETE", "/store/items", json={"namespace": [space], "key": "k"})
    await put(http, [space], "k", {"n": 3})
    assert (await get(http, [space], "k")).json()["created_at"] > first["created_at"]


@pytest.mark.parametrize("ttl", [0, -1])
async def test_a_time_to_live_is_above_zero(http, space, ttl):
    answer = await put(http, [space], "k", {}, ttl=ttl)
    assert answer.status_code == 422
    assert "ttl" in answer.json()["detail"]


@pytest.mark.parametrize("page", [{"limit": 0}, {"limit": 1001}, {"offset": -1}])
async def test_a_page_is_within_bounds(http, page):
    for path in ("/store/items/search", "/store/namespaces"):
        answer = await http.post(path, json=page)
        assert answer.status_code == 422
        assert next(iter(page)) in answer.json()["detail"]


async def test_a_listing_needs_a_depth_above_zero(http):
    assert (await http.post("/store/namespaces", json={"max_depth": 0})).status_code == 422


async def test_a_label_that_no_namespace_can_have_is_told_as_text(http):
    answer = await get(http, ["a", "", "b"], "k")
    assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (422, "text/plain")


async def test_an_item_without_a_namespace_is_told_before_one_without_a_key(http):
    assert (await http.get("/store/items")).status_code == 422
    answer = await http.get("/store/items", params={"namespace": "a.b"})
    assert (answer.status_code, answer.json()) == (400, {"error": "Key is required"})


async def test_simultaneous_puts_of_one_item_leave_one_of_them(http, space):
    answers = await asyncio.gather(*(put(http, [space], "k", {"n": n, "text": "a" * n}) for n in range(30)))
    assert {answer.status_code for answer in answers} == {204}
    [item] = await search(http, space, query="a")
    assert item["value"]["text"] == "a" * item["value"]["n"]
    assert len(await search(http, space, limit=100)) == 1


# --- semantic search ---


async def test_an_embedding_that_fails_is_told_and_nothing_is_kept(http, space, server):
    await put(http, [space], "k", {"text": "aab"})
    answer = await put(http, [space], "k", {"text": "fail"})
    assert answer.status_code == 502
    assert "./embed.py:embed" in answer.json()["detail"]
    assert "secret" not in answer.text
    [item] = await search(http, space, query="aab")
    assert (item["value"], item["score"]) == ({"text": "aab"}, pytest.approx(1))
    answer = await http.post("/store/items/search", json={"namespace_prefix": [space], "query": "fail"})
    assert answer.status_code == 502
    assert "sk-secret" in server.log()


async def test_scored_and_unscored_items_page_as_one_list(http, space):
    for number in range(5):
        await put(http, [space], f"v{number}", {"text": "a" * (5 - number) + "b" * number})
        await put(http, [space], f"w{number}", {"title": "aa"})
    everything = [item["key"] for item in await search(http, space, query="aaa", limit=100)]
    assert everything == ["v0", "v1", "v2", "v3", "v4", "w4", "w3", "w2", "w1", "w0"]
    pages = [await search(http, space, query="aaa", limit=3, offset=offset) for offset in (0, 3, 6, 9)]
    assert [item["key"] for page in pages for item in page] == everything


# --- one store for all ---


@pytest.mark.parametrize(
    "graph, key, text", [("remember", "from-a-node", "aab"), ("remember_sync", "from-a-thread", "bbc")]
)
async def test_nodes_use_the_store_of_the_api(client, http, space, graph, key, text):
    values = await client.runs.wait(None, graph, input={"space": space})
    assert values["found"] == {"value": text, "keys": [key], "score": pytest.approx(1)}
    assert (await get(http, ["memory", space], key)).json()["value"]["text"] == text


async def test_what_a_node_put_is_exact_too(client, http, space):
    await client.runs.wait(None, "remember", input={"space": space})
    assert f'"big":{2**80}' in (await get(http, ["memory", space], "from-a-node")).text


async def test_nodes_have_the_whole_interface(client, space):
    found = (await client.runs.wait(None, "everything", input={"space": space}))["found"]
    assert found == {
        "batch": [None, None, None],
        "namespaces": [["memory", space, "b"]],
        "filtered": ["b"],
        "left": ["b"],
    }


async def test_factories_get_the_store_too(client):
    await client.store.put_item(["factory"], "seen", {"text": "a"})
    assert (await client.runs.wait(None, "made", input={}))["found"] == ["seen"]


@pytest.mark.parametrize("way", ["waiting", "blocking"])
async def test_own_routes_use_the_store_of_the_api(http, space, way):
    await put(http, ["routes", space], "from-outside", {"text": "abc"})
    answer = await http.post(f"/own/{way}/{space}")
    assert set(answer.json()) == {way, "from-outside"}
    [item] = [item for item in await search(http, "routes", space, query="abc") if item["key"] == way]
    assert item["score"] == pytest.approx(1)


# --- what outlives the process ---


async def test_items_survive_a_kill_and_expired_ones_are_swept(tmp_path, space):
    data = tmp_path / "data"
    with running(APP, data) as server:
        async with httpx.AsyncClient(base_url=server.url) as http:
            await put(http, [space], "kept", {"text": "aab", "n": 2**70})
            await put(http, [space], "other", {"text": "ccd"})
            await put(http, [space], "brief", {"text": "aab"}, ttl=0.001)
        server.kill()
    with running(APP, data) as server:
        async with httpx.AsyncClient(base_url=server.url) as http:
            found = await search(http, space, query="aab")
            assert [item["key"] for item in found] == ["kept", "other"]
            assert found[0]["score"] == pytest.approx(1)
            async with asyncio.timeout(120):
                while _rows(data) != 2:
                    await asyncio.sleep(0.05)


def _rows(data):
    with sqlite3.connect(data / "threadloom.db") as connection:
        return connection.execute("SELECT count(*) FROM items").fetchone()[0]
