"""A fork in place shows subgraphs nothing of the branch that was left

The oracle is a copy: it has nothing but what was there at its checkpoint, so what a run does on it is right.
"""

import os
from pathlib import Path

import anyio
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from langgraph_sdk.client import LangGraphClient

from tests.in_process import serving

pytestmark = pytest.mark.anyio

APP = Path(__file__).parents[1] / "apps" / "forks"
KEPT = ("kept_node", "kept_called")


@pytest.fixture(params=["sqlite", "postgres", "sealed"])
def kind(request):
    return request.param


@pytest.fixture
def where(request, kind):
    return {"DATABASE_URI": request.getfixturevalue("database")} if kind == "postgres" else {}


@pytest.fixture
async def client(kind, where, tmp_path):
    """A server with the setting."""
    sealed = {"LANGGRAPH_AES_KEY": "k" * 32} if kind == "sealed" else {}
    async with serving(APP / "langgraph.json", where, tmp_path, **sealed) as (_, http, _):
        yield LangGraphClient(http)


@pytest.fixture
async def reference(tmp_path):
    """A server without it."""
    async with serving(APP / "reference.json", {}, tmp_path) as (_, http, _):
        yield LangGraphClient(http)


async def created(client, graph):
    return (await client.threads.create(graph_id=graph))["thread_id"]


async def copied(client, thread, checkpoint_id):
    body = {"checkpoint_id": checkpoint_id} if checkpoint_id else {}
    return (await client.http.post(f"/threads/{thread}/copy", json=body))["thread_id"]


async def turn(client, thread, graph, word, **more):
    """Runs a thread. Gives its values, and the nodes that ran."""
    ran, values = [], None
    events = client.runs.stream(
        thread,
        graph,
        input=None if word is None else {"say": word},
        stream_mode=["updates", "values"],
        stream_subgraphs=True,
        **more,
    )
    async for part in events:
        assert part.event != "error", part.data
        if part.event == "values":
            values = part.data
        elif part.event.startswith("updates"):
            names = [step.split(":")[0] for step in part.event.split("|")[1:]]
            ran += ["|".join([*names, name]) for name in part.data if name != "__metadata__"]
    return values, sorted(ran)


async def at(client, thread, *following):
    """The newest checkpoint at which these nodes are next."""
    states = await client.threads.get_history(thread, limit=100)
    return next(state["checkpoint"] for state in states if state["next"] == list(following))


async def inside(client, thread, namespace, following):
    """The same, of a subgraph."""
    body = {"limit": 100, "checkpoint": {"checkpoint_ns": namespace}}
    states = await client.http.post(f"/threads/{thread}/history", json=body)
    return next(state["checkpoint"] for state in states if state["next"] == [following])


async def three_turns(client, graph):
    """A thread, and the checkpoint after its first turn."""
    thread = await created(client, graph)
    await turn(client, thread, graph, "one")
    place = (await client.threads.get_state(thread))["checkpoint"]["checkpoint_id"]
    await turn(client, thread, graph, "two")
    await turn(client, thread, graph, "three")
    return thread, place


def seen(*words):
    return [f"{node} {word}" for word in words for node in "abc"]


# --- the two tables of the documentation ---


@pytest.mark.parametrize("graph", KEPT)
async def test_without_the_setting_a_fork_sees_the_future_as_langgraph_does(reference, graph):
    thread, place = await three_turns(reference, graph)
    copy = await copied(reference, thread, place)
    values, _ = await turn(reference, thread, graph, "TWO", checkpoint_id=place)
    assert values["left"] == seen("one", "two", "three", "TWO")
    values, _ = await turn(reference, copy, graph, "TWO")
    assert values["left"] == seen("one", "TWO")


async def test_with_it_a_fork_is_like_a_copy(client):
    for graph in (*KEPT, "nested"):
        thread, place = await three_turns(client, graph)
        copy = await copied(client, thread, place)
        for word, more in (("TWO", {"checkpoint_id": place}), ("THREE", {})):
            right = await turn(client, copy, graph, word)
            assert await turn(client, thread, graph, word, **more) == right
        assert right[0]["left"] == seen("one", "TWO", "THREE")
        # The branch that was left is still in the history, and can be gone on from.
        left = [
            state
            for state in await client.threads.get_history(thread, limit=100)
            if state["values"].get("say") == "three"
        ]
        back = left[0]["checkpoint"]["checkpoint_id"]
        values, _ = await turn(client, thread, graph, "four", checkpoint_id=back)
        assert values["left"] == seen("one", "two", "three", "four")


