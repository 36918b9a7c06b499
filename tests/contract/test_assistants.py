"""What every storage does with assistants and their versions."""

import pytest

from tests.encryptions import CIPHERS
from threadloom.storage.assistants import AssistantQuery
from threadloom.types import Assistant

pytestmark = pytest.mark.anyio


@pytest.fixture(params=CIPHERS)
def cipher(request):
    return request.param


def assistant(assistant_id="a", **fields):
    fields = {"graph_id": "g", "version": 1, "created_at": 10, "updated_at": 10, "name": "Untitled"} | fields
    return Assistant(assistant_id=assistant_id, **fields)


async def put(storage, *assistants):
    async def work(tx):
        return [await tx.assistants.insert(one) for one in assistants]

    return await storage.write(work)


async def ids(storage, **query):
    found = await storage.read(lambda tx: tx.assistants.search(AssistantQuery(**query)))
    return [one.assistant_id for one in found]


async def test_what_was_put_is_read_again(storage):
    wanted = assistant(
        name="ä", description="d", config={"tags": ["t"]}, context={"x": [1, 2.5, None]}, metadata={"m": {"n": 1}}
    )
    assert await put(storage, wanted) == [True]
    assert await storage.read(lambda tx: tx.assistants.get("a")) == wanted
    assert await storage.read(lambda tx: tx.assistants.get("b")) is None


async def test_a_taken_id_changes_nothing(storage):
    first = assistant()
    assert await put(storage, first, assistant(name="second")) == [True, False]
    assert await storage.read(lambda tx: tx.assistants.get("a")) == first
    assert await storage.read(lambda tx: tx.assistants.versions("a")) == [first]


async def test_a_new_version_has_the_number_after_the_highest_ever(storage):
    await put(storage, assistant())

    async def work(tx):
        second = await tx.assistants.add_version(assistant(version=1, name="two", updated_at=20))
        third = await tx.assistants.add_version(assistant(version=1, name="three", updated_at=30))
        await tx.assistants.set_current(assistant(version=1, updated_at=40))
        fourth = await tx.assistants.add_version(assistant(version=1, name="four", updated_at=50))
        return [one.version for one in (second, third, fourth)]

    assert await storage.write(work) == [2, 3, 4]
    current = await storage.read(lambda tx: tx.assistants.get("a"))
    assert (current.version, current.name, current.created_at, current.updated_at) == (4, "four", 10, 50)
    versions = await storage.read(lambda tx: tx.assistants.versions("a"))
    assert [(one.version, one.name, one.created_at) for one in versions] == [
        (4, "four", 50),
        (3, "three", 30),
        (2, "two", 20),
        (1, "Untitled", 10),
    ]


async def test_versions_page_and_filter(storage):
    async def work(tx):
        await tx.assistants.insert(assistant(metadata={"stage": "draft"}))
        for number in range(3):
            await tx.assistants.add_version(assistant(metadata={"stage": "live", "n": number}))

    await storage.write(work)

    async def numbers(**filters):
        return [one.version for one in await storage.read(lambda tx: tx.assistants.versions("a", **filters))]

    assert await numbers(limit=2) == [4, 3]
    assert await numbers(limit=2, offset=3) == [1]
    assert await numbers(metadata={"stage": "live"}) == [4, 3, 2]
    assert await numbers(metadata={"stage": "live"}, limit=1, offset=1) == [3]
    assert await numbers(metadata={}) == [4, 3, 2, 1]
    first = await storage.read(lambda tx: tx.assistants.version("a", 1))
    assert first is not None
    assert first.metadata == {"stage": "draft"}
    assert await storage.read(lambda tx: tx.assistants.version("a", 9)) is None


async def test_going_back_keeps_the_versions(storage):
    async def work(tx):
        await tx.assistants.insert(assistant(context={"v": 1}))
        await tx.assistants.add_version(assistant(context={"v": 2}, graph_id="h"))
        await tx.assistants.set_current(assistant(version=1, context={"v": 1}, updated_at=99))

    await storage.write(work)
    current = await storage.read(lambda tx: tx.assistants.get("a"))
    assert (current.version, current.graph_id, current.context, current.updated_at) == (1, "g", {"v": 1}, 99)
    assert len(await storage.read(lambda tx: tx.assistants.versions("a"))) == 2


