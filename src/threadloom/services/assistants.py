"""Assistants: graphs with a configuration, in versions. Every change creates a version. Any version can be made the current
one.
"""

import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Literal, Protocol

import msgspec
from msgspec import UNSET

from threadloom.auth.authorize import Guard
from threadloom.clock import Clock
from threadloom.encryption.cipher import UndecipherableError
from threadloom.errors import ApiError, Conflict, Invalid, NotFound
from threadloom.graphs.draw import AnyGraph, draw, parse_xray
from threadloom.graphs.schema import input_schema, schemas, subgraphs
from threadloom.ids import default_assistant_id, parse_id
from threadloom.services.mirror import mirrored, patched
from threadloom.services.permission import and_, as_caller, handler_metadata, unreadable, visible
from threadloom.services.requests import (
    AssistantCount,
    AssistantCreate,
    AssistantLatest,
    AssistantPatch,
    AssistantSearch,
    AssistantVersions,
)
from threadloom.services.responses import DrawingResponse, SchemasResponse, SubgraphResponse
from threadloom.storage.assistants import AssistantQuery
from threadloom.storage.base import Storage, Tx
from threadloom.storage.filters import Filter, permits
from threadloom.storage.threads import ThreadQuery
from threadloom.types import SYSTEM, Assistant, Caller

log = logging.getLogger("threadloom.assistants")

THREADS_AT_ONCE = 100


class ServedGraphs(Protocol):
    """What this service needs of the graph registry (`graphs.registry`)."""

    def ids(self) -> Sequence[str]:
        """Returns the names of the configured graphs."""
        ...

    def describe(self, graph_id: str) -> str | None:
        """Returns the description of a graph in the configuration."""
        ...

    def config(self, graph_id: str) -> dict[str, Any]:
        """Returns the config of a graph's default assistant in the configuration."""
        ...

    def open(
        self, graph_id: str, *, config: dict[str, Any] | None = None, access: Literal["assistants.read"]
    ) -> AbstractAsyncContextManager[AnyGraph]:
        """Opens a graph; calls its factory if it has one."""
        ...


