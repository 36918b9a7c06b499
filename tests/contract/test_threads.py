"""What every storage does with the records of threads."""

import pytest

from tests.encryptions import CIPHERS
from tests.storages import rows_of
from threadloom.storage.sqlite import SqliteStorage
from threadloom.storage.threads import ThreadQuery
from threadloom.types import ForkedFrom, Thread, Ttl

pytestmark = pytest.mark.anyio


@pytest.fixture(params=CIPHERS)
def cipher(request):
    return request.param


@pytest.fixture
async def sqlite(tmp_path):
    """SQLite alone, for what is told by its tables."""
    storage = SqliteStorage(tmp_path / "sqlite")
    await storage.open()
    yield storage
    await storage.close()


def thread(thread_id="a", moment=10, **fields):
    dates = {"created_at": moment, "updated_at": moment, "state_updated_at": moment}
    return Thread(**{"thread_id": thread_id, "metadata": {}} | dates | fields)


async def put(storage, *threads):
    async def work(tx):
        return [await tx.threads.insert(one) for one in threads]

    return await storage.write(work)


async def get(storage, thread_id="a", **how):
    return await storage.read(lambda tx: tx.threads.get(thread_id, **how))


async def show(storage, thread_id, values, interrupts=b"{}", error=None):
    await storage.write(
        lambda tx: tx.threads.set_state(thread_id, values_json=values, interrupts_json=interrupts, error=error)
    )


async def ids(storage, **query):
    found = await storage.read(lambda tx: tx.threads.search(ThreadQuery(**query)))
    return [one.thread_id for one in found]


async def test_what_was_put_is_read_again(storage):
    wanted = thread(
        metadata={"ä": [1, {"x": None}]},
        status="interrupted",
        config={"tags": ["t"]},
        error={"error": "E", "message": "m"},
        values_json=b'{"n":1}',
        interrupts_json=b'{"t":[]}',
        ttl=Ttl(minutes=1.5, strategy="keep_latest", expires_at=99),
        forked_from=ForkedFrom(thread_id="z", checkpoint_id=None, at=5),
        priority=-3,
    )
    assert await put(storage, wanted) == [True]
    assert await get(storage) == wanted
    assert await get(storage, "b") is None


async def test_a_record_can_be_read_without_its_state(storage):
    await put(storage, thread(values_json=b"[1]", interrupts_json=b"{}"))
    found = await get(storage, with_state=False)
    assert (found.values_json, found.interrupts_json) == (None, None)


async def test_a_taken_id_changes_nothing(storage):
    first = thread(metadata={"n": 1})
    assert await put(storage, first, thread(metadata={"n": 2}, values_json=b"{}")) == [True, False]
    assert await get(storage) == first


async def test_an_update_sets_only_what_is_given(storage):
    await put(storage, thread(metadata={"n": 1}, config={"tags": []}))
    await storage.write(lambda tx: tx.threads.update("a", updated_at=20, status="busy"))
    await storage.write(lambda tx: tx.threads.update("a", metadata={"n": 2}))
    found = await get(storage)
    assert (found.updated_at, found.state_updated_at, found.status) == (20, 10, "busy")
    assert (found.metadata, found.config) == ({"n": 2}, {"tags": []})


async def test_a_shared_state_is_kept_by_the_others_when_one_changes_its_own(storage):
    await put(storage, thread("a", values_json=b"1"))
    await copied(storage, "a", "b")
    await copied(storage, "b", "c")
    assert [(await get(storage, one)).values_json for one in "abc"] == [b"1", b"1", b"1"]
    await show(storage, "b", b"2")
    assert [(await get(storage, one)).values_json for one in "abc"] == [b"1", b"2", b"1"]
    await storage.write(lambda tx: tx.threads.delete("a"))
    assert (await get(storage, "c")).values_json == b"1"
    await show(storage, "c", None, None)
    assert (await get(storage, "c")).values_json is None


async def test_no_state_is_left_behind(storage):
    """A state row goes with the last thread that shows it."""

    def states():
        return rows_of(storage, "SELECT count(*) FROM states")[0][0]

    await put(storage, thread("a", values_json=b"1"))
    await copied(storage, "a", "b")
    assert states() == 1
    await show(storage, "b", b"3")
    await show(storage, "b", b"4")
    assert states() == 2
    await storage.write(lambda tx: tx.threads.delete("a"))
    assert states() == 1
    assert await storage.write(lambda tx: tx.threads.delete("b")) is True
    assert states() == 0
    assert await storage.write(lambda tx: tx.threads.delete("b")) is False


async def test_an_error_comes_and_goes(storage):
    await put(storage, thread())
    await storage.write(lambda tx: tx.threads.set_error("a", {"error": "E", "message": "m"}))
    assert (await get(storage)).error == {"error": "E", "message": "m"}
    await show(storage, "a", b"{}")
    assert (await get(storage)).error is None


