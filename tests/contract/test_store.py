"""LangGraph's store on every storage: what graphs may expect of `runtime.store`.

Cases that take `both` run on LangGraph's own in-memory store too: there we behave alike.
"""

import asyncio
import threading
from datetime import UTC, datetime

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from langgraph.store.base import (
    GetOp,
    InvalidNamespaceError,
    ListNamespacesOp,
    MatchCondition,
    PutOp,
    SearchOp,
    ensure_embeddings,
)
from langgraph.store.memory import InMemoryStore

from tests.clocks import ManualClock
from threadloom.store import EmbeddingError, Index, Store

pytestmark = pytest.mark.anyio

WORDS = ["red", "green", "blue", "apple", "car", "sky"]


class Words:
    """An embedding function: which of a few words a text has. Notes what it was asked."""

    def __init__(self):
        self.asked = []

    async def __call__(self, texts):
        self.asked.append(list(texts))
        return [[float(word in text) for word in WORDS] for text in texts]


def index_of(function, fields=("text",), dims=6):
    return Index(ensure_embeddings(function), dims, fields, name="words")


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def words():
    return Words()


@pytest.fixture
async def store(storage, clock, words):
    async with Store(storage, clock, index=index_of(words)) as store:
        yield store


@pytest.fixture(params=["ours", "LangGraph's"])
def both(request, store):
    if request.param == "ours":
        return store
    return InMemoryStore(index={"dims": len(WORDS), "embed": Words(), "fields": ["text"]})


async def keys(store, *prefix, **query):
    return [item.key for item in await store.asearch(prefix, **query)]


async def test_an_item_is_put_read_and_deleted(both):
    assert await both.aget(("a", "b"), "k") is None
    await both.aput(("a", "b"), "k", {"x": [1, {"y": None}]})
    item = await both.aget(("a", "b"), "k")
    assert (item.namespace, item.key, item.value) == (("a", "b"), "k", {"x": [1, {"y": None}]})
    assert item.created_at.tzinfo == UTC
    assert await both.aget(("a",), "k") is None
    await both.adelete(("a", "b"), "k")
    assert await both.aget(("a", "b"), "k") is None


async def test_a_put_keeps_when_the_item_was_made(store, clock):
    await store.aput(("a",), "k", {"n": 1})
    clock.move(2)
    await store.aput(("a",), "k", {"n": 2})
    item = await store.aget(("a",), "k")
    assert item.value == {"n": 2}
    assert (item.updated_at - item.created_at).total_seconds() == 2


async def test_ten_thousand_namespaces_are_listed_right(store):
    users = [(f"user {number:05}", f"topic {number % 7}", "notes") for number in range(10_000)]
    await store.abatch([PutOp(namespace, "k", {"n": 1}, index=False) for namespace in users])
    assert await store.alist_namespaces(limit=10_001) == users
    assert await store.alist_namespaces(limit=5, offset=9_997) == users[9_997:]
    assert await store.alist_namespaces(prefix=("user 00042",)) == [users[42]]
    assert await store.alist_namespaces(suffix=("topic 3", "*"), limit=3) == [users[3], users[10], users[17]]
    assert len(await store.alist_namespaces(max_depth=1, limit=20_000)) == 10_000
    assert len(await store.asearch((), limit=10)) == 10


async def test_a_batch_reads_as_of_before_its_writes(both):
    await both.aput(("a",), "old", {"n": 1})
    results = await both.abatch(
        [
            PutOp(("a",), "old", {"n": 2}),
            GetOp(("a",), "old"),
            PutOp(("a",), "new", {"n": 3}),
            GetOp(("a",), "new"),
            SearchOp(("a",), limit=10),
            ListNamespacesOp(),
            PutOp(("a",), "new", {"n": 4}),
        ]
    )
    assert results[1].value == {"n": 1}
    assert results[3] is None
    assert [item.value for item in results[4]] == [{"n": 1}]
    assert results[5] == [("a",)]
    assert [results[number] for number in (0, 2, 6)] == [None, None, None]
    assert (await both.aget(("a",), "old")).value == {"n": 2}
    assert (await both.aget(("a",), "new")).value == {"n": 4}


