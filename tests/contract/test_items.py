"""What every storage does with items of the long-term store."""

import asyncio

import msgspec
import numpy as np
import pytest

from tests.encryptions import CIPHERS
from threadloom.errors import BadRequest
from threadloom.storage.items import ItemQuery, conditions
from threadloom.types import Item

pytestmark = pytest.mark.anyio


@pytest.fixture(params=CIPHERS)
def cipher(request):
    return request.param


def item(key="k", namespace=("n",), value=None, at=10, **fields):
    value_json = msgspec.json.encode({} if value is None else value)
    return Item(namespace=namespace, key=key, value_json=value_json, created_at=at, updated_at=at, **fields)


def vector(*numbers):
    numbers = np.array(numbers, dtype=np.float64)
    return (numbers / (np.linalg.norm(numbers) or 1)).astype("<f4").tobytes()


async def put(storage, one, *vectors, now=10):
    await storage.write(lambda tx: tx.items.put(one, vectors, now))


async def get(storage, key="k", namespace=("n",), now=10):
    return await storage.read(lambda tx: tx.items.get(namespace, key, now))


async def search(storage, *prefix, now=10, filter=None, **query):
    wanted = ItemQuery(prefix=prefix, conditions=conditions(filter), **query)
    return await storage.read(lambda tx: tx.items.search(wanted, now), heavy=True)


async def keys(storage, *prefix, **query):
    return [one.key for one in await search(storage, *prefix, **query)]


async def namespaces(storage, *prefix, now=10):
    return await storage.read(lambda tx: tx.items.namespaces(prefix, now))


async def test_what_was_put_is_read_again(storage):
    wanted = item(value={"a": [1, None, {"b": "ü"}]}, ttl_minutes=0.5, expires_at=40, at=3)
    await put(storage, wanted)
    assert await get(storage) == wanted
    assert await get(storage, "other") is None
    assert await get(storage, namespace=("n", "m")) is None


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**40, 0.1, 5e-324, 1.7976931348623157e308])
async def test_numbers_stay_exact(storage, number):
    await put(storage, item(value={"n": number}))
    assert msgspec.json.decode((await get(storage)).value_json) == {"n": number}


async def test_a_put_replaces_all_but_when_it_was_made(storage):
    await put(storage, item(value={"a": 1}, ttl_minutes=1, expires_at=100, at=3), vector(1, 0))
    await put(storage, item(value={"b": 2}, at=7), now=7)
    stored = await get(storage)
    assert (stored.value_json, stored.created_at, stored.updated_at) == (b'{"b":2}', 3, 7)
    assert (stored.ttl_minutes, stored.expires_at) == (None, None)


async def test_a_put_over_an_expired_item_makes_a_new_one(storage):
    await put(storage, item(ttl_minutes=1, expires_at=100, at=3))
    await put(storage, item(at=100), now=100)
    assert (await get(storage, now=100)).created_at == 100


async def test_a_deleted_item_is_gone_with_its_vectors(storage):
    await put(storage, item(at=3), vector(1, 0))
    await storage.write(lambda tx: tx.items.delete(("n",), "k"))
    await storage.write(lambda tx: tx.items.delete(("n",), "k"))
    assert await get(storage) is None
    assert await search(storage, vector=vector(1, 0)) == []
    await put(storage, item(at=9))
    assert (await get(storage)).created_at == 9


async def test_an_expired_item_is_nowhere(storage):
    await put(storage, item("old", ("n", "old"), ttl_minutes=1, expires_at=50), vector(1, 0))
    await put(storage, item("new", ("n", "new"), ttl_minutes=1, expires_at=51), vector(1, 0))
    assert await get(storage, "old", ("n", "old"), now=50) is None
    assert await keys(storage, now=50) == ["new"]
    assert await keys(storage, "n", now=50) == ["new"]
    assert await keys(storage, "n", now=50, filter={"x": {"$ne": 1}}) == ["new"]
    assert await keys(storage, now=50, vector=vector(1, 0)) == ["new"]
    assert await namespaces(storage, now=50) == [("n", "new")]