class AssistantService:
    """Operations on assistants. Assistants whose graph is not configured are kept but not shown.

    Args:
        guard: authorizes callers.
        delete_thread: deletes a thread with everything that belongs to it; raises NotFound if it does not exist.
    """

    def __init__(
        self,
        storage: Storage,
        guard: Guard,
        clock: Clock,
        graphs: ServedGraphs,
        delete_thread: Callable[[Caller, str], Awaitable[None]] | None = None,
    ) -> None:
        self._storage = storage
        self._guard = guard
        self._clock = clock
        self._graphs = graphs
        self._delete_thread = delete_thread

    # --- for the server itself ---

    async def ensure_defaults(self) -> None:
        """Creates each graph's default assistant, or updates it with the description and config of the current configuration.

        Version 1 of a default assistant belongs to the configuration. Later changes are kept.
        """
        now = self._clock.now()

        async def work(tx: Tx) -> None:
            for graph_id in self._graphs.ids():
                try:
                    await _ensure_default(tx, self._default(graph_id, now))
                except UndecipherableError as error:
                    log.error("the assistant of graph %s is left as it is: %s", graph_id, error.detail)

        await self._storage.write(work)

    async def resolve(self, tx: Tx, name: str) -> Assistant:
        """Returns the assistant that a run names, by its id or by the name of its graph.

        Raises:
            NotFound: there is no such assistant, or its graph is not configured.
            Invalid: the name is neither an id nor a graph.
        """
        found = await self._visible(tx, self.id_of(name))
        if found is None:
            raise NotFound("Thread or assistant not found.")
        return found

    def id_of(self, name: str) -> str:
        """Returns the assistant id for a name, which is an id or the name of a graph.

        Raises:
            Invalid: the name is neither.
        """
        if name in self._graphs.ids():
            return default_assistant_id(name)
        assistant_id = parse_id(name)
        if assistant_id is None:
            raise Invalid(
                f"Invalid assistant: '{name}'. Must be either:\n- A valid assistant UUID, or\n"
                f"- One of the registered graphs: {', '.join(self._graphs.ids())}"
            )
        return assistant_id

    def is_own(self, assistant_id: str) -> bool:
        """Returns whether an assistant is a default assistant. A caller who may create runs may run those."""
        return self._own_graph(assistant_id) is not None

    # --- records ---

    async def create(self, caller: Caller, request: AssistantCreate) -> Assistant:
        """Creates an assistant in version 1.

        Raises:
            NotFound: the graph is not configured.
            Conflict: the id is taken and `if_exists` is `raise`, or the caller may not see the assistant with this id.
            BadRequest: both context and configurable are given.
        """
        self._check_graph(request.graph_id)
        config, context = mirrored(request.config, request.context)
        now = self._clock.now()
        assistant_id = str(uuid.uuid4()) if request.assistant_id is UNSET else request.assistant_id
        value = {
            "assistant_id": assistant_id,
            "graph_id": request.graph_id,
            "config": config,
            "context": context,
            "metadata": dict(request.metadata),
            "name": request.name or "Untitled",
        }
        rule = await self._guard.ask(caller, "assistants", "create", value)
        wanted = Assistant(
            assistant_id=assistant_id,
            graph_id=request.graph_id,
            version=1,
            created_at=now,
            updated_at=now,
            name=request.name or "Untitled",
            description=request.description,
            config=config,
            context=context,
            metadata=handler_metadata(caller, value),
        )

        async def work(tx: Tx) -> Assistant | None:
            if await tx.assistants.insert(wanted):
                return None
            return await tx.assistants.get(wanted.assistant_id)

        stored = await self._storage.write(work)
        if stored is None:
            return wanted
        may = request.if_exists != "raise" and permits(rule, stored.metadata) and await self._may_read(caller, stored)
        if not may:
            raise Conflict(f"Assistant {assistant_id} already exists")
        return stored

    async def get(self, caller: Caller, assistant_id: str) -> Assistant:
        """Returns an assistant in its current version.

        Raises:
            NotFound: there is no such assistant.
        """
        rule = await self._reading(caller, assistant_id)

        async def work(tx: Tx) -> Assistant:
            return await self._existing(tx, assistant_id, rule)

        return await self._storage.read(work)

    async def patch(self, caller: Caller, assistant_id: str, request: AssistantPatch) -> Assistant:
        """Creates a new version with the given fields. Metadata is merged at the top level.

        Raises:
            NotFound: there is no such assistant, or the new graph is not configured.
            BadRequest: both context and configurable are given.
            Conflict: the request moves a default assistant to another graph.
        """
        if request.graph_id is not UNSET:
            self._check_graph(request.graph_id)
            own = self._own_graph(assistant_id)
            if own is not None and own != request.graph_id:
                raise Conflict(f"Assistant {assistant_id} is graph {own!r}'s own and cannot move to another graph")
        now = self._clock.now()
        value = {
            "assistant_id": assistant_id,
            "graph_id": _or(request.graph_id, None),
            "config": _or(request.config, {}),
            "context": _or(request.context, {}),
            "metadata": dict(_or(request.metadata, {})),
            "name": _or(request.name, None),
        }
        rule = await self._guard.ask(caller, "assistants", "update", value)
        metadata = handler_metadata(caller, value)

        async def work(tx: Tx) -> Assistant:
            found = await self._existing(tx, assistant_id, rule)
            config, context = patched(found.config, found.context, request.config, request.context)
            return await tx.assistants.add_version(
                msgspec.structs.replace(
                    found,
                    updated_at=max(now, found.updated_at + 1),
                    graph_id=_or(request.graph_id, found.graph_id),
                    name=_or(request.name, found.name),
                    description=_or(request.description, found.description),
                    metadata={**found.metadata, **metadata},
                    config=config,
                    context=context,
                )
            )

        return await self._storage.write(work)

    async def delete(self, caller: Caller, assistant_id: str, *, delete_threads: bool = False) -> None:
        """Deletes an assistant with its versions and crons; with `delete_threads` also the threads that it last ran on.

        Raises:
            NotFound: there is no such assistant.
            Conflict: it is a default assistant.
        """
        rule = await self._guard.ask(caller, "assistants", "delete", {"assistant_id": assistant_id})
        own = self._own_graph(assistant_id)
        if own is not None:
            raise Conflict(f"Assistant {assistant_id} is graph {own!r}'s own and cannot be deleted")
        threads = await self._guard.ask(caller, "threads", "update", _of(assistant_id)) if delete_threads else None

        async def work(tx: Tx) -> None:
            with unreadable(rule):
                await self._existing(tx, assistant_id, rule)
            await tx.crons.delete_of_assistant(assistant_id)
            await tx.assistants.delete(assistant_id)

        await self._storage.write(work)
        if delete_threads:
            await self._delete_threads(caller, assistant_id, threads)

    async def _delete_threads(self, caller: Caller, assistant_id: str, rule: Filter | None) -> None:
        """Deletes those of the threads that the caller may delete."""
        assert self._delete_thread is not None
        rule = and_(rule, await self._guard.ask(caller, "threads", "delete", _of(assistant_id)))
        metadata = {"assistant_id": assistant_id}
        query = ThreadQuery(where=rule, metadata=metadata, limit=THREADS_AT_ONCE, with_state=False)
        while threads := await self._storage.read(lambda tx: tx.threads.search(query)):
            for thread in threads:
                with suppress(NotFound):
                    await self._delete_thread(SYSTEM, thread.thread_id)

    async def search(self, caller: Caller, request: AssistantSearch) -> tuple[list[Assistant], int | None, int]:
        """Returns a page of assistants, the offset of the next page (None on the last), and the total number.

        Raises:
            NotFound: the graph of the request is not configured.
        """
        query = await self._query(caller, request, limit=request.limit, offset=request.offset)
        query.limit, query.offset = request.limit, request.offset
        query.sort_by, query.descending = request.sort_by, request.sort_order == "desc"

        async def work(tx: Tx) -> tuple[list[Assistant], int]:
            return await tx.assistants.search(query), await tx.assistants.count(query)

        found, total = await self._storage.read(work)
        following = request.offset + len(found)
        return found, following if found and following < total else None, total

    async def count(self, caller: Caller, request: AssistantCount) -> int:
        """Returns how many assistants match the filters. Raises as `search`."""
        query = await self._query(caller, request, limit=0, offset=0)
        return await self._storage.read(lambda tx: tx.assistants.count(query))

    # --- versions ---

    async def versions(self, caller: Caller, assistant_id: str, request: AssistantVersions) -> list[Assistant]:
        """Returns versions, newest first. `created_at` is the moment of the version (`updated_at` has no meaning here).

        Raises:
            NotFound: there is no such assistant.
        """
        metadata = _or(request.metadata, None)
        rule = await self._reading(caller, assistant_id)

        async def work(tx: Tx) -> list[Assistant]:
            await self._existing(tx, assistant_id, rule)
            return await tx.assistants.versions(
                assistant_id, metadata=metadata, limit=request.limit, offset=request.offset
            )

        return await self._storage.read(work)

    async def set_latest(self, caller: Caller, assistant_id: str, request: AssistantLatest) -> Assistant:
        """Makes a version the current one again, with all its fields.

        Raises:
            NotFound: there is no such assistant or version, or the version's graph is not configured.
        """
        now = self._clock.now()
        value = {"assistant_id": assistant_id, "version": request.version}
        rule = await self._guard.ask(caller, "assistants", "update", value)

        async def work(tx: Tx) -> Assistant:
            found = await self._existing(tx, assistant_id, rule)
            version = await tx.assistants.version(assistant_id, request.version)
            if version is None:
                raise NotFound(f"Version {request.version} not found for assistant {assistant_id}")
            self._check_graph(version.graph_id)
            back = msgspec.structs.replace(
                version, created_at=found.created_at, updated_at=max(now, found.updated_at + 1)
            )
            await tx.assistants.set_current(back)
            return back

        return await self._storage.write(work)

    # --- its graph ---

    async def graph(self, caller: Caller, name: str, *, xray: str = "") -> DrawingResponse:
        """Returns the drawing of an assistant's graph.

        Args:
            name: id of the assistant, or the name of a graph.
            xray: as in the query: empty, `true`, `false`, or the number of levels of subgraphs to expand.

        Raises:
            NotFound: there is no such assistant.
            Invalid: the name is neither an id nor a graph; `xray` is none of these.
        """
        depth = parse_xray(xray)
        assistant = await self._named(caller, name)
        async with self._opened(caller, assistant) as graph:
            return DrawingResponse(**await draw(graph, depth))

    async def subgraphs(
        self, caller: Caller, name: str, *, namespace: str | None = None, recurse: bool = False
    ) -> dict[str, SubgraphResponse]:
        """Returns the schemas of the subgraphs by namespace (`outer|inner`). Raises as `graph`."""
        assistant = await self._named(caller, name)
        async with self._opened(caller, assistant) as graph:
            found = await subgraphs(graph, namespace=namespace, recurse=recurse)
            return {inner: SubgraphResponse(**of_inner) for inner, of_inner in found.items()}

    async def schemas(self, caller: Caller, name: str) -> SchemasResponse:
        """Returns the schemas of an assistant's graph, with its `graph_id`. Raises as `graph`."""
        assistant = await self._named(caller, name)
        async with self._opened(caller, assistant) as graph:
            return SchemasResponse(graph_id=assistant.graph_id, **schemas(graph, f"{assistant.graph_id}_state"))

    async def input_schema(self, caller: Caller, assistant: Assistant) -> dict[str, Any] | None:
        """Returns the input schema of an assistant's graph as a JSON schema, or None if it is not known. The caller has read the
        assistant.
        """
        async with self._opened(caller, assistant) as graph:
            return input_schema(graph)

    # --- inside ---

    def _opened(self, caller: Caller, assistant: Assistant) -> AbstractAsyncContextManager[AnyGraph]:
        configurable = {
            **assistant.config.get("configurable", {}),
            "graph_id": assistant.graph_id,
            "assistant_id": assistant.assistant_id,
            **as_caller(caller),
        }
        config = {**assistant.config, "configurable": configurable}
        return self._graphs.open(assistant.graph_id, config=config, access="assistants.read")

    async def _reading(self, caller: Caller, assistant_id: str) -> Filter | None:
        return await self._guard.ask(caller, "assistants", "read", {"assistant_id": assistant_id})

    async def _may_read(self, caller: Caller, assistant: Assistant) -> bool:
        try:
            rule = await self._reading(caller, assistant.assistant_id)
        except ApiError as refused:
            if refused.status >= 500:
                raise
            return False
        return permits(rule, assistant.metadata)

    async def _named(self, caller: Caller, name: str) -> Assistant:
        assistant_id = self.id_of(name)
        rule = await self._reading(caller, assistant_id)

        async def work(tx: Tx) -> Assistant:
            return await self._existing(tx, assistant_id, rule)

        return await self._storage.read(work)

    async def _existing(self, tx: Tx, assistant_id: str, rule: Filter | None) -> Assistant:
        """Returns an assistant that is about to be returned or changed. It is locked until the end of the transaction."""
        await tx.assistants.lock(assistant_id)
        found = visible(await self._visible(tx, assistant_id), rule)
        if found is None:
            raise NotFound(f"Assistant {assistant_id} not found")
        return found

    async def _visible(self, tx: Tx, assistant_id: str) -> Assistant | None:
        found = await tx.assistants.get(assistant_id)
        return found if found is not None and found.graph_id in self._graphs.ids() else None

    def _own_graph(self, assistant_id: str) -> str | None:
        """Returns the graph whose default assistant this is."""
        return next((one for one in self._graphs.ids() if default_assistant_id(one) == assistant_id), None)

    def _check_graph(self, graph_id: str) -> None:
        if graph_id not in self._graphs.ids():
            raise NotFound(f"Graph '{graph_id}' not found. Expected one of: {list(self._graphs.ids())}")

    def _default(self, graph_id: str, now: int) -> Assistant:
        config, context = mirrored(self._graphs.config(graph_id), {})
        return Assistant(
            assistant_id=default_assistant_id(graph_id),
            graph_id=graph_id,
            version=1,
            created_at=now,
            updated_at=now,
            name=graph_id,
            description=self._graphs.describe(graph_id),
            config=config,
            context=context,
            metadata={"created_by": "system"},
        )

    async def _query(self, caller: Caller, request: AssistantCount, *, limit: int, offset: int) -> AssistantQuery:
        """Builds the query of a search for its caller."""
        if request.graph_id is not UNSET:
            self._check_graph(request.graph_id)
        graph_id = _or(request.graph_id, None)
        metadata = dict(_or(request.metadata, None) or {})
        value = {"graph_id": graph_id, "metadata": metadata, "limit": limit, "offset": offset}
        where = await self._guard.ask(caller, "assistants", "search", value)
        return AssistantQuery(
            where=where,
            metadata=handler_metadata(caller, value) or None,
            graph_id=graph_id,
            name=_or(request.name, None),
            graphs=list(self._graphs.ids()),
        )