@pytest.mark.parametrize("namespace", [(), ("the", "thing.about"), ("some", "fun", ""), ("langgraph", "foo"), ("a", 1)])
async def test_a_namespace_that_cannot_be_is_refused(both, namespace):
    with pytest.raises(InvalidNamespaceError):
        await both.aput(namespace, "k", {"x": 1})


async def test_a_batch_checks_labels_too(store):
    for op in (GetOp(("a.b",), "k"), PutOp(("",), "k", {}), SearchOp(("a", "b.c"))):
        with pytest.raises(InvalidNamespaceError):
            await store.abatch([op])
    with pytest.raises(InvalidNamespaceError):
        await store.abatch([ListNamespacesOp((MatchCondition("prefix", ("a.b",)),))])


async def test_langgraph_is_only_taken_as_a_root(both):
    await both.aput(("foo", "langgraph"), "k", {"x": 1})
    assert (await both.aget(("foo", "langgraph"), "k")).value == {"x": 1}


@pytest.mark.parametrize("value", [None, [1], "text"])
async def test_a_value_is_an_object(store, value):
    if value is None:
        await store.aput(("a",), "k", {"x": 1})
        await store.abatch([PutOp(("a",), "k", None)])
        assert await store.aget(("a",), "k") is None
        return
    with pytest.raises(ValueError, match="value must be a mapping"):
        await store.aput(("a",), "k", value)


async def test_a_value_without_a_json_form_is_refused_and_nothing_of_the_batch_kept(store):
    with pytest.raises(ValueError, match="cannot be stored as JSON"):
        await store.abatch([PutOp(("a",), "good", {"x": 1}), PutOp(("a",), "bad", {"x": object()})])
    assert await store.aget(("a",), "good") is None


async def test_numbers_stay_exact(both):
    value = {"big": 2**63, "bigger": -(10**40), "float": 0.1, "whole": 1.0}
    await both.aput(("a",), "k", value)
    stored = (await both.aget(("a",), "k")).value
    assert stored == value
    assert isinstance(stored["whole"], float)


async def test_dates_are_stored_as_states_show_them(store):
    await store.aput(("a",), "k", {"at": datetime(2026, 1, 2, tzinfo=UTC)})
    assert (await store.aget(("a",), "k")).value == {"at": "2026-01-02T00:00:00+00:00"}
    assert await keys(store, "a", filter={"at": {"$gte": datetime(2026, 1, 1, tzinfo=UTC)}}) == ["k"]


# --- namespaces ---

TREE = [
    ("a", "b", "c"),
    ("a", "b", "d", "e"),
    ("a", "b", "d", "i"),
    ("a", "b", "f"),
    ("a", "c", "f"),
    ("b", "a", "f"),
    ("users", "123"),
    ("users", "456", "settings"),
    ("admin", "users", "789"),
]


@pytest.mark.parametrize(
    "query, expected",
    [
        ({}, sorted(TREE)),
        ({"prefix": ("a", "b")}, [("a", "b", "c"), ("a", "b", "d", "e"), ("a", "b", "d", "i"), ("a", "b", "f")]),
        ({"suffix": ("f",)}, [("a", "b", "f"), ("a", "c", "f"), ("b", "a", "f")]),
        ({"prefix": ("a",), "suffix": ("f",)}, [("a", "b", "f"), ("a", "c", "f")]),
        ({"prefix": ("a", "b"), "max_depth": 3}, [("a", "b", "c"), ("a", "b", "d"), ("a", "b", "f")]),
        ({"max_depth": 1}, [("a",), ("admin",), ("b",), ("users",)]),
        ({"prefix": ("a", "b"), "limit": 2}, [("a", "b", "c"), ("a", "b", "d", "e")]),
        ({"prefix": ("a", "b"), "offset": 2}, [("a", "b", "d", "i"), ("a", "b", "f")]),
        ({"prefix": ("a", "*", "f")}, [("a", "b", "f"), ("a", "c", "f")]),
        ({"suffix": ("*", "f")}, [("a", "b", "f"), ("a", "c", "f"), ("b", "a", "f")]),
        ({"prefix": ("*", "users")}, [("admin", "users", "789")]),
        ({"prefix": ("users", "*")}, [("users", "123"), ("users", "456", "settings")]),
        ({"prefix": ("users", "123", "*")}, []),
        ({"prefix": ("nonexistent",)}, []),
        ({"suffix": ("a", "b", "c", "d")}, []),
        ({"suffix": ("settings",), "max_depth": 2}, [("users", "456")]),
    ],
    ids=str,
)
async def test_namespaces_are_listed(both, query, expected):
    for number, namespace in enumerate(TREE):
        await both.aput(namespace, f"k{number}", {"n": number})
    assert await both.alist_namespaces(**query) == expected


