"""`threadloom.client`: the typed client on top of the stock one, asynchronous and synchronous alike."""

import inspect

import pytest
from langgraph_sdk import get_sync_client
from langgraph_sdk.errors import ConflictError, NotFoundError

from threadloom.client import SyncThreadRepository, ThreadRepository

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def url(protocol_url):
    return protocol_url


async def test_every_operation(client):
    repository = ThreadRepository(client)
    thread = (await client.threads.create(graph_id="steps"))["thread_id"]
    await client.runs.wait(thread, "steps", input={"n": 1})
    first = (await repository.branches(thread))["head"]
    assert first is not None
    await client.runs.wait(thread, "steps", input={"n": 2})
    tag = await repository.put_tag(thread, "first", checkpoint_id=first)
    assert await repository.tags(thread) == [tag]
    copies = await repository.copy_many(thread, 2, checkpoint_id="first", metadata=[{"k": 1}, {"k": 2}])
    assert [copy["metadata"]["k"] for copy in copies] == [1, 2]
    assert copies[0]["cut"]["checkpoint_id"] == first
    whole = await repository.copy(thread, keep="latest")
    tree = await repository.lineage(whole["thread_id"])
    assert tree["root_thread_id"] == thread
    assert len(tree["threads"]) == 4
    compared = await repository.compare(thread, copies[0]["thread_id"], state=True)
    assert compared["common"]["checkpoint_id"] == first
    assert compared["channels"]
    one = await repository.compare(thread, thread, checkpoint_id="first")
    assert (one["a"]["ahead"], one["b"]["ahead"] > 0) == (0, True)
    moved = await repository.reset(thread, "first")
    assert moved["moved"]["to"] == first
    assert (await repository.undo(thread))["moved"]["to"] == moved["moved"]["from"]
    await client.runs.wait(copies[0]["thread_id"], "steps", input={"n": 3})
    promoted = await repository.promote(thread, copies[0]["thread_id"])
    assert (await repository.compare(thread, copies[0]["thread_id"]))["equal"]
    assert promoted["moved"]["from"] == moved["moved"]["from"]
    await repository.append(thread, whole["thread_id"], values={"n": 9})
    await repository.delete_tag(thread, "first")
    with pytest.raises(NotFoundError):
        await repository.reset(thread, "first")
    with pytest.raises(ConflictError):
        await repository.undo(copies[1]["thread_id"])


def test_both_clients_have_the_same_methods(url):
    repository = SyncThreadRepository(get_sync_client(url=url))
    for name, method in inspect.getmembers(ThreadRepository, inspect.isfunction):
        if not name.startswith("_"):
            twin = getattr(SyncThreadRepository, name)
            assert inspect.signature(twin) == inspect.signature(method)
            assert twin.__doc__ == method.__doc__
    thread = get_sync_client(url=url).threads.create(graph_id="steps")["thread_id"]
    assert repository.branches(thread)["turns"] == []
    assert repository.lineage(thread)["threads"][0]["thread_id"] == thread
    assert repository.put_tag.__doc__
