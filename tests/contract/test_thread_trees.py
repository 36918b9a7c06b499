"""Lineage, filters and comparisons over HTTP, on each storage."""

import uuid
from pathlib import Path

import pytest

from tests.in_process import serving
from tests.storages import KINDS

pytestmark = pytest.mark.anyio

APP = Path(__file__).parents[1] / "apps" / "threads" / "langgraph.json"


@pytest.fixture(params=KINDS)
def where(request):
    """What the environment says of the database."""
    return {} if request.param == "sqlite" else {"DATABASE_URI": request.getfixturevalue("database")}


@pytest.fixture
async def http(where, tmp_path):
    async with serving(APP, where, tmp_path / "data") as (_, client, _):
        yield client


async def asked(http, method, path, status=200, **more):
    response = await http.request(method, path, **more)
    assert response.status_code == status, response.text
    return response.json() if response.content else None


async def ran(http, **metadata):
    thread = (await asked(http, "POST", "/threads", json={"metadata": {"graph_id": "chain", **metadata}}))["thread_id"]
    await again(http, thread)
    return thread


async def again(http, thread):
    await asked(http, "POST", f"/threads/{thread}/runs/wait", json={"assistant_id": "chain", "input": {"x": 0}})


async def copied(http, thread, **options):
    return (await asked(http, "POST", f"/threads/{thread}/copy", json=options))["thread_id"]


async def path_of(http, thread):
    """The ids of the checkpoints from the newest to the first one, by their parents."""
    states = await asked(http, "POST", f"/threads/{thread}/history", json={"limit": 1000})
    parents = {state["checkpoint_id"]: state["parent_checkpoint_id"] for state in states}
    ids, current = [], states[0]["checkpoint_id"]
    while current in parents:
        ids.append(current)
        current = parents[current]
    return ids


async def compared(http, a, b, **query):
    return await asked(http, "GET", f"/threads/{a}/compare/{b}", params=query)


async def test_records_and_filters_know_the_tree(http):
    root = await ran(http, title="first")
    child = await copied(http, root, metadata={"title": "second"})
    leaf = await copied(http, child)
    record = await asked(http, "GET", f"/threads/{leaf}")
    assert (record["forked_from"]["thread_id"], record["root_thread_id"]) == (child, root)
    assert "root_thread_id" not in await asked(http, "GET", f"/threads/{root}")
    assert await found(http, forked_from=root) == [child]
    assert await found(http, root_thread_id=root) == sorted([root, child, leaf])
    assert await found(http, root_thread_id=child) == sorted([child, leaf])
    assert await found(http, forked_from=str(uuid.uuid4())) == []
    chosen = {"select": ["thread_id", "root_thread_id", "forked_from"], "ids": [root, leaf]}
    rows = {row["thread_id"]: row for row in await asked(http, "POST", "/threads/search", json=chosen)}
    assert rows == {
        root: {"thread_id": root},
        leaf: {"thread_id": leaf, "root_thread_id": root, "forked_from": record["forked_from"]},
    }
    for body in ({"forked_from": "nobody"}, {"root_thread_id": 7}):
        detail = (await asked(http, "POST", "/threads/search", 422, json=body))["detail"]
        assert next(iter(body)) in detail


async def found(http, **filters):
    threads = await asked(http, "POST", "/threads/search", json={**filters, "limit": 100})
    assert await asked(http, "POST", "/threads/count", json=filters) == len(threads)
    return sorted(thread["thread_id"] for thread in threads)


async def test_a_lineage_is_the_whole_tree_with_deleted_ancestors(http):
    root = await ran(http, title="first")
    child = await copied(http, root)
    leaf, other = await copied(http, child, metadata={"title": "leaf"}), await copied(http, root)
    await asked(http, "DELETE", f"/threads/{child}", 204)
    shown = await asked(http, "GET", f"/threads/{other}/lineage")
    assert shown == await asked(http, "GET", f"/threads/{leaf}/lineage")
    assert (shown["root_thread_id"], shown["truncated"]) == (root, False)
    rows = [(one["thread_id"], one["parent"], one["depth"], one["deleted"]) for one in shown["threads"]]
    assert rows == [(root, None, 0, False), (child, root, 1, True), (leaf, child, 2, False), (other, root, 1, False)]
    assert [one["metadata"] for one in shown["threads"]] == [
        {"title": "first"},
        {},
        {"title": "leaf"},
        {"title": "first"},
    ]
    assert not any(one["hidden"] for one in shown["threads"])
    newest = (await path_of(http, root))[0]
    assert [one["checkpoint_id"] for one in shown["threads"]] == [None, newest, newest, newest]
    await asked(http, "GET", f"/threads/{child}/lineage", 404)
    # The id is used again: the new thread is no part of the tree.
    await asked(http, "POST", "/threads", json={"thread_id": child})
    assert len((await asked(http, "GET", f"/threads/{child}/lineage"))["threads"]) == 1
    assert await found(http, root_thread_id=child) == [child]
    assert await found(http, forked_from=child) == []
    assert (await asked(http, "GET", f"/threads/{leaf}/lineage"))["threads"] == shown["threads"]