async def test_several_prefixes_must_all_hold(store):
    await store.aput(("a", "b", "c"), "k", {})
    await store.aput(("a", "x", "c"), "k", {})
    found = MatchCondition("prefix", ("*", "b")), MatchCondition("prefix", ("a",)), MatchCondition("suffix", ("c",))
    assert (await store.abatch([ListNamespacesOp(found)]))[0] == [("a", "b", "c")]


@pytest.mark.parametrize("query", [{"limit": -1}, {"offset": -1}, {"max_depth": 0}], ids=str)
async def test_a_listing_that_cannot_be_is_refused(store, query):
    with pytest.raises(ValueError, match=next(iter(query))):
        await store.alist_namespaces(**query)


# --- searching ---


async def test_filters_and_pages(both):
    for number in range(12):
        await both.aput(("docs", str(number % 2)), f"k{number:02}", {"n": number, "kind": "abc"[number % 3]})
    assert len(await both.asearch(("docs",))) == 10
    assert len(await both.asearch(("docs",), limit=50)) == 12
    assert len(await both.asearch(("docs",), limit=5, offset=10)) == 2
    assert set(await keys(both, "docs", filter={"kind": "a"})) == {"k00", "k03", "k06", "k09"}
    assert set(await keys(both, "docs", "1", filter={"kind": "a"})) == {"k03", "k09"}
    assert set(await keys(both, "docs", filter={"n": {"$gt": 3, "$lte": 5}})) == {"k04", "k05"}
    assert set(await keys(both, "docs", filter={"n": {"$ne": 1}, "kind": {"$eq": "b"}})) == {"k04", "k07", "k10"}
    assert await keys(both, "doc") == []
    with pytest.raises(ValueError, match=r"Unsupported operator: \$in"):
        await both.asearch(("docs",), filter={"n": {"$in": [1]}})


async def test_a_query_ranks_by_likeness(both):
    await both.aput(("d",), "apple", {"text": "red apple"})
    await both.aput(("d",), "car", {"text": "red car"})
    await both.aput(("d",), "sky", {"text": "blue sky"})
    await both.aput(("d",), "mute", {"title": "red apple"})
    found = await both.asearch(("d",), query="red apple")
    assert [item.key for item in found] == ["apple", "car", "sky", "mute"]
    assert [item.score for item in found[:3]] == pytest.approx([1, 0.5, 0], abs=1e-6)
    assert found[3].score is None
    assert [item.key for item in await both.asearch(("d",), query="blue sky", limit=1)] == ["sky"]
    assert all(item.score is None for item in await both.asearch(("d",)))


async def test_a_put_says_what_is_indexed(both):
    await both.aput(("d",), "no", {"text": "red apple"}, index=False)
    await both.aput(("d",), "title", {"text": "sky", "title": "red apple"}, index=["title"])
    await both.aput(("d",), "list", {"parts": [{"t": "blue"}, {"t": "red apple"}]}, index=["parts[*].t"])
    scores = {item.key: item.score for item in await both.asearch(("d",), query="red apple")}
    assert scores == {"no": None, "title": pytest.approx(1), "list": pytest.approx(1)}


async def test_a_put_and_a_delete_leave_no_old_vectors(store):
    await store.aput(("d",), "k", {"text": "red apple"})
    await store.aput(("d",), "k", {"text": "blue sky"})
    await store.aput(("d",), "gone", {"text": "red apple"})
    await store.adelete(("d",), "gone")
    [found] = await store.asearch(("d",), query="red apple")
    assert (found.key, found.score) == ("k", 0.0)
    await store.aput(("d",), "k", {"text": "red apple"}, index=False)
    [found] = await store.asearch(("d",), query="red apple")
    assert found.score is None


