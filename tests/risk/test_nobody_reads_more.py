"""Whatever users, threads and filters there are: no answer holds what its reader may not read, and none lacks what he may."""

import asyncio
import contextlib
import itertools
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.users import User
from threadloom.api.loopback import Transport
from threadloom.config import load
from threadloom.wiring import Server

pytestmark = pytest.mark.anyio

APP = Path(__file__).parents[1] / "apps" / "auth"
NAMES = st.sampled_from(["ann", "bob", "cyd", 'd"\\'])
SCALARS = NAMES | st.sampled_from([1, 1.0, 0, "1", True, None, 2**60])
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "owner": NAMES,
        "team": SCALARS,
        "people": st.lists(NAMES, max_size=3),
        "odd key": SCALARS | st.just({"owner": "ann"}),
    },
)
FIELDS = st.sampled_from(["owner", "team", "people", "odd key"])
CONDITIONS = (
    SCALARS
    | st.lists(NAMES, max_size=2)
    | st.fixed_dictionaries({"$eq": SCALARS})
    | st.fixed_dictionaries({"$contains": NAMES | st.lists(NAMES, max_size=2)})
    | st.fixed_dictionaries({"$eq": st.lists(NAMES, max_size=2), "$contains": NAMES})
)
FILTERS = st.recursive(
    st.dictionaries(FIELDS, CONDITIONS, max_size=2),
    lambda inner: st.builds(
        lambda name, parts: {name: parts}, st.sampled_from(["$or", "$and"]), st.lists(inner, min_size=2)
    ),
    max_leaves=4,
)
BROKEN = st.sampled_from([{"owner": {"$in": ["ann"]}}, {"$nor": []}, {"team": {}}, {"$or": [{}]}, ["owner"], "yes", 7])
RULES = st.none() | FILTERS | st.just(False) | BROKEN
ACTIONS = ("read", "search", "update")


class Never(Exception):
    """A rule that lets nobody through."""