async def test_filters_are_joined_with_and(storage):
    await put(
        storage,
        thread("a", metadata={"k": "x", "n": 1}, status="idle", values_json=b'{"v":[1,2]}'),
        thread("b", metadata={"k": "x", "n": 2}, status="busy"),
        thread("c", metadata={"k": "y", "n": 1.0}, status="idle", values_json=b'{"v":[3]}'),
    )
    assert await ids(storage, metadata={"k": "x"}, sort_by="thread_id", descending=False) == ["a", "b"]
    assert await ids(storage, metadata={"n": 1}, sort_by="thread_id", descending=False) == ["a", "c"]
    assert await ids(storage, metadata={"k": "x"}, status="busy") == ["b"]
    assert await ids(storage, values={"v": [2]}) == ["a"]
    assert await ids(storage, ids=["c", "b", "zz", "b"], status="idle") == ["c"]
    assert await storage.read(lambda tx: tx.threads.count(ThreadQuery(metadata={"k": "x"}, limit=1))) == 2


@pytest.mark.parametrize(
    ("document", "wanted", "found"),
    [
        ({"a": {"b": "c", "d": 1}}, {"a": {"b": "c"}}, True),
        ({"a": {}}, {"a": {}}, True),
        ({"a": []}, {"a": {}}, False),
        ({"a": [{"b": "c"}, "d"]}, {"a": ["d"]}, True),
        ({"a": [{"b": "c"}, "d"]}, {"a": [{"b": "c"}]}, True),
        ({"a": "c"}, {"a": ["c"]}, False),
        ({"a": 'ü"\\\n✓'}, {"a": 'ü"\\\n✓'}, True),
        ({"a": True}, {"a": True}, True),
        ({"a": 1}, {"a": True}, False),
        ({"a": 10**3}, {"a": 1e3}, True),
        ({"a": 1e3}, {"a": 10**3}, True),
        ({"a": -0.0}, {"a": 0}, True),
        ({"a": 10**18}, {"a": 1e18}, True),
        ({"a": 1e18}, {"a": 10**18}, True),
        ({"a": -2.5e-9}, {"a": -0.0000000025}, True),
        ({"a": 71}, {"a": 7}, False),
        ({"a": None}, {"a": None}, True),
        ({}, {"a": None}, False),
        ({"a": "B"}, {"a": "b"}, False),
        ({'x"y': "z"}, {'x"y': "z"}, True),
        ({str(i): "v" for i in range(20)}, {str(i): "v" for i in range(20)}, True),
    ],
    ids=repr,
)
async def test_metadata_is_found_by_containment(storage, document, wanted, found):
    await put(storage, thread(metadata=document))
    assert await ids(storage, metadata=wanted) == (["a"] if found else [])


@pytest.mark.parametrize("field", ["created_at", "updated_at", "state_updated_at"])
async def test_ties_keep_the_order_of_making(storage, field):
    await put(storage, thread("b", 10), thread("a", 10), thread("c", 20))
    assert await ids(storage, sort_by=field) == ["c", "b", "a"]
    assert await ids(storage, sort_by=field, descending=False) == ["b", "a", "c"]
    assert await ids(storage, sort_by=field, limit=1, offset=1) == ["b"]


async def test_sorting_by_name_and_by_status(storage):
    await put(storage, thread("b", status="idle"), thread("a", status="busy"), thread("c", status="idle"))
    assert await ids(storage, sort_by="thread_id", descending=False) == ["a", "b", "c"]
    assert await ids(storage, sort_by="status") == ["b", "c", "a"]


async def test_the_longest_overdue_comes_first_and_busy_ones_wait(storage):
    def ttl(at):
        return Ttl(minutes=1, strategy="delete", expires_at=at)

    await put(
        storage,
        thread("a", ttl=ttl(30)),
        thread("b", ttl=ttl(20)),
        thread("busy", ttl=ttl(10), status="busy"),
        thread("later", ttl=ttl(41)),
        thread("never"),
    )
    assert [one.thread_id for one in await storage.read(lambda tx: tx.threads.expired(40, 10))] == ["b", "a"]
    assert [one.thread_id for one in await storage.read(lambda tx: tx.threads.expired(40, 1))] == ["b"]
    await storage.write(lambda tx: tx.threads.set_ttl("b", None))
    assert [one.thread_id for one in await storage.read(lambda tx: tx.threads.expired(40, 1))] == ["a"]


async def test_a_priority_is_settled_later_and_shown_everywhere(storage):
    await put(storage, thread(), thread("b", priority=0))
    assert (await get(storage)).priority is None
    await storage.write(lambda tx: tx.threads.set_priority("a", 5))
    assert (await get(storage)).priority == (await get(storage, with_state=False)).priority == 5
    found = await storage.read(lambda tx: tx.threads.search(ThreadQuery(sort_by="thread_id", descending=False)))
    assert [one.priority for one in found] == [5, 0]