async def test_the_whole_value_may_be_indexed(storage, clock, words):
    store = Store(storage, clock, index=index_of(words, ["$"]))
    await store.aput(("d",), "k", {"b": 1, "a": "é"})
    assert words.asked == [['{"a": "é", "b": 1}']]


@pytest.mark.parametrize(
    "path, texts",
    [
        ("a.b", ["deep"]),
        ("list[0]", ["x"]),
        ("list[-1]", ["z"]),
        ("list[*]", ["x", "y", "z"]),
        ("rows[*].name", ["one", "two"]),
        ("number", ["7"]),
        ("object", ['{"k": 1}']),
        ("missing.field", []),
        ("blank", []),
        ("null", []),
    ],
)
async def test_paths_name_the_texts_to_embed(storage, clock, words, path, texts):
    value = {
        "a": {"b": "deep"},
        "list": ["x", "y", "z"],
        "rows": [{"name": "one"}, {"name": "two"}, {"other": 1}],
        "number": 7,
        "object": {"k": 1},
        "blank": " ",
        "null": None,
    }
    await Store(storage, clock, index=index_of(words, [path])).aput(("d",), "k", value)
    assert words.asked == ([texts] if texts else [])


async def test_a_batch_embeds_each_text_once(store, words):
    same = {"text": "red"}
    await store.abatch([PutOp(("d",), "a", same), PutOp(("d",), "b", same), PutOp(("d",), "c", {"text": "sky"})])
    assert words.asked == [["red", "sky"]]


async def test_without_an_index_a_query_is_ignored(storage, clock):
    store = Store(storage, clock)
    await store.aput(("d",), "k", {"text": "red"}, index=["text"])
    [found] = await store.asearch(("d",), query="blue")
    assert found.score is None


async def failing(texts):
    if any("fail" in text for text in texts):
        raise RuntimeError("key sk-secret refused")
    return [[1.0] * len(WORDS) for _ in texts]


@pytest.mark.parametrize(
    "function, told",
    [
        (failing, "words failed: RuntimeError"),
        (lambda texts: [[1.0, 2.0] for _ in texts], "vector of 2 numbers, store.index.dims says 6"),
        (lambda texts: [], "0 vectors for 1 texts"),
        (lambda texts: [[float("nan")] * 6 for _ in texts], "NaN or infinity"),
        (lambda texts: [["x"] * 6 for _ in texts], "no list of numbers"),
        (lambda texts: None, "no list of vectors"),
    ],
)
async def test_an_embedding_that_fails_fails_the_put_and_keeps_nothing(storage, clock, function, told):
    store = Store(storage, clock, index=index_of(function))
    with pytest.raises(EmbeddingError, match=told) as raised:
        await store.abatch([PutOp(("d",), "other", {"n": 1}), PutOp(("d",), "k", {"text": "fail"})])
    assert raised.value.status >= 500
    assert "secret" not in raised.value.detail
    assert await store.asearch(("d",)) == []


async def test_a_query_that_cannot_be_embedded_fails_the_search(storage, clock):
    store = Store(storage, clock, index=index_of(failing))
    await store.aput(("d",), "k", {"text": "fine"})
    with pytest.raises(EmbeddingError):
        await store.asearch(("d",), query="fail")
    assert len(await store.asearch(("d",), query="fine")) == 1


async def test_an_embeddings_object_will_do(storage, clock):
    store = Store(storage, clock, index=Index(DeterministicFakeEmbedding(size=8), 8, ["text"]))
    await store.aput(("d",), "k", {"text": "red"})
    [found] = await store.asearch(("d",), query="red")
    assert found.score == pytest.approx(1)


# --- time to live ---


async def test_an_item_is_gone_when_its_time_is_over(store, clock):
    await store.aput(("a",), "brief", {"text": "red"}, ttl=0.5)
    await store.aput(("a",), "lasting", {"text": "red"}, ttl=None)
    clock.move(29.9)
    assert len(await store.asearch(("a",), refresh_ttl=False)) == 2
    clock.move(0.1)
    assert await store.aget(("a",), "brief", refresh_ttl=False) is None
    assert await keys(store, "a", query="red", refresh_ttl=False) == ["lasting"]