async def test_a_refresh_restarts_the_clock_of_what_is_alive(storage):
    minute = 60_000_000
    await put(storage, item("brief", ttl_minutes=1, expires_at=minute), vector(1, 0), now=0)
    await put(storage, item("lasting"), now=0)
    places = [(("n",), "brief"), (("n",), "lasting"), (("n",), "missing")]
    await storage.write(lambda tx: tx.items.refresh(places, minute - 1))
    assert (await get(storage, "brief", now=minute)).expires_at == 2 * minute - 1
    assert await keys(storage, now=minute, vector=vector(1, 0)) == ["brief", "lasting"]
    await storage.write(lambda tx: tx.items.refresh(places, 2 * minute))
    assert await get(storage, "brief", now=2 * minute) is None
    assert (await get(storage, "lasting")).expires_at is None


async def test_a_sweep_removes_a_portion_of_what_expired(storage):
    for number in range(5):
        await put(storage, item(f"k{number}", ttl_minutes=1, expires_at=20 + number), vector(1, 0))
    await put(storage, item("stays"))
    assert await storage.write(lambda tx: tx.items.sweep(22, 2)) == 2
    assert await storage.write(lambda tx: tx.items.sweep(22, 2)) == 1
    assert await keys(storage, now=10) == ["k3", "k4", "stays"]


async def test_a_prefix_is_of_whole_labels(storage):
    for namespace in [("a",), ("a", "sub"), ("a", "sub", "deep"), ("a", "subway"), ("a!",), ("ä",), ("a", "\x01")]:
        await put(storage, item(".".join(namespace), namespace))
    assert set(await keys(storage, "a")) == {"a", "a.sub", "a.sub.deep", "a.subway", "a.\x01"}
    assert await keys(storage, "a", "sub") == ["a.sub", "a.sub.deep"]
    assert await keys(storage, "a", "su") == []
    assert len(await keys(storage)) == 7


async def test_the_last_updated_comes_first_then_by_namespace_and_key(storage):
    await put(storage, item("a", ("n", "z"), at=5))
    await put(storage, item("b", ("n",), at=5))
    await put(storage, item("a", ("n",), at=5))
    await put(storage, item("z", ("n",), at=6))
    expected = ["z", "a", "b", "a"]
    assert await keys(storage) == expected
    assert await keys(storage, "n") == expected
    assert await keys(storage, "n", filter={"x": {"$ne": 1}}) == expected
    assert await keys(storage, "n", limit=2, offset=1) == expected[1:3]
    assert await keys(storage, limit=2, offset=3) == expected[3:]
    assert await keys(storage, limit=2, offset=9) == []


async def test_namespaces_come_once_sorted_label_by_label(storage):
    for number, namespace in enumerate([("a!", "b"), ("a", "z"), ("a",), ("b",), ("a", "z")]):
        await put(storage, item(f"k{number}", namespace))
    assert await namespaces(storage) == [("a",), ("a", "z"), ("a!", "b"), ("b",)]
    assert await namespaces(storage, "a") == [("a",), ("a", "z")]


VALUES = {
    "one": {"n": 1, "kind": "fruit", "tags": ["a", {"b": 1}], "o": {"x": 1, "y": None}},
    "two": {"n": 2.5, "kind": "thing", "tags": ["a"], "flag": True},
    "big": {"n": 2**70, "kind": "Fruit", "flag": 1, "nothing": None},
    "text": {"n": "1", "kind": 'é\n"', "flag": False, 'odd"name\\': 1, "a.b": 2},
    "bare": {},
}


