"""The assistant that belongs to each graph, over restarts with another configuration; and what a run may call it."""

import uuid
from contextlib import asynccontextmanager

import msgspec
import pytest

from tests.clocks import ManualClock
from threadloom.auth.authorize import OPEN
from threadloom.errors import Conflict, Invalid, NotFound
from threadloom.ids import default_assistant_id
from threadloom.services.assistants import AssistantService
from threadloom.services.requests import (
    AssistantCount,
    AssistantCreate,
    AssistantLatest,
    AssistantPatch,
    AssistantSearch,
    AssistantVersions,
)
from threadloom.types import SYSTEM, Thread

pytestmark = pytest.mark.anyio

ECHO = default_assistant_id("echo")


class Configured:
    """A registry that only knows names, descriptions, and the config of the graph `echo`."""

    def __init__(self, echo_config=None, **descriptions):
        self._descriptions = descriptions
        self._echo_config = echo_config or {}

    def ids(self):
        return list(self._descriptions)

    def describe(self, graph_id):
        return self._descriptions[graph_id]

    def config(self, graph_id):
        return self._echo_config if graph_id == "echo" else {}

    @asynccontextmanager
    async def open(self, graph_id, **how):
        raise AssertionError("no graph is opened")
        yield


async def start(storage, **descriptions):
    """The service of a server that was started with these graphs."""
    service = AssistantService(storage, OPEN, ManualClock(), Configured(**descriptions))
    await service.ensure_defaults()
    return service


async def names(service):
    found, _, total = await service.search(SYSTEM, AssistantSearch(sort_by="name", sort_order="asc"))
    assert total == await service.count(SYSTEM, AssistantCount()) == len(found)
    return [one.name for one in found]


async def resolve(service, name):
    return await service._storage.read(lambda tx: service.resolve(tx, name))


async def test_each_graph_has_one_from_the_start_and_starting_again_changes_nothing(storage):
    await start(storage, echo="Says it again.", other=None)
    service = await start(storage, echo="Says it again.", other=None)
    assert await names(service) == ["echo", "other"]
    own = await service.get(SYSTEM, ECHO)
    assert (own.graph_id, own.version, own.description) == ("echo", 1, "Says it again.")
    assert (own.metadata, own.config, own.context) == ({"created_by": "system"}, {}, {})


async def test_the_description_follows_the_configuration(storage):
    service = await start(storage, echo=None)
    await service.patch(SYSTEM, ECHO, AssistantPatch(metadata={"mine": 1}))
    service = await start(storage, echo="new")
    own = await service.get(SYSTEM, ECHO)
    assert (own.description, own.version, own.metadata["mine"]) == ("new", 2, 1)
    versions = await service.versions(SYSTEM, ECHO, AssistantVersions())
    assert [one.description for one in versions] == ["new", "new"]


async def test_a_description_that_somebody_changed_stays(storage):
    service = await start(storage, echo="old")
    await service.patch(SYSTEM, ECHO, AssistantPatch(description="theirs"))
    service = await start(storage, echo="new")
    assert (await service.get(SYSTEM, ECHO)).description == "theirs"
    assert (await service.set_latest(SYSTEM, ECHO, AssistantLatest(version=1))).description == "new"


async def test_the_config_follows_the_configuration_until_somebody_changes_it(storage):
    def config(model):
        return {"configurable": {"model": model}, "tags": ["t"]}

    for model in ("small", "large"):
        service = await start(storage, echo=None, other=None, echo_config=config(model))
        own = await service.get(SYSTEM, ECHO)
        assert (own.config, own.context, own.version) == (config(model), {"model": model}, 1)
    await service.patch(SYSTEM, ECHO, AssistantPatch(name="renamed"))
    service = await start(storage, echo=None, other=None, echo_config=config("huge"))
    assert (await service.get(SYSTEM, ECHO)).config == config("huge")
    await service.patch(SYSTEM, ECHO, AssistantPatch(context={"model": "theirs"}))
    service = await start(storage, echo=None, other=None, echo_config=config("small"))
    assert (await service.get(SYSTEM, ECHO)).context == {"model": "theirs"}
    assert (await service.set_latest(SYSTEM, ECHO, AssistantLatest(version=1))).context == {"model": "small"}
    assert (await service.set_latest(SYSTEM, ECHO, AssistantLatest(version=2))).context == {"model": "huge"}


async def test_assistants_of_a_graph_that_is_not_configured_are_hidden_but_kept(storage):
    service = await start(storage, echo=None, other=None)
    mine = await service.create(SYSTEM, AssistantCreate(graph_id="other", name="mine"))
    service = await start(storage, echo=None)
    assert await names(service) == ["echo"]
    hidden = mine.assistant_id
    for refused in (
        service.get(SYSTEM, hidden),
        service.patch(SYSTEM, hidden, AssistantPatch(name="x")),
        service.delete(SYSTEM, hidden),
        service.versions(SYSTEM, hidden, AssistantVersions()),
        service.schemas(SYSTEM, hidden),
        resolve(service, hidden),
        service.search(SYSTEM, AssistantSearch(graph_id="other")),
    ):
        with pytest.raises(NotFound):
            await refused
    service = await start(storage, echo=None, other=None)
    assert await names(service) == ["echo", "mine", "other"]
    assert await service.get(SYSTEM, hidden) == mine