@pytest.mark.parametrize("read", ["get", "search", "query"])
@pytest.mark.parametrize("default", [True, False])
@pytest.mark.parametrize("asked", [True, False, None])
async def test_reading_restarts_the_clock_if_so_wished(storage, clock, words, read, default, asked):
    store = Store(storage, clock, index=index_of(words), refresh_on_read=default)
    await store.aput(("a",), "k", {"text": "red"}, ttl=1)
    clock.move(40)
    if read == "get":
        await store.aget(("a",), "k", refresh_ttl=asked)
    else:
        await store.asearch(("a",), query="red" if read == "query" else None, refresh_ttl=asked)
    clock.move(40)
    there = await store.aget(("a",), "k", refresh_ttl=False) is not None
    assert there is (default if asked is None else asked)
    assert len(await store.asearch(("a",), query="red", refresh_ttl=False)) == there


async def test_a_default_time_to_live_and_its_exceptions(storage, clock):
    store = Store(storage, clock, default_ttl=1)
    await store.aput(("a",), "default", {})
    await store.aput(("a",), "longer", {}, ttl=2)
    await store.aput(("a",), "forever", {}, ttl=None)
    clock.move(60)
    assert set(await keys(store, "a", refresh_ttl=False)) == {"longer", "forever"}


@pytest.mark.parametrize("ttl", [0, -1, float("nan")])
async def test_a_time_to_live_is_above_zero(store, ttl):
    with pytest.raises(ValueError, match="ttl must be above 0"):
        await store.aput(("a",), "k", {}, ttl=ttl)


async def test_a_time_to_live_may_be_endless(store, clock):
    await store.aput(("a",), "k", {}, ttl=1e300)
    await store.aget(("a",), "k", refresh_ttl=True)
    clock.move(1e9)
    assert await store.aget(("a",), "k") is not None


async def test_a_sweep_removes_what_has_expired(store, clock, storage):
    await store.abatch([PutOp(("a",), f"k{number}", {}, ttl=1) for number in range(2500)])
    await store.aput(("a",), "stays", {})
    assert await store.sweep() == 0
    clock.move(60)
    assert await store.sweep() == 2500
    assert await keys(store) == ["stays"]


async def test_expired_items_are_swept_now_and_then(store, clock, storage):
    sweeping = asyncio.create_task(store.sweep_forever(2))
    await store.aput(("a",), "k", {}, ttl=1)
    await clock.asleep()
    clock.move(120)
    await clock.asleep()
    sweeping.cancel()
    assert await store.sweep() == 0


# --- sync calls ---


async def test_sync_calls_work_from_threads(store):
    def work():
        store.put(("a",), "k", {"text": "red apple"})
        assert store.get(("a",), "k").value == {"text": "red apple"}
        assert [item.score for item in store.search(("a",), query="red apple")] == [pytest.approx(1)]
        assert store.list_namespaces() == [("a",)]
        store.delete(("a",), "k")
        assert store.get(("a",), "k") is None
        with pytest.raises(InvalidNamespaceError):
            store.put(("a.b",), "k", {})
        return threading.current_thread()

    threads = await asyncio.gather(*(asyncio.to_thread(work) for _ in range(1)))
    assert threading.main_thread() not in threads


async def test_embedding_for_a_sync_call_runs_on_the_servers_loop(storage, clock):
    home = asyncio.get_running_loop()
    loops = []

    async def embed(texts):
        loops.append(asyncio.get_running_loop())
        return [[1.0, 0.0] for _ in texts]

    async with Store(storage, clock, index=index_of(embed, dims=2)) as store:
        await asyncio.to_thread(store.put, ("a",), "k", {"text": "x"})
    assert loops == [home]


async def test_a_sync_call_on_the_loops_own_thread_is_no_deadlock(store):
    store.put(("a",), "k", {"text": "red"})
    assert store.get(("a",), "k").value == {"text": "red"}
    with pytest.raises(ValueError, match="mapping"):
        store.put(("a",), "k", [1])


async def test_two_stores_over_one_storage_see_the_same(storage, clock, words):
    one, other = (Store(storage, clock, index=index_of(words)) for _ in range(2))
    await one.aput(("a",), "k", {"text": "red"})
    assert [item.score for item in await other.asearch(("a",), query="red")] == [1.0]
    await other.aput(("a",), "k", {"text": "blue"})
    assert [item.score for item in await one.asearch(("a",), query="red")] == [0.0]
