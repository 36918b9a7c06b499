"""Trees of copies: filters and the tree itself, on a storage and on a model that remembers who was copied from whom."""

import random

import pytest

from threadloom.lineage.relatives import shown_tree
from threadloom.storage.threads import ThreadQuery
from threadloom.types import ForkedFrom, Thread

pytestmark = pytest.mark.anyio


class Model:
    """Threads with their sources. A thread is known by its number, because ids are used again."""

    def __init__(self):
        self.parents = {}
        self.ids = {}
        self.existing = {}

    def make(self, thread_id, source=None):
        number = len(self.ids)
        self.parents[number] = None if source is None else self.existing[source]
        self.ids[number] = thread_id
        self.existing[thread_id] = number
        return self.root_id(number)

    def above(self, number):
        while number is not None:
            yield number
            number = self.parents[number]

    def root_id(self, number):
        return self.ids[list(self.above(number))[-1]]

    def known(self):
        """Those that exist, or that one that exists descends from."""
        return {number for existing in self.existing.values() for number in self.above(existing)}

    def number(self, thread_id):
        """The thread that an id names: the one that has it, or the last one that had it."""
        if thread_id in self.existing:
            return self.existing[thread_id]
        return max((number for number in self.known() if self.ids[number] == thread_id), default=None)

    def below(self, thread_id):
        named = self.number(thread_id)
        return sorted(
            other for other, number in self.existing.items() if named is not None and named in self.above(number)
        )

    def copies(self, thread_id):
        named = self.number(thread_id)
        return sorted(
            other for other, number in self.existing.items() if named is not None and self.parents[number] == named
        )

    def family(self, thread_id):
        root = self.root_number(self.existing[thread_id])
        return [
            (self.ids[number], self.existing.get(self.ids[number]) == number, len(list(self.above(number))) - 1)
            for number in sorted(self.known())
            if self.root_number(number) == root
        ]

    def root_number(self, number):
        return list(self.above(number))[-1]


def record(thread_id, source=None, root=""):
    fork = source and ForkedFrom(thread_id=source, checkpoint_id="c1", at=5, root_thread_id=root)
    return Thread(
        thread_id=thread_id,
        created_at=1,
        updated_at=2,
        state_updated_at=1,
        metadata={"title": f"of {thread_id}"},
        forked_from=fork or None,
    )


async def found(storage, **filters):
    query = ThreadQuery(limit=1000, **filters)
    threads = await storage.read(lambda tx: tx.threads.search(query))
    assert await storage.read(lambda tx: tx.threads.count(query)) == len(threads)
    return sorted(thread.thread_id for thread in threads)


def depths(relatives):
    found = {}
    for one in relatives:
        found[one.seq] = 0 if one.parent is None else found[one.parent] + 1
    return [(one.thread_id, one.status is not None, found[one.seq]) for one in relatives]


async def test_trees_are_like_the_model_after_any_operations(storage):
    dice, model = random.Random(4), Model()
    names = [f"t{number}" for number in range(14)]
    for _ in range(150):
        name = dice.choice(names)
        if name in model.existing:
            await storage.write(lambda tx, name=name: tx.threads.delete(name))
            del model.existing[name]
        elif model.existing and dice.random() < 0.8:
            source = dice.choice(sorted(model.existing))
            root = model.root_id(model.existing[source])
            model.make(name, source)
            made = record(name, source, root)
            if dice.random() < 0.5:
                await storage.write(lambda tx, made=made: tx.threads.insert(made))
            else:
                copies = {name: made.metadata}
                await storage.write(
                    lambda tx, made=made, copies=copies, source=source: tx.threads.insert_copies(
                        made, copies, state_of=source
                    )
                )
        else:
            model.make(name)
            await storage.write(lambda tx, name=name: tx.threads.insert(record(name)))
    for name in names:
        assert await found(storage, forked_from=name) == model.copies(name)
        assert await found(storage, tree_of=name) == model.below(name)
        relatives = await storage.read(lambda tx, name=name: tx.threads.family(name, 1000))
        above = await storage.read(lambda tx, name=name: tx.threads.ancestors(name))
        if name not in model.existing:
            assert relatives == above == []
            continue
        assert depths(relatives) == model.family(name)
        number = model.existing[name]
        assert [one.thread_id for one in above] == [model.ids[one] for one in model.above(number)]
        thread = await storage.read(lambda tx, name=name: tx.threads.get(name))
        assert thread.root_thread_id == (None if model.parents[number] is None else model.root_id(number))
        for one in relatives:
            title = {"title": f"of {one.thread_id}"} if one.status else {}
            assert (one.metadata, one.updated_at) == (title, 2 if one.status else 0)


async def test_a_tree_that_is_too_large_keeps_the_way_to_the_thread(storage):
    await storage.write(lambda tx: tx.threads.insert(record("root")))
    await storage.write(
        lambda tx: tx.threads.insert_copies(
            record("", "root", "root"), {f"c{n}": {} for n in range(50)}, state_of="root"
        )
    )
    await storage.write(lambda tx: tx.threads.insert(record("leaf", "c49", "root")))
    ids = [one.thread_id for one in await storage.read(lambda tx: tx.threads.family("c49", 5))]
    assert ids[0] == "root" and ids[-2:] == ["c49", "leaf"] and len(ids) == 5


# --- what a reader sees ---


def test_hidden_threads_are_shown_only_where_they_connect_and_cannot_be_counted():
    dice = random.Random(7)
    for _ in range(300):
        size = dice.randrange(1, 14)
        parents = {0: None} | {number: dice.randrange(number) for number in range(1, size)}
        readable = {number for number in parents if dice.random() < 0.5}
        shown = shown_tree(parents, readable)
        assert {one.seq for one in shown if not one.hidden} == readable
        by_number = {one.seq: one for one in shown}
        places = [one.seq for one in shown]
        for one in shown:
            above = None if one.parent is None else by_number[one.parent]
            assert one.depth == (0 if above is None else above.depth + 1)
            if above is not None:
                assert places.index(above.seq) < places.index(one.seq)
                assert not (one.hidden and above.hidden)
            if one.hidden:
                below = [other for other in shown if other.parent == one.seq]
                assert len(below) >= (2 if above is None else 1)
            elif parents[one.seq] in readable:
                assert one.parent == parents[one.seq]


def test_everyone_sees_all_of_a_tree_that_he_may_read():
    shown = shown_tree({1: None, 2: 1, 3: 1, 5: 2, 6: 3}, {1, 2, 3, 5, 6})
    assert [(one.seq, one.parent, one.depth, one.hidden) for one in shown] == [
        (1, None, 0, False),
        (2, 1, 1, False),
        (5, 2, 2, False),
        (3, 1, 1, False),
        (6, 3, 2, False),
    ]