async def test_it_can_neither_be_deleted_nor_moved_to_another_graph(storage):
    service = await start(storage, echo=None, other=None)
    with pytest.raises(Conflict):
        await service.delete(SYSTEM, ECHO)
    with pytest.raises(Conflict):
        await service.patch(SYSTEM, ECHO, AssistantPatch(graph_id="other"))
    assert (await service.patch(SYSTEM, ECHO, AssistantPatch(graph_id="echo"))).version == 2


async def test_an_id_that_was_taken_before_the_graph_came_is_given_to_the_graph(storage):
    service = await start(storage, other=None)
    await service.create(SYSTEM, AssistantCreate(graph_id="other", assistant_id=ECHO, name="squatter"))
    service = await start(storage, other=None, echo=None)
    own = await service.get(SYSTEM, ECHO)
    assert (own.graph_id, own.name, own.version) == ("echo", "echo", 2)


async def test_a_run_names_an_assistant_by_id_or_by_graph(storage):
    service = await start(storage, echo=None, other=None)
    mine = await service.create(SYSTEM, AssistantCreate(graph_id="echo"))
    assert (await resolve(service, "echo")).assistant_id == ECHO
    assert await resolve(service, mine.assistant_id.upper()) == mine
    with pytest.raises(NotFound) as unknown:
        await resolve(service, str(uuid.uuid4()))
    assert unknown.value.detail == "Thread or assistant not found."
    with pytest.raises(Invalid) as neither:
        await resolve(service, "ech")
    assert neither.value.detail == (
        "Invalid assistant: 'ech'. Must be either:\n- A valid assistant UUID, or\n"
        "- One of the registered graphs: echo, other"
    )


async def test_deleting_the_threads_too_takes_all_of_them(storage):
    service = await start(storage, echo=None)
    mine = await service.create(SYSTEM, AssistantCreate(graph_id="echo"))
    owners = {f"t{number}": mine.assistant_id if number % 2 else ECHO for number in range(500)}

    async def fill(tx):
        for thread_id, owner in owners.items():
            moments = {"created_at": 1, "updated_at": 1, "state_updated_at": 1}
            await tx.threads.insert(Thread(thread_id=thread_id, metadata={"assistant_id": owner}, **moments))

    await storage.write(fill)
    deleted = []

    async def delete_thread(caller, thread_id):
        deleted.append(thread_id)
        await storage.write(lambda tx: tx.threads.delete(thread_id))
        if thread_id == "t7":
            raise NotFound("somebody was faster")

    service._delete_thread = delete_thread
    await service.delete(SYSTEM, mine.assistant_id, delete_threads=True)
    assert sorted(deleted) == sorted(thread_id for thread_id, owner in owners.items() if owner != ECHO)
    again = await service.create(SYSTEM, AssistantCreate(graph_id="echo", assistant_id=mine.assistant_id))
    assert again.version == 1


@pytest.mark.parametrize(
    ("config", "context", "patch", "after"),
    [
        ({}, {}, {"context": {"a": 1}}, ({"configurable": {"a": 1}}, {"a": 1})),
        ({}, {"a": 1}, {"context": {}}, ({}, {})),
        ({"tags": ["t"]}, {"a": 1}, {"context": {"b": 2}}, ({"tags": ["t"], "configurable": {"b": 2}}, {"b": 2})),
        ({}, {"a": 1}, {"config": {"tags": ["t"]}}, ({"tags": ["t"], "configurable": {"a": 1}}, {"a": 1})),
        ({}, {"a": 1}, {"config": {}}, ({"configurable": {"a": 1}}, {"a": 1})),
        ({}, {"a": 1}, {"config": {"configurable": {}}}, ({"configurable": {}}, {})),
        ({}, {"a": 1}, {"config": {"configurable": {"b": 2}}}, ({"configurable": {"b": 2}}, {"b": 2})),
        ({}, {"a": 1}, {"config": {"tags": ["t"]}, "context": {}}, ({"tags": ["t"]}, {})),
        ({}, {"a": 1}, {"config": {"configurable": {"b": 2}}, "context": {}}, ({"configurable": {"b": 2}}, {"b": 2})),
        ({"tags": ["t"]}, {"a": 1}, {"name": "n"}, ({"tags": ["t"], "configurable": {"a": 1}}, {"a": 1})),
    ],
)
async def test_context_and_configurable_always_say_the_same(storage, config, context, patch, after):
    service = await start(storage, echo=None)
    made = await service.create(SYSTEM, AssistantCreate(graph_id="echo", config=config, context=context))
    changed = await service.patch(SYSTEM, made.assistant_id, msgspec.convert(patch, AssistantPatch))
    assert (changed.config, changed.context) == after