async def test_without_the_setting_a_run_from_inside_a_subgraph_begins_it_anew(reference):
    thread, place = await stopped_inside(reference, "plain_node", None)
    _, ran = await turn(reference, thread, "plain_node", None, checkpoint=place)
    assert ran == ["post", "sub", "sub|a", "sub|b", "sub|c"]


async def test_with_it_a_run_from_inside_a_subgraph_goes_on_there(client):
    for graph, namespace in (("kept_node", "sub"), ("plain_node", None)):
        thread, place = await stopped_inside(client, graph, namespace)
        values, ran = await turn(client, thread, graph, None, checkpoint=place)
        assert ran == ["post", "sub", "sub|b", "sub|c"]
        assert values["left"] == (seen("zero", "one") if graph == "kept_node" else seen("one"))


async def stopped_inside(client, graph, namespace):
    """A thread of two turns, and the checkpoint of its subgraph in the second one with b next."""
    thread = await created(client, graph)
    for word in ("zero", "one"):
        await turn(client, thread, graph, word)
    root = await client.threads.get_state(thread, checkpoint=await at(client, thread, "sub"))
    namespace = namespace or root["tasks"][0]["checkpoint"]["checkpoint_ns"]
    return thread, await inside(client, thread, namespace, "b")


@pytest.mark.parametrize(
    ("namespace", "following", "done"),
    [
        ("left_", "a", []),
        ("left_", "c", ["left_|a", "left_|b"]),
        ("right_", "b", ["right_|a"]),
        ("right_|b", "a", ["right_|a"]),
        ("right_|b", "b", ["right_|a", "right_|b|a"]),
    ],
)
async def test_a_run_goes_on_at_any_depth(client, namespace, following, done):
    """What was done stays done. What the graphs beside and below had yet to do is done: no earlier turn is taken for it."""
    thread = await created(client, "nested")
    for word in ("zero", "one"):
        before, every = await turn(client, thread, "nested", word)
    place = await inside(client, thread, namespace, following)
    values, ran = await turn(client, thread, "nested", None, checkpoint=place)
    assert values == before
    assert not {"plan", *done}.intersection(ran)
    own = [name for name in every if name.startswith(namespace) and name.count("|") > namespace.count("|")]
    assert set(own) - set(done) <= set(ran)


# --- states, updates, answers, and what undoes them ---


async def test_an_older_state_shows_subgraphs_as_they_were(client):
    thread = await created(client, "kept_node")
    await turn(client, thread, "kept_node", "one")
    place = await at(client, thread, "sub")
    for word in ("two", "three"):
        await turn(client, thread, "kept_node", word)
    state = await client.threads.get_state(thread, checkpoint=place, subgraphs=True)
    assert state["tasks"][0]["state"]["values"]["left"] == seen("one")


async def test_an_update_of_an_earlier_state_begins_a_branch(client):
    thread, place = await three_turns(client, "nested")
    copy = await copied(client, thread, place)
    done = []
    for one in (thread, copy):
        made = await client.threads.update_state(one, {"say": "new"}, as_node="plan", checkpoint_id=place)
        done.append(await turn(client, one, "nested", None, checkpoint=made["checkpoint"]))
    [_, right] = done
    assert done == [right, right]
    assert right[0]["left"] == seen("one", "new")


async def test_an_update_of_the_current_state_of_a_subgraph_is_no_fork(client):
    """Its questions stay open, and what it remembers after a turn can be mended."""
    thread = await created(client, "kept_node")
    await turn(client, thread, "kept_node", "one")
    await turn(client, thread, "kept_node", "?")
    state = await client.threads.get_state(thread, subgraphs=True)
    inner = state["tasks"][0]["state"]["checkpoint"]
    await client.threads.update_state(thread, {"left_seen": ["noted"]}, checkpoint=inner, as_node="a")
    values, ran = await turn(client, thread, "kept_node", None, command={"resume": "yes"})
    assert values["left"] == [*seen("one"), "a ?", "noted", "b ? yes", "c ?"]
    assert ran == ["post", "sub", "sub|b", "sub|c"]
    inner = await inside_newest(client, thread, "sub")
    await client.threads.update_state(thread, {"left_seen": ["mended"]}, checkpoint=inner, as_node="c")
    values, _ = await turn(client, thread, "kept_node", "two")
    assert values["left"][-4:] == ["mended", *seen("two")]