async def test_a_hundred_thousand_threads_are_searched_without_reading_each(sqlite):
    """Documents that cannot match are passed over by a search in their text; few are read."""
    rows = ((f"t{i}", i, i, i, f'{{"mark":"m{i}","n":{i % 3}}}', "idle", "{}") for i in range(100_000))
    columns = "thread_id, created_at, updated_at, state_updated_at, metadata, status, config"
    sql = f"INSERT INTO threads ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)"
    await sqlite.database.write(lambda connection: connection.executemany(sql, rows))
    read = []

    def counted(connection):
        def contains(document, wanted):
            read.append(document)
            return document == '{"mark":"m7","n":1}'

        connection.create_function("contains", 2, contains, deterministic=True)

    sqlite.database.read(counted)
    assert await ids(sqlite, metadata={"mark": "m7"}) == ["t7"]
    assert len(read) == 1


async def copied(storage, source, *copies):
    """Makes copies that show what their source does."""
    record = thread("", forked_from=ForkedFrom(source, None, at=1, user_id="ann"), values_json=b"not stored")
    metadata = {copy: {"n": number} for number, copy in enumerate(copies)}
    await storage.write(lambda tx: tx.threads.insert_copies(record, metadata, state_of=source))


async def test_copies_differ_by_id_and_metadata(storage):
    await put(storage, thread("a", values_json=b"[1]", interrupts_json=b"{}"))
    await copied(storage, "a", "b", "c")
    shown = {"values_json": b"[1]", "interrupts_json": b"{}", "forked_from": ForkedFrom("a", None, at=1, user_id="ann")}
    assert await get(storage, "b") == thread("b", metadata={"n": 0}, **shown)
    assert await get(storage, "c") == thread("c", metadata={"n": 1}, **shown)
    assert await ids(storage, metadata={"n": 1}) == ["c"]


def copy_of(source, thread_id):
    return thread(thread_id, forked_from=ForkedFrom(thread_id=source, checkpoint_id=None, at=1))


async def test_copies_of_copies_are_found_also_through_threads_that_are_gone(storage):
    async def copies(thread_id):
        return sorted(await storage.read(lambda tx: tx.threads.copies(thread_id)))

    await put(
        storage, thread("a"), copy_of("a", "b"), copy_of("b", "c"), copy_of("b", "d"), copy_of("d", "e"), thread("z")
    )
    assert await copies("a") == ["b", "c", "d", "e"]
    assert await copies("d") == ["e"]
    assert await copies("z") == await copies("nobody") == []
    await storage.write(lambda tx: tx.threads.delete("b"))
    assert await copies("a") == ["c", "d", "e"]
    await storage.write(lambda tx: tx.threads.delete("a"))
    assert await copies("d") == ["e"]
    # Another thread that gets the id of one that is gone has nothing to do with its copies, even if it is a copy too.
    await put(storage, thread("a"), copy_of("z", "b"), copy_of("b", "x"))
    assert await copies("a") == []
    assert await copies("b") == ["x"]
    assert await copies("z") == ["b", "x"]
    assert (await get(storage, "c")).forked_from.thread_id == "b"


TREE = """
WITH RECURSIVE tree (seq) AS (
    SELECT coalesce(f.root, t.seq) FROM threads t LEFT JOIN forks f ON f.child = t.seq WHERE t.thread_id = '{}'
    UNION ALL SELECT f.child FROM tree c JOIN forks f ON f.parent = c.seq
)
SELECT f.thread_id, coalesce(p.thread_id, f.root_id), f.root_id, f.user_id, t.seq IS NULL
FROM tree c JOIN forks f ON f.child = c.seq LEFT JOIN forks p ON p.child = f.parent LEFT JOIN threads t ON t.seq = c.seq
ORDER BY f.child
"""
"""The copies in the tree of a thread: id, parent, root, who made it, whether it is gone."""


async def test_a_tree_of_copies_outlives_the_threads_in_it(storage):
    def tree(thread_id):
        return [(*row[:-1], bool(row[-1])) for row in rows_of(storage, TREE.format(thread_id))]

    async def delete(*thread_ids):
        for one in thread_ids:
            await storage.write(lambda tx, one=one: tx.threads.delete(one))

    await put(storage, thread("root"))
    await copied(storage, "root", "a", "b")
    await copied(storage, "a", "c")
    await copied(storage, "c", "d", "e")
    await delete("root", "a")
    assert tree("d") == tree("c") == tree("b")
    assert tree("e") == [
        ("a", "root", "root", "ann", True),
        ("b", "root", "root", "ann", False),
        ("c", "a", "root", "ann", False),
        ("d", "c", "root", "ann", False),
        ("e", "c", "root", "ann", False),
    ]
    # A copy that is gone stays in the tree as long as one that descends from it is there.
    await delete("c", "d")
    assert [row[0] for row in tree("b")] == ["a", "b", "c", "e"]
    await delete("e")
    assert [row[0] for row in tree("b")] == ["b"]
    await delete("b")
    assert rows_of(storage, "SELECT count(*) FROM forks") == [(0,)]