def _of(assistant_id: str) -> dict[str, Any]:
    """The value of the authorization request for all threads that an assistant last ran on."""
    return {"thread_id": None, "metadata": {"assistant_id": assistant_id}}


async def _ensure_default(tx: Tx, wanted: Assistant) -> None:
    """Creates or updates a default assistant as the configuration says."""
    if await tx.assistants.insert(wanted):
        return
    await tx.assistants.lock(wanted.assistant_id)
    found = await tx.assistants.get(wanted.assistant_id)
    first = await tx.assistants.version(wanted.assistant_id, 1)
    assert found is not None and first is not None
    if found.graph_id != wanted.graph_id:
        await tx.assistants.add_version(wanted)
        return
    stated = _with(first, wanted.description, wanted.config, wanted.context)
    if stated == first:
        return
    await tx.assistants.restate(stated)
    if found.version != first.version:
        description = wanted.description if found.description == first.description else found.description
        unchanged = (found.config, found.context) == (first.config, first.context)
        config, context = (wanted.config, wanted.context) if unchanged else (found.config, found.context)
        await tx.assistants.restate(_with(found, description, config, context))


def _with(assistant: Assistant, description: str | None, config: dict[str, Any], context: dict[str, Any]) -> Assistant:
    return msgspec.structs.replace(assistant, description=description, config=config, context=context)


def _or(value: Any, otherwise: Any) -> Any:
    """Returns a field of a request, or the substitute if it was not sent."""
    return otherwise if value is UNSET else value