async def inside_newest(client, thread, namespace):
    body = {"limit": 1, "checkpoint": {"checkpoint_ns": namespace}}
    return (await client.http.post(f"/threads/{thread}/history", json=body))[0]["checkpoint"]


async def test_a_question_is_answered_differently(client):
    for graph in KEPT:
        thread = await created(client, graph)
        await turn(client, thread, graph, "one")
        await turn(client, thread, graph, "?")
        place = (await client.threads.get_state(thread))["checkpoint"]["checkpoint_id"]
        await turn(client, thread, graph, None, command={"resume": "yes"}, checkpoint_id=place)
        await turn(client, thread, graph, "two")
        values, _ = await turn(client, thread, graph, None, command={"resume": "no"}, checkpoint_id=place)
        assert values["left"] == [*seen("one"), "a ?", "b ? no", "c ?"]


async def test_a_fork_that_asks_is_where_the_thread_stands(client):
    """Nothing of the root graph was put since the fork, and still the answer reaches it."""
    for graph in KEPT:
        thread, place = await three_turns(client, graph)
        await turn(client, thread, graph, "?", checkpoint_id=place)
        state = await client.threads.get_state(thread)
        assert [task["interrupts"][0]["value"] for task in state["tasks"]] == ["?"]
        values, _ = await turn(client, thread, graph, None, command={"resume": "yes"})
        assert values["left"] == [*seen("one"), "a ?", "b ? yes", "c ?"]


async def test_what_undoes_a_fork_returns_to_the_branch_that_was_left(client):
    """Also if nothing was put on the new one yet."""
    thread, place = await three_turns(client, "kept_node")
    await turn(client, thread, "kept_node", "slow")
    inner = await inside(client, thread, "sub", "a")
    for what in ({"input": {"say": "slow"}, "checkpoint_id": place}, {"checkpoint": inner}):
        head = (await client.threads.get_state(thread))["checkpoint"]
        run = await client.runs.create(thread, "kept_node", **what)
        with anyio.fail_after(20):
            while (await client.threads.get_state(thread))["checkpoint"] == head:
                await anyio.sleep(0.01)
        await client.runs.cancel(thread, run["run_id"], wait=True, action="rollback")
        assert (await client.threads.get_state(thread))["checkpoint"] == head
    values, _ = await turn(client, thread, "kept_node", "four")
    assert values["left"] == seen("one", "two", "three", "slow", "four")


async def test_a_copy_and_a_prune_keep_the_branch(client):
    for graph in KEPT:
        thread, place = await three_turns(client, graph)
        await turn(client, thread, graph, "TWO", checkpoint_id=place)
        copy = await copied(client, thread, None)
        await client.http.post("/threads/prune", json={"thread_ids": [copy], "strategy": "keep_latest"})
        for one in (thread, copy):
            values, _ = await turn(client, one, graph, "THREE")
            assert values["left"] == seen("one", "TWO", "THREE")


# --- any sequence ---

WORDS = st.sampled_from(["w", "x", "?"])
PLACES = st.integers(0, 30)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("go_on"), st.one_of(WORDS, st.none())),
        st.tuples(st.just("fork"), PLACES, st.one_of(WORDS, st.none())),
        st.tuples(st.just("fork"), PLACES, WORDS),
        st.tuples(st.just("update"), st.one_of(PLACES, st.none()), WORDS),
        st.tuples(st.just("answer")),
        st.tuples(st.just("copy")),
    ),
    min_size=3,
    max_size=9,
)