def same(one, other):
    """Equality of JSON, as the contract has it: numbers by value, and truth values are no numbers."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def permits(rule, document):
    """The oracle: what a rule of a handler lets through, in as few words as possible."""
    if rule is None:
        return True
    if not isinstance(rule, dict):
        raise Never
    held = []
    for key, wanted in rule.items():
        if key in ("$or", "$and"):
            if len(wanted) < 2:
                raise Never
            parts = [permits(part, document) for part in wanted]
            held.append(any(parts) if key == "$or" else all(parts))
        elif (
            key.startswith("$")
            or wanted == {}
            or (isinstance(wanted, dict) and not set(wanted) <= {"$eq", "$contains"})
        ):
            raise Never
        else:
            conditions = wanted if isinstance(wanted, dict) else {"$eq": wanted}
            there, value = key in document, document.get(key)
            if "$eq" in conditions:
                held.append(there and same(value, conditions["$eq"]))
            if "$contains" in conditions:
                members = conditions["$contains"]
                members = members if isinstance(members, list) else [members]
                held.append(isinstance(value, list) and all(any(same(v, m) for v in value) for m in members))
    return all(held)


def visible(rules, document):
    """Whether rules that all have to hold let a record through."""
    try:
        return all(permits(rule, document) for rule in rules)
    except Never:
        return False


@contextlib.asynccontextmanager
async def served(folder):
    """A server in this process, and how to call it."""
    server = Server(load(APP / "langgraph.json", {}, {"data": folder}), grace=0)
    async with server.live():
        yield Transport(server.app)


class World:
    """Threads with any metadata, and a reader whom any rules let see some of them."""

    numbers = itertools.count()

    def __init__(self, transport, root, documents, rules):
        self.batch = f"batch-{next(self.numbers)}"
        self._root = root
        self._documents = documents
        self._rules = dict(zip(ACTIONS, rules, strict=True))
        told = {f"threads.{action}": {"give": rule} for action, rule in self._rules.items()}
        told |= {"threads.create": {"give": None}, "threads.create_run": {"give": self._rules["read"]}}
        self.reader = User("http://test", "reader", rules=told, transport=transport)

    async def make(self):
        self.threads = {}
        for number, document in enumerate(self._documents):
            mark = f"mark-{self.batch}-{number}-"
            body = {"metadata": {**document, "graph_id": "plain", "batch": self.batch, "mark": mark}}
            thread = (await self._root.http.post("/threads", json=body)).json()["thread_id"]
            written = await self._root.http.post(f"/threads/{thread}/state", json={"values": {"texts": [mark]}})
            assert written.status_code == 200, written.text
            stored = (await self._root.http.get(f"/threads/{thread}")).json()["metadata"]
            self.threads[thread] = (mark, stored)
        body = {"metadata": {**self._documents[0], "graph_id": "plain"}}
        self.waiting = (await self._root.http.post("/threads", json=body)).json()["thread_id"]
        run = {"assistant_id": "plain", "input": {}, "after_seconds": 3600}
        assert (await self._root.http.post(f"/threads/{self.waiting}/runs", json=run)).status_code == 200
        return self

    async def look(self):
        """Asks for everything, and compares what comes with what may come."""
        wanted = {"metadata": {"batch": self.batch}, "limit": 100}
        for extra in ({}, {"sort_by": "created_at"}, {"values": {}}, {"ids": list(self.threads)}):
            response = await self.reader.http.post("/threads/search", json={**wanted, **extra})
            self.check(response, self.found(), extra)
        counted = await self.reader.http.post("/threads/count", json={"metadata": wanted["metadata"]})
        if counted.status_code == 200:
            assert counted.json() == len(self.found())
        paged = []
        for offset in range(len(self.threads) + 1):
            response = await self.reader.http.post("/threads/search", json={**wanted, "limit": 1, "offset": offset})
            paged += [one["metadata"]["mark"] for one in response.json()] if response.status_code == 200 else []
        assert sorted(paged) == sorted(self.found())
        for thread, (mark, document) in self.threads.items():
            for needs, method, path, body in self.requests(thread):
                response = await self.reader.http.request(method, path, json=body)
                rules = [self._rules[action] for action in needs]
                self.check(response, {mark} if visible(rules, document) else set(), (method, path))

        await self.look_at_the_queue()

    async def look_at_the_queue(self):
        document = (await self._root.http.get(f"/threads/{self.waiting}")).json()["metadata"]
        for path, action in (("/queue?limit=1000", "search"), (f"/queue?thread_id={self.waiting}", "read")):
            response = await self.reader.http.get(path)
            shown = response.status_code == 200 and self.waiting in response.text
            assert shown == visible([self._rules[action]], document), (path, self._rules, response.text)
        await self._root.http.delete(f"/threads/{self.waiting}")

    def found(self):
        return {mark for mark, document in self.threads.values() if visible([self._rules["search"]], document)}

    def check(self, response, expected, what):
        shown = {mark for mark, _ in self.threads.values() if mark in response.text}
        assert shown <= expected, (what, self._rules, "shows what the reader may not see")
        if expected:
            assert response.status_code == 200, (what, self._rules, response.text)
            assert shown == expected, (what, self._rules)

    def requests(self, thread):
        at, events = f"/threads/{thread}", {"id": 1, "method": "state.get"}
        return [
            (["read"], "GET", at, None),
            (["read"], "GET", f"{at}/state", None),
            (["read"], "GET", f"{at}/history", None),
            (["read"], "POST", f"{at}/history", {"limit": 1}),
            (["read"], "POST", f"{at}/copy", None),
            (["read"], "POST", f"{at}/copy", {"keep": "latest"}),
            (["read"], "POST", f"{at}/copy", {"count": 2}),
            (["read"], "POST", f"{at}/commands", events),
            (["read"], "POST", f"{at}/runs/wait", {"assistant_id": "plain", "input": {}}),
            (["update"], "PATCH", at, {"metadata": {}}),
            (["read"], "POST", "/threads", {"thread_id": thread, "if_exists": "do_nothing"}),
        ]


class Tree(World):
    """Threads that are copies of each other, as `sources` say: each of the thread with that number, or of none."""

    def __init__(self, transport, root, documents, rules, sources):
        super().__init__(transport, root, documents, rules)
        self._sources = [number % place if place and number else None for place, number in enumerate(sources)]

    async def make(self):
        self.threads, self.order = {}, []
        for number, (document, source) in enumerate(zip(self._documents, self._sources, strict=False)):
            mark = f"mark-{self.batch}-{number}-"
            metadata = {**document, "batch": self.batch, "mark": mark, "title": mark}
            path = "/threads" if source is None else f"/threads/{self.order[source]}/copy"
            thread = (await self._root.http.post(path, json={"metadata": metadata})).json()
            self.order.append(thread["thread_id"])
            self.threads[thread["thread_id"]] = (mark, thread["metadata"])
        return self

    def above(self, number):
        while number is not None:
            yield number
            number = self._sources[number]

    def readable(self):
        rules = [self._rules["read"]]
        return {thread for thread, (_, document) in self.threads.items() if visible(rules, document)}

    async def look(self):
        trees = [list(self.above(number))[-1] for number in range(len(self.order))]
        readable = self.readable()
        for number, thread in enumerate(self.order):
            family = {other for place, other in enumerate(self.order) if trees[place] == trees[number]}
            await self.look_at_lineage(thread, family, readable)
            await self.look_at_filters(number, thread)
            for other in self.order:
                response = await self.reader.http.get(f"/threads/{thread}/compare/{other}", params={"state": True})
                self.shows_at_most(response, readable | {thread, other})
                assert (response.status_code == 200) == ({thread, other} <= readable)
            response = await self.reader.http.get(f"/threads/{thread}/digests", params={"bytes": True})
            assert (response.status_code == 200) == (thread in readable)

    async def look_at_lineage(self, thread, family, readable):
        response = await self.reader.http.get(f"/threads/{thread}/lineage")
        self.shows_at_most(response, readable | {thread})
        if thread not in readable:
            assert response.status_code != 200
            return
        shown = response.json()["threads"]
        assert {one["thread_id"] for one in shown if not one["hidden"]} == family & readable
        hidden = [one for one in shown if one["hidden"]]
        nothing = {"thread_id": None, "checkpoint_id": None, "at": None, "status": None, "updated_at": None}
        assert all(nothing.items() <= one.items() and one["metadata"] == {} for one in hidden)
        assert len(hidden) < len(family & readable)

    async def look_at_filters(self, number, thread):
        copies = {other for place, other in enumerate(self.order) if self._sources[place] == number}
        tree = {other for place, other in enumerate(self.order) if number in self.above(place)}
        found = self.found()
        for name, wanted in (("forked_from", copies), ("root_thread_id", tree)):
            expected = {other for other in wanted if self.threads[other][0] in found}
            response = await self.reader.http.post("/threads/search", json={name: thread, "limit": 100})
            counted = await self.reader.http.post("/threads/count", json={name: thread})
            if response.status_code != 200:
                assert not found and counted.status_code != 200
                continue
            assert {one["thread_id"] for one in response.json()} == expected
            assert counted.json() == len(expected)

    def shows_at_most(self, response, allowed):
        shown = {
            thread for thread, (mark, _) in self.threads.items() if thread in response.text or mark in response.text
        }
        assert shown <= allowed, (self._rules, response.text)


async def test_nobody_reads_more_than_he_may(tmp_path):
    loop = asyncio.get_running_loop()
    async with served(tmp_path / "data") as transport:
        root = User("http://test", "root", rules={"*": {"give": None}}, transport=transport)

        @settings(
            max_examples=60,
            deadline=None,
            suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
        )
        @given(st.lists(DOCUMENTS, min_size=1, max_size=3), st.tuples(RULES, RULES, RULES))
        def hold(documents, rules):
            async def compare():
                world = await World(transport, root, documents, rules).make()
                await world.look()

            asyncio.run_coroutine_threadsafe(compare(), loop).result()

        await asyncio.to_thread(hold)


def test_the_oracle_knows_what_the_contract_says():
    document = {"team": "blue", "people": ["ann", "bea"], "n": 1}
    assert permits({"team": {"$eq": "blue"}, "people": {"$contains": ["bea", "ann"]}}, document)
    assert not permits({"n": True}, document)
    assert not permits({"team": {"$contains": "blue"}}, document)
    for broken in ({"team": {"$in": []}}, {"team": {}}, {"$not": {}}, "yes"):
        with pytest.raises(Never):
            permits(broken, document)


async def test_nobody_reads_more_of_a_tree_of_copies_than_he_may(tmp_path):
    loop = asyncio.get_running_loop()
    async with served(tmp_path / "data") as transport:
        root = User("http://test", "root", rules={"*": {"give": None}}, transport=transport)

        @settings(
            max_examples=25,
            deadline=None,
            suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
        )
        @given(
            st.lists(DOCUMENTS, min_size=4, max_size=6),
            st.tuples(RULES, RULES, RULES),
            st.lists(st.integers(0, 9), min_size=6, max_size=6),
        )
        def hold(documents, rules, sources):
            async def compare():
                tree = await Tree(transport, root, documents, rules, sources).make()
                await tree.look()

            asyncio.run_coroutine_threadsafe(compare(), loop).result()

        await asyncio.to_thread(hold)
