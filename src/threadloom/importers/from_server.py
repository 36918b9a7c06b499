"""Imports what a server with the same API stores. Records that exist already are not changed, so an interrupted import can be
repeated.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from threadloom.clock import from_iso
from threadloom.errors import ThreadloomError
from threadloom.graphs.registry import GraphRegistry
from threadloom.ids import default_assistant_id
from threadloom.importers.history import show
from threadloom.importers.import_threads import ImportReport, reading
from threadloom.importers.rebuild_history import CannotRebuild, rebuilt
from threadloom.importers.source_server import SourceServer
from threadloom.services.thread_graph import ThreadGraphs, graph_of
from threadloom.storage.base import Storage, Tx
from threadloom.types import SYSTEM, Assistant, Cron, Thread

log = logging.getLogger("threadloom.importers")


class ServerImportReport(msgspec.Struct, kw_only=True):
    """The result of an import. `failed` holds the errors of the threads that were not imported."""

    threads: ImportReport
    assistants: int = 0
    crons: int = 0
    items: int = 0
    failed: dict[str, str] = {}
    idle_crons: list[str] = []


class ServerImporter:
    """Imports everything, or some threads, from a server.

    Args:
        store: this server's store, which also embeds the items.
    """

    def __init__(self, server: SourceServer, *, storage: Storage, graphs: GraphRegistry, store: Any) -> None:
        self._server = server
        self._storage = storage
        self._graphs = graphs
        self._opened = ThreadGraphs(storage=storage, graphs=graphs)
        self._store = store
        self._taken = ServerImportReport(threads=ImportReport())

    async def all(self, progress: Callable[[float], None]) -> ServerImportReport:
        """Imports assistants, threads, crons and items.

        Raises:
            SourceRefusal: the server cannot be reached, or responded with an error. What was imported until then is kept.
        """
        for assistant in await self._server.assistants():
            await self._assistant(assistant)
        await self._threads(await self._server.threads(), progress)
        for cron in await self._server.crons():
            await self._cron(cron)
        async for item in self._server.items():
            await self._item(item)
        return self._taken

    async def some(self, thread_ids: Sequence[str], progress: Callable[[float], None]) -> ServerImportReport:
        """Imports the threads with these ids, and nothing else. Raises as `all`."""
        await self._threads([await self._server.thread(thread_id) for thread_id in thread_ids], progress)
        return self._taken

    async def _threads(self, records: Sequence[Mapping[str, Any]], progress: Callable[[float], None]) -> None:
        for number, record in enumerate(records):
            thread = _thread(record)
            try:
                await self._thread(thread)
            except CannotRebuild as error:
                self._taken.failed[thread.thread_id] = str(error)
            progress((number + 1) / len(records))

    async def _thread(self, thread: Thread) -> None:
        counted = self._taken.threads
        if await self._storage.read(lambda tx: tx.threads.get(thread.thread_id, with_state=False)) is not None:
            counted.there += 1
            return
        states = await self._server.states(thread.thread_id)
        graph_id = graph_of(thread)
        if not states:
            await self._storage.write(lambda tx: tx.threads.insert(thread))
            counted.threads += 1
            return
        if graph_id is None or graph_id not in self._graphs.ids():
            raise CannotRebuild(f"its graph {graph_id} is not served here")
        async with self._opened.open(SYSTEM, thread, graph_id, "threads.update") as graph:
            draft = await rebuilt(self._storage, graph, thread.thread_id, states)

        async def store(tx: Tx) -> bool:
            if not await tx.threads.insert(thread):
                return False
            await draft.store(tx)
            return True

        if not await self._storage.write(store, heavy=True):
            counted.there += 1
            return
        counted.threads += 1
        counted.checkpoints += len(states)
        await show(self._storage, thread, reading(self._storage, self._graphs))

    async def _assistant(self, record: Mapping[str, Any]) -> None:
        assistant_id, graph_id = record["assistant_id"], record["graph_id"]
        if assistant_id == default_assistant_id(graph_id) and record["version"] == 1:
            return  # default assistants exist on every server
        # `created_at` is the moment of a version. The storage takes it as the moment of the change.
        versions = [
            _assistant({**record, **version, "updated_at": version["created_at"]})
            for version in await self._server.versions(assistant_id)
        ]
        first = msgspec.structs.replace(versions[0], created_at=from_iso(record["created_at"]))

        async def work(tx: Tx) -> bool:
            if not await tx.assistants.insert(first):
                return False
            for version in versions[1:]:
                await tx.assistants.add_version(version)
            await tx.assistants.set_current(_assistant(record))
            return True

        self._taken.assistants += await self._storage.write(work)

    async def _cron(self, record: Mapping[str, Any]) -> None:
        cron = _cron(record)

        async def work(tx: Tx) -> bool:
            if await tx.crons.get(cron.cron_id) is not None:
                return False
            if cron.thread_id is not None and await tx.threads.get(cron.thread_id, with_state=False) is None:
                self._taken.idle_crons.append(cron.cron_id)
                return False
            await tx.crons.insert(cron)
            return True

        self._taken.crons += await self._storage.write(work)

    async def _item(self, record: Mapping[str, Any]) -> None:
        namespace = tuple(record["namespace"])
        if await self._store.aget(namespace, record["key"], refresh_ttl=False) is None:
            await self._store.aput(namespace, record["key"], record["value"])
            self._taken.items += 1


def _thread(record: Mapping[str, Any]) -> Thread:
    updated = from_iso(record["updated_at"])
    return Thread(
        thread_id=record["thread_id"],
        created_at=from_iso(record["created_at"]),
        updated_at=updated,
        state_updated_at=from_iso(record["state_updated_at"]) if record.get("state_updated_at") else updated,
        metadata=record.get("metadata") or {},
        config=record.get("config") or {},
        error=record["error"] if isinstance(record.get("error"), dict) else None,
    )


def _assistant(record: Mapping[str, Any]) -> Assistant:
    created = from_iso(record["created_at"])
    return Assistant(
        assistant_id=record["assistant_id"],
        graph_id=record["graph_id"],
        version=record["version"],
        created_at=created,
        updated_at=from_iso(record["updated_at"]) if record.get("updated_at") else created,
        name=record.get("name") or "Untitled",
        description=record.get("description"),
        config=record.get("config") or {},
        context=record.get("context") or {},
        metadata=record.get("metadata") or {},
    )


def _cron(record: Mapping[str, Any]) -> Cron:
    following = record.get("next_run_date")
    try:
        return Cron(
            cron_id=record["cron_id"],
            assistant_id=record["assistant_id"],
            thread_id=record.get("thread_id"),
            user_id=record.get("user_id"),
            schedule=record["schedule"],
            timezone=record.get("timezone"),
            end_time=record.get("end_time"),
            payload=record.get("payload") or {},
            next_run_date=None if following is None else from_iso(following),
            metadata=record.get("metadata") or {},
            on_run_completed=record.get("on_run_completed"),
            enabled=record.get("enabled", True),
            created_at=from_iso(record["created_at"]),
            updated_at=from_iso(record["updated_at"]),
        )
    except (KeyError, ValueError) as error:
        raise ThreadloomError(f"cron {record.get('cron_id')} of the server cannot be read: {error}") from error