async def test_restating_a_version_touches_the_assistant_only_if_it_is_current(storage):
    async def work(tx):
        await tx.assistants.insert(assistant(description="old"))
        await tx.assistants.restate(assistant(description="new", config={"tags": ["t"]}, context={"a": 1}))
        first = await tx.assistants.get("a")
        await tx.assistants.add_version(first)
        await tx.assistants.restate(assistant(description=None))
        return first, await tx.assistants.get("a"), await tx.assistants.version("a", 1)

    shown = [(one.description, one.config, one.context) for one in await storage.write(work)]
    assert shown == [("new", {"tags": ["t"]}, {"a": 1})] * 2 + [(None, {}, {})]


async def test_delete_takes_the_versions_along(storage):
    await put(storage, assistant(), assistant("b"))
    await storage.write(lambda tx: tx.assistants.add_version(assistant()))
    assert await storage.write(lambda tx: tx.assistants.delete("a")) is True
    assert await storage.write(lambda tx: tx.assistants.delete("a")) is False
    assert await storage.read(lambda tx: tx.assistants.versions("a")) == []
    assert await put(storage, assistant()) == [True]
    assert [one.version for one in await storage.read(lambda tx: tx.assistants.versions("a"))] == [1]
    assert await ids(storage, descending=False) == ["b", "a"]


async def test_search_filters(storage):
    await put(
        storage,
        assistant("a", name="Ärger 100%", metadata={"deep": {"x": 1, "y": 2}}, created_at=1),
        assistant("b", name="a_b", graph_id="h", metadata={"deep": {"x": 1}}, created_at=2),
        assistant("c", name="C.*", graph_id="i", created_at=3),
    )
    assert await ids(storage) == ["c", "b", "a"]
    assert await ids(storage, graph_id="h") == ["b"]
    assert await ids(storage, graphs=["g", "h"]) == ["b", "a"]
    assert await ids(storage, graphs=[]) == []
    assert await ids(storage, metadata={"deep": {"x": 1}}) == ["b", "a"]
    assert await ids(storage, metadata={"deep": {"x": "1"}}) == []
    assert await ids(storage, name="äRG") == ["a"]
    assert await ids(storage, name="%") == ["a"]
    assert await ids(storage, name="_") == ["b"]
    assert await ids(storage, name=".*") == ["c"]
    assert await ids(storage, name="") == ["c", "b", "a"]
    assert await ids(storage, name="a", graph_id="h", metadata={"deep": {}}) == ["b"]

    async def counted(**query):
        return await storage.read(lambda tx: tx.assistants.count(AssistantQuery(**query)))

    assert await counted(limit=1, offset=5) == 3
    assert await counted(name="R", graphs=["g"]) == 1


@pytest.mark.parametrize(
    ("sort_by", "ascending"),
    [
        ("assistant_id", ["a", "b", "c"]),
        ("created_at", ["b", "c", "a"]),
        ("updated_at", ["c", "a", "b"]),
        ("name", ["c", "b", "a"]),
        ("graph_id", ["a", "b", "c"]),
    ],
)
async def test_search_sorts_both_ways_and_pages(storage, sort_by, ascending):
    await put(
        storage,
        assistant("a", name="z", graph_id="g", created_at=3, updated_at=20),
        assistant("b", name="Y", graph_id="g", created_at=1, updated_at=30),
        assistant("c", name="b", graph_id="h", created_at=1, updated_at=10),
    )
    assert await ids(storage, sort_by=sort_by, descending=False) == ascending
    assert await ids(storage, sort_by=sort_by) == ascending[::-1]
    assert await ids(storage, sort_by=sort_by, limit=1, offset=1) == [ascending[1]]
