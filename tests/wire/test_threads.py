"""Thread records over HTTP, beyond what the conformance suite shows."""

import asyncio
import uuid
from pathlib import Path

import pytest

from tests.server import running

pytestmark = pytest.mark.anyio

APP = Path(__file__).parent.parent / "apps" / "threads"


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with running(APP, tmp_path_factory.mktemp("server") / "data") as server:
        yield server.url


@pytest.fixture
def mark():
    return str(uuid.uuid4())


async def words(client, letters, **more):
    steps = [{"updates": [{"values": {"path": [letter]}, "as_node": "c"}]} for letter in letters]
    return (await client.threads.create(graph_id="chain", supersteps=steps, **more))["thread_id"]


async def test_creates_of_one_id_at_once_make_one(http):
    thread = str(uuid.uuid4())
    answers = await asyncio.gather(*(http.post("/threads", json={"thread_id": thread}) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 9


async def test_deletes_at_once_delete_once(client, http):
    thread = await words(client, "ab")
    answers = await asyncio.gather(*(http.delete(f"/threads/{thread}") for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [204] + [404] * 9


async def test_patches_at_once_are_all_kept(client, http):
    thread = (await client.threads.create())["thread_id"]
    patches = (http.patch(f"/threads/{thread}", json={"metadata": {f"k{n}": n}}) for n in range(20))
    dates = [answer.json()["updated_at"] for answer in await asyncio.gather(*patches)]
    assert len(set(dates)) == 20
    assert (await client.threads.get(thread))["metadata"] == {f"k{n}": n for n in range(20)}


async def test_clients_cannot_say_whose_a_thread_is(client, http):
    """Deleting an assistant may delete the threads that carry its id, so only runs write it."""
    metadata = {"assistant_id": "a", "thread_id": "t", "run_id": "r", "checkpoint_id": "stays", "user_id": "stays"}
    kept = {"checkpoint_id": "stays", "user_id": "stays"}
    thread = await client.threads.create(metadata=metadata)
    assert thread["metadata"] == kept
    assert (await client.threads.update(thread["thread_id"], metadata=metadata))["metadata"] == kept
    copy = await http.post(f"/threads/{thread['thread_id']}/copy", json={"metadata": metadata})
    assert copy.json()["metadata"] == kept


async def test_an_empty_patch_moves_the_date(client, http):
    thread = await client.threads.create(metadata={"a": 1})
    changed = (await http.patch(f"/threads/{thread['thread_id']}", json={})).json()
    assert changed["updated_at"] > thread["updated_at"]
    assert changed == thread | {"updated_at": changed["updated_at"]}


async def test_a_patch_of_a_missing_thread_is_not_found(http):
    for headers in ({}, {"Prefer": "return=minimal"}):
        answer = await http.patch(f"/threads/{uuid.uuid4()}", json={}, headers=headers)
        assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})


@pytest.mark.parametrize("ttl", [{}, {"ttl": 0}, {"ttl": -1}, {"ttl": 1e300}, {"strategy": "keep_latest"}], ids=repr)
async def test_any_time_to_live_that_fits_the_schema_is_taken(http, ttl):
    answer = await http.post("/threads", json={"ttl": ttl})
    assert answer.status_code == 200
    path = f"/threads/{answer.json()['thread_id']}"
    shown = (await http.get(path, params={"include": "zap, ttl"})).json()
    assert ("ttl" in shown) is ("ttl" in ttl)
    assert (await http.patch(path, json={"ttl": ttl})).status_code == 200


async def test_the_order_turns_around_without_a_sort_field(client, http, mark):
    for n in range(3):
        await client.threads.create(metadata={"mark": mark, "n": n})

    async def order(**body):
        found = (await http.post("/threads/search", json={"metadata": {"mark": mark}, **body})).json()
        return [thread["metadata"]["n"] for thread in found]

    assert await order() == [2, 1, 0]
    assert await order(sort_order="asc") == [0, 1, 2]
    assert await order(sort_by="status") == await order(sort_by="status", sort_order="asc") == [0, 1, 2]


async def test_an_id_that_is_no_uuid_is_refused_in_a_search(http):
    answer = await http.post("/threads/search", json={"ids": ["abc"]})
    assert (answer.status_code, answer.json()) == (422, {"detail": "Invalid thread ID: must be a UUID"})


async def test_ids_of_any_spelling_and_unknown_ones(client, http):
    thread = (await client.threads.create())["thread_id"]
    wanted = [thread.upper(), thread.replace("-", ""), str(uuid.uuid4())]
    found = (await http.post("/threads/search", json={"ids": wanted})).json()
    assert [one["thread_id"] for one in found] == [thread]


async def test_an_offset_past_the_end_is_told_as_it_is(http, mark):
    answer = await http.post("/threads/search", json={"metadata": {"mark": mark}, "offset": 10})
    assert answer.json() == []
    assert answer.headers["x-pagination-total"] == "10"
    assert "x-pagination-next" not in answer.headers


async def test_select_and_extract_together(client, http, mark):
    thread = await words(client, "ab", metadata={"mark": mark})
    body = {
        "metadata": {"mark": mark},
        "select": ["status"],
        "extract": {"last": "values.path[-1]", "asked": "interrupts", "first": "values.path[ 0 ]", "bad": "values[*]"},
    }
    found = (await http.post("/threads/search", json=body)).json()
    assert found == [{"status": "idle", "extracted": {"last": "b", "asked": {}, "first": "a", "bad": None}}]
    everything = (await http.post("/threads/search", json={"metadata": {"mark": mark}, "extract": {}})).json()
    assert everything == [await client.threads.get(thread)]


async def test_found_copies_tell_where_they_came_from(client, mark):
    thread = await words(client, "ab", metadata={"mark": mark})
    copy = await client.threads.copy(thread)
    found = await client.threads.search(metadata={"mark": mark}, values={"path": ["b"]})
    assert found == [await client.threads.get(copy["thread_id"]), await client.threads.get(thread)]


# --- pruning ---


async def test_prune_to_the_latest_keeps_what_the_thread_shows(client, http):
    thread = (await client.threads.create(graph_id="nested", metadata={"a": 1}))["thread_id"]
    await client.runs.wait(thread, "nested", input={"x": 0})
    copy = (await client.threads.copy(thread))["thread_id"]
    whole = await client.threads.get_history(copy, limit=100)
    record = await client.threads.get(thread)
    before = await client.threads.get_state(thread, subgraphs=True)
    pruned = await client.threads.prune([thread, thread, str(uuid.uuid4())], strategy="keep_latest")
    assert pruned == {"pruned_count": 1}
    after = await client.threads.get_state(thread, subgraphs=True)
    assert after["parent_checkpoint"] is None
    for key in ("values", "next", "metadata", "created_at", "checkpoint", "interrupts"):
        assert after[key] == before[key]
    assert after["tasks"][0]["state"]["values"] == before["tasks"][0]["state"]["values"]
    assert await client.threads.get(thread) == record
    assert len(await client.threads.get_history(thread, limit=100)) == 1
    assert len(await client.runs.list(thread)) == 1
    assert await client.threads.get_history(copy, limit=100) == whole
    done = await client.runs.wait(thread, "nested", command={"resume": "yes"})
    assert done["path"] == ["a", "yes", "z", "last"]


async def test_a_busy_thread_is_not_pruned_to_its_latest_but_is_deleted(client, http):
    thread = (await client.threads.create(graph_id="loop"))["thread_id"]
    await client.runs.create(thread, "loop", input={"until": 500, "n": 0}, config={"recursion_limit": 900})
    assert await client.threads.prune([thread], strategy="keep_latest") == {"pruned_count": 0}
    assert await client.threads.prune([thread]) == {"pruned_count": 1}
    assert (await http.get(f"/threads/{thread}")).status_code == 404


async def test_one_id_that_is_no_uuid_prunes_nothing(client, http):
    thread = await words(client, "a")
    answer = await http.post("/threads/prune", json={"thread_ids": [thread, "zap"]})
    assert answer.status_code == 422
    assert (await http.get(f"/threads/{thread}")).status_code == 200


# --- storage ---


async def test_a_copy_reports_what_it_reaches(client, http):
    thread = await words(client, ["w" * 3000, "x"])
    copy = (await client.threads.copy(thread))["thread_id"]
    one, other = [(await http.get(f"/threads/{each}/storage")).json() for each in (thread, copy)]
    shared = other.pop("shared_bytes")
    assert other == one | {"thread_id": copy}
    assert 0 < shared <= other["total_bytes"]