class Twins:
    """A thread that is forked in place, and copies, one for each of its branches."""

    def __init__(self, client, graph):
        self.client = client
        self.graph = graph
        self.same = {}
        """Checkpoint of the thread -> its id in each copy that shows it, the newest last."""

    async def begin(self):
        self.thread, self.copy = [await created(self.client, self.graph) for _ in range(2)]
        await self.both(lambda thread: turn(self.client, thread, self.graph, "first"))
        return self

    async def both(self, change):
        """Changes both in the same way, and compares."""
        before = {one: await self.ids(one) for one in (self.thread, self.copy)}
        [done, right] = [await change(one) for one in (self.thread, self.copy)]
        assert without_ids(done) == without_ids(right)
        [new, others] = [
            [id_ for id_ in await self.ids(one) if id_ not in before[one]] for one in (self.thread, self.copy)
        ]
        assert len(new) == len(others)
        self.same |= {id_: {self.copy: other} for id_, other in zip(new, others, strict=True)}
        await self.compare()

    async def ids(self, thread):
        return [
            state["checkpoint"]["checkpoint_id"] for state in await self.client.threads.get_history(thread, limit=500)
        ]

    async def compare(self):
        await self.compare_states(None, self.copy, None)
        for id_, copies in list(self.same.items())[::5]:
            await self.compare_states(id_, *list(copies.items())[-1])

    async def compare_states(self, id_, copy, other):
        states = [
            await self.client.threads.get_state(thread, checkpoint=place and {"checkpoint_id": place}, subgraphs=True)
            for thread, place in ((self.thread, id_), (copy, other))
        ]
        assert shown(states[0]) == shown(states[1])

    async def leave(self, place):
        """The checkpoint to start from. The copy becomes one that ends there."""
        id_ = sorted(self.same)[place % len(self.same)]
        newest = (await self.client.threads.get_state(self.thread))["checkpoint"]["checkpoint_id"]
        source, other = list(self.same[id_].items())[-1]
        if id_ == newest:
            return id_, other  # no fork
        self.copy = await copied(self.client, source, other)
        there = set(await self.ids(self.copy))
        for copies in self.same.values():
            if copies.get(source) in there:
                copies[self.copy] = copies[source]
        return id_, other

    async def do_go_on(self, word):
        await self.both(lambda thread: turn(self.client, thread, self.graph, word))

    async def do_fork(self, place, word):
        id_, other = await self.leave(place)
        at = {self.thread: id_, self.copy: other}
        await self.both(lambda thread: turn(self.client, thread, self.graph, word, checkpoint_id=at[thread]))

    async def do_update(self, place, word):
        id_, other = (None, None) if place is None else await self.leave(place)
        at = {self.thread: id_, self.copy: other}

        async def update(thread):
            more = {"checkpoint_id": at[thread]} if at[thread] else {}
            await self.client.threads.update_state(thread, {"say": word}, as_node="plan", **more)

        await self.both(update)

    async def do_answer(self):
        if (await self.client.threads.get(self.thread))["interrupts"]:
            await self.both(lambda thread: turn(self.client, thread, self.graph, None, command={"resume": "yes"}))

    async def do_copy(self):
        """Goes on with a copy of the thread. What it showed before, it shows still."""
        self.thread = await copied(self.client, self.thread, None)


def without_ids(done):
    if done is None:
        return None
    values, ran = done
    return {key: value for key, value in (values or {}).items() if key != "__interrupt__"}, ran


def shown(state):
    """A state without what differs between any two threads."""
    return {
        "values": state["values"],
        "next": sorted(state["next"]),
        "tasks": sorted(
            (
                task["name"],
                [interrupt["value"] for interrupt in task["interrupts"]],
                str(task["error"]),
                str(task["result"]),
                str(task["state"] and shown(task["state"])),
            )
            for task in state["tasks"]
        ),
    }


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
@settings(
    max_examples=int(os.environ.get("FORK_EXAMPLES", "10")),
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # it would shrink for minutes
    suppress_health_check=list(HealthCheck),
)
@given(steps=STEPS)
async def test_forks_of_forks_are_like_copies_of_copies(client, steps):
    await alike(client, steps)


@pytest.mark.parametrize("kind", ["postgres"], indirect=True)
@settings(max_examples=2, deadline=None, phases=(Phase.generate,), suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
async def test_on_a_database_too(client, steps):
    await alike(client, steps)


async def alike(client, steps):
    twins = await Twins(client, "nested").begin()
    for name, *details in steps:
        await getattr(twins, f"do_{name}")(*details)