@pytest.mark.parametrize(
    "filter, expected",
    [
        ({}, {"one", "two", "big", "text", "bare"}),
        ({"n": 1}, {"one"}),
        ({"n": 1.0}, {"one"}),
        ({"n": True}, set()),
        ({"n": "1"}, {"text"}),
        ({"n": 2**70}, {"big"}),
        ({"n": 2**70 + 1}, set()),
        ({"n": {"$gt": 1}}, {"two", "big"}),
        ({"n": {"$gte": 1, "$lt": 2.5}}, {"one"}),
        ({"n": {"$lte": 2.5}}, {"one", "two"}),
        ({"n": {"$lt": "2"}}, {"text"}),
        ({"n": {"$gt": 2**70 - 1}}, {"big"}),
        ({"n": {"$gt": None}}, set()),
        ({"n": {"$ne": 1}}, {"two", "big", "text", "bare"}),
        ({"kind": "fruit"}, {"one"}),
        ({"kind": 'é\n"'}, {"text"}),
        ({"kind": {"$gte": "fruit"}}, {"one", "two", "text"}),
        ({"flag": True}, {"two"}),
        ({"flag": False}, {"text"}),
        ({"flag": 1}, {"big"}),
        ({"flag": {"$ne": True}}, {"one", "big", "text", "bare"}),
        ({"nothing": None}, {"big"}),
        ({"nothing": {"$ne": None}}, {"one", "two", "text", "bare"}),
        ({"tags": ["a", {"b": 1.0}]}, {"one"}),
        ({"tags": ["a"]}, {"two"}),
        ({"o": {"x": 1, "y": None}}, {"one"}),
        ({"o": {"x": 1}}, set()),
        ({"o": {}}, set()),
        ({'odd"name\\': 1}, {"text"}),
        ({"a.b": 2}, {"text"}),
        ({"a": 2}, set()),
        ({"kind": "fruit", "n": {"$gt": 1}}, set()),
    ],
    ids=lambda value: str(sorted(value) if isinstance(value, set) else value),
)
async def test_a_filter_compares_top_level_fields_as_json(storage, filter, expected):
    for key, value in VALUES.items():
        await put(storage, item(key, value=value), vector(1, 0))
    assert set(await keys(storage, filter=filter)) == expected
    assert set(await keys(storage, "n", filter=filter)) == expected
    assert set(await keys(storage, "n", filter=filter, vector=vector(1, 1))) == expected


@pytest.mark.parametrize("wanted", [{"$in": [1]}, {"$gt": 1, "x": 2}, {"$": 1}], ids=str)
async def test_an_unknown_operator_is_refused(wanted):
    with pytest.raises(BadRequest, match="Unsupported operator: "):
        conditions({"n": wanted})


async def test_filtered_items_page(storage):
    for number in range(300):
        await put(storage, item(f"k{number:03}", value={"even": number % 2 == 0, "odd": [number % 2]}, at=number))
    for filter in ({"even": True}, {"odd": [0]}, {"even": {"$ne": False}}):
        found = await keys(storage, "n", filter=filter, limit=3, offset=100)
        assert found == ["k098", "k096", "k094"]


async def test_likeness_orders_and_is_the_cosine(storage):
    await put(storage, item("same"), vector(1, 2, 0))
    await put(storage, item("near"), vector(1, 1, 0))
    await put(storage, item("apart"), vector(0, 0, 1))
    await put(storage, item("opposite"), vector(-1, -2, 0))
    found = await search(storage, vector=vector(2, 4, 0))
    assert [one.key for one in found] == ["same", "near", "apart", "opposite"]
    assert [one.score for one in found] == pytest.approx([1, 3 / 10**0.5, 0, -1], abs=1e-6)


async def test_an_item_is_as_near_as_its_nearest_vector(storage):
    await put(storage, item("two"), vector(0, 1), vector(1, 0))
    await put(storage, item("one"), vector(1, 1))
    found = await search(storage, vector=vector(1, 0), limit=5)
    assert [(one.key, round(one.score, 3)) for one in found] == [("two", 1.0), ("one", 0.707)]


async def test_items_without_vectors_come_after_and_page_with_the_rest(storage):
    for number in range(4):
        await put(storage, item(f"v{number}", value={"n": number}), vector(1, number))
    for number in range(4):
        await put(storage, item(f"w{number}", value={"n": number}, at=number))
    everything = await keys(storage, vector=vector(1, 0))
    assert everything == ["v0", "v1", "v2", "v3", "w3", "w2", "w1", "w0"]
    for offset in range(9):
        assert await keys(storage, vector=vector(1, 0), limit=3, offset=offset) == everything[offset : offset + 3]
    some = [key for key in everything if key[1] in "13"]
    found = await keys(storage, vector=vector(1, 0), filter={"n": {"$ne": 0}})
    assert found == [key for key in everything if key[1] != "0"]
    for offset in range(5):
        found = await keys(storage, vector=vector(1, 0), filter={"n": {"$gte": 1, "$ne": 2}}, limit=2, offset=offset)
        assert found == some[offset : offset + 2]