async def test_two_threads_part_at_their_common_checkpoint(http):
    thread = await ran(http)
    copy = await copied(http, thread)
    common = (await path_of(http, thread))[0]
    same = await compared(http, thread, copy)
    assert same == {
        "a": {"thread_id": thread, "head": common, "ahead": 0},
        "b": {"thread_id": copy, "head": common, "ahead": 0},
        "common": {"checkpoint_id": common, "thread_id": thread},
        "first_difference": None,
        "equal": True,
    }
    await again(http, copy)
    await again(http, copy)
    await again(http, thread)
    ours, theirs = await path_of(http, thread), await path_of(http, copy)
    ahead, behind = ours.index(common), theirs.index(common)
    assert 0 < ahead < behind
    parted = await compared(http, thread, copy)
    assert (parted["a"]["ahead"], parted["b"]["ahead"], parted["equal"]) == (ahead, behind, False)
    assert parted["common"] == {"checkpoint_id": common, "thread_id": thread}
    assert parted["first_difference"] == {"a": ours[ahead - 1], "b": theirs[behind - 1]}
    turned = await compared(http, copy, thread)
    assert (turned["a"], turned["b"], turned["common"]) == (parted["b"], parted["a"], parted["common"])
    await asked(http, "POST", "/threads/prune", json={"thread_ids": [copy], "strategy": "keep_latest"})
    pruned = await compared(http, thread, copy)
    assert (pruned["common"], pruned["b"]["ahead"]) == (None, 1)


async def test_threads_that_have_nothing_in_common_are_an_answer(http):
    thread, other = await ran(http), await ran(http)
    empty = (await asked(http, "POST", "/threads", json={}))["thread_id"]
    parted = await compared(http, thread, other, state=True)
    assert (parted["common"], parted["equal"]) == (None, False)
    assert parted["a"]["ahead"] == len(await path_of(http, thread))
    assert {name: one["change"] for name, one in parted["channels"].items()} == {"path": "same", "x": "same"}
    nothing = await compared(http, empty, thread, state=True)
    assert (nothing["a"], nothing["common"]) == ({"thread_id": empty, "head": None, "ahead": 0}, None)
    assert {one["change"] for one in nothing["channels"].values()} == {"added"}
    assert (await compared(http, empty, empty))["equal"] is True
    for path in (f"{thread}/compare/{uuid.uuid4()}", f"{uuid.uuid4()}/compare/{thread}"):
        assert "not found" in (await asked(http, "GET", f"/threads/{path}", 404))["detail"]
    await asked(http, "GET", f"/threads/{thread}/compare/nobody", 422)
    await asked(http, "GET", f"/threads/{thread}/compare/{other}", 422, params={"state": "maybe"})


async def test_two_branches_of_one_thread_are_compared_at_their_checkpoints(http):
    thread = await ran(http)
    base = (await path_of(http, thread))[0]
    await again(http, thread)
    left = (await path_of(http, thread))[0]
    body = {"assistant_id": "chain", "input": {"x": 5}, "checkpoint_id": base}
    await asked(http, "POST", f"/threads/{thread}/runs/wait", json=body)
    right = (await path_of(http, thread))[0]
    parted = await compared(http, thread, thread, a_checkpoint=left, b_checkpoint=right, state="true")
    assert parted["common"] == {"checkpoint_id": base, "thread_id": thread}
    assert (parted["a"]["head"], parted["b"]["head"]) == (left, right)
    assert parted["a"]["ahead"] == parted["b"]["ahead"] > 0
    assert parted["channels"]["x"]["change"] == "changed"
    assert (await compared(http, thread, thread, b_checkpoint=base))["b"]["ahead"] == 0
    detail = await asked(http, "GET", f"/threads/{thread}/compare/{thread}", 404, params={"a_checkpoint": "none"})
    assert "none" in detail["detail"]


async def test_equal_threads_have_equal_pending_writes(http):
    body = {"assistant_id": "ask", "input": {"x": 0}}
    thread = (await asked(http, "POST", "/threads", json={"metadata": {"graph_id": "ask"}}))["thread_id"]
    await asked(http, "POST", f"/threads/{thread}/runs/wait", json=body)
    head = (await path_of(http, thread))[0]
    assert (await compared(http, thread, await copied(http, thread)))["equal"]
    cut = await copied(http, thread, checkpoint_id=head)
    parted = await compared(http, thread, cut)
    assert (parted["a"]["ahead"], parted["b"]["ahead"], parted["equal"]) == (0, 0, False)


async def test_info_announces_them(http):
    flags = (await asked(http, "GET", "/info"))["flags"]
    assert flags["thread_lineage"] and flags["thread_compare"] and flags["thread_digests"]