async def test_a_filter_may_have_more_conditions_than_a_database_takes(storage):
    """The routes bound filters; what graphs ask for comes here as it is."""
    many = {f"k{n}": n for n in range(1200)}
    await put(storage, item("all", value=many))
    await put(storage, item("most", value=many | {"k1199": "other"}))
    assert await keys(storage, filter=many) == ["all"]


@pytest.mark.parametrize("every", [2, 20, 75])
async def test_conditions_that_many_or_few_items_meet_give_the_nearest_that_do(storage, every, monkeypatch):
    """What many items meet is found among the nearest; what few meet is looked for by itself."""
    monkeypatch.setattr("threadloom.storage.ranking.TRIED", 50)

    async def fill(tx):
        for number in range(150):
            value = {"fits": number % every == 1, "n": number}
            vectors = [vector(1, number / 150)] * (1 + number % 3)
            await tx.items.put(item(f"k{number:04}", value=value), vectors, 10)
        await tx.items.put(item("z", value={"fits": True}, at=1), [], 10)

    await storage.write(fill)
    wanted = [f"k{number:04}" for number in range(150) if number % every == 1] + ["z"]
    for offset, limit in ((0, 3), (1, 5), (0, 100), (len(wanted) - 2, 5)):
        found = await keys(storage, "n", vector=vector(1, 0), filter={"fits": True}, offset=offset, limit=limit)
        assert found == wanted[offset : offset + limit]


async def test_what_is_read_beforehand_changes_nothing(storage):
    for number in range(5):
        await put(storage, item(f"k{number}"), vector(1, number))
    await storage.read(lambda tx: tx.items.warm(2, 10), heavy=True)
    await storage.write(lambda tx: tx.items.delete(("n",), "k0"))
    await put(storage, item("k2"), vector(1, 0))
    await storage.read(lambda tx: tx.items.warm(2, 10), heavy=True)
    assert await keys(storage, vector=vector(1, 0)) == ["k2", "k1", "k3", "k4"]
    await storage.read(lambda tx: tx.items.warm(3, 10), heavy=True)
    assert await keys(storage, vector=vector(1, 0)) == ["k2", "k1", "k3", "k4"]


async def test_vectors_of_another_model_do_not_count(storage):
    await put(storage, item("old"), vector(1, 0))
    await put(storage, item("new"), vector(1, 0, 0))
    found = await search(storage, vector=vector(1, 0, 0))
    assert [(one.key, one.score) for one in found] == [("new", 1.0), ("old", None)]
    found = await search(storage, vector=vector(1, 0))
    assert [(one.key, one.score) for one in found] == [("old", 1.0), ("new", None)]


async def test_a_search_sees_each_write_from_then_on(storage):
    for round in range(30):
        await put(storage, item("moved"), vector(round % 3 == 0, round % 3 == 1, round % 3 == 2))
        await put(storage, item(f"k{round}", ("other",)), vector(1, 1, 1))
        found = await search(storage, "n", vector=vector(1, 0, 0))
        assert [one.score for one in found] == [1.0 if round % 3 == 0 else 0.0]
    assert len(await search(storage, vector=vector(1, 0, 0), limit=100)) == 31


async def test_many_readers_and_a_writer_agree(storage):
    async def reader():
        for _ in range(20):
            found = await search(storage, "n", vector=vector(1, 0), limit=100)
            assert all(one.score == pytest.approx(float(one.key) / 100, abs=1e-6) for one in found)

    async def writer():
        for number in range(60):
            share = number / 100
            await put(storage, item(str(number)), vector(share, (1 - share**2) ** 0.5))
            if number % 3 == 0:
                await storage.write(lambda tx, key=str(number // 2): tx.items.delete(("n",), key))

    await asyncio.gather(writer(), *(reader() for _ in range(4)))
