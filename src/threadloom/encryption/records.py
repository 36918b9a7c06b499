"""Which fields of each record are encrypted: a pair of functions for each record, one that encrypts it and one that decrypts it.

Storages search and sort by these fields, so they are not encrypted: ids, times, statuses, names, namespaces and keys of items,
schedules, names of channels, nodes and events, vectors.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from threadloom.codec import from_json, to_json
from threadloom.encryption.cipher import CHECKPOINT, CONTEXT, NOTHING, SYSTEM, Cipher, Location, UndecipherableError
from threadloom.lineage.turns import RootCheckpoint
from threadloom.storage.ciphertexts import Column, Key
from threadloom.storage.events import EventValue
from threadloom.storage.lineage import Blob, CheckpointPut, CheckpointRow, Digests, FormerHead, PendingWrite
from threadloom.storage.lineage.digests import checkpoint_digests, write_digest
from threadloom.storage.threads import Relative
from threadloom.types import UNREADABLE, Assistant, Cron, Delivery, Event, Item, Outcome, Run, Thread

replace = msgspec.structs.replace

VALUE = "__value__"
"""Key under which a value that is no document is encrypted as a document."""

UNREADABLE_DIGEST = b'"?"'
"""Stands for recorded digests that cannot be decrypted."""

RUN_INPUTS = ("input", "command", "context")
CRON_INPUTS = ("input", "context", "command")


@contextlib.contextmanager
def _named(what: str) -> Iterator[None]:
    """Adds the record's name to an error, so that the operator can find a record that cannot be decrypted."""
    try:
        yield
    except UndecipherableError as error:
        raise UndecipherableError(f"{what}: {error.detail}") from error


class Sealer:
    """Encrypts and decrypts the records of one transaction with a cipher. The caller has to call `cipher.ready`."""

    def __init__(self, cipher: Cipher) -> None:
        self.cipher = cipher

    # --- threads ---

    def thread(self, thread: Thread) -> Thread:
        return replace(
            thread,
            metadata=self.cipher.seal_metadata(Location("thread", "metadata"), thread.metadata),
            config=self.document("thread", "config", thread.config),
            error=self.document("thread", "error", thread.error),
            values_json=self.text("thread", "values", thread.values_json),
            interrupts_json=self.text("thread", "interrupts", thread.interrupts_json),
        )

    def opened_thread(self, thread: Thread) -> Thread:
        key = (thread.thread_id,)
        with _named(f"Thread {thread.thread_id}"):
            return replace(
                thread,
                metadata=self.cipher.open_metadata(
                    Location("thread", "metadata", "threads.metadata", key), thread.metadata
                ),
                config=self.opened_document(Location("thread", "config", "threads.config", key), thread.config),
                error=self.opened_document(Location("thread", "error", "threads.error", key), thread.error),
                values_json=self.opened_text(Location("thread", "values", "states.values", key), thread.values_json),
                interrupts_json=self.opened_text(
                    Location("thread", "interrupts", "states.interrupts", key), thread.interrupts_json
                ),
            )

    def opened_relative(self, relative: Relative) -> Relative:
        at = Location("thread", "metadata", "threads.metadata", (relative.thread_id,))
        with _named(f"Thread {relative.thread_id}"):
            return replace(relative, metadata=self.cipher.open_metadata(at, relative.metadata))

    def former_record(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Encrypts what the record of a thread showed before the thread's head was moved."""
        return self.cipher.seal_document(Location("thread", "record"), record, NOTHING)

    def opened_former_head(self, former: FormerHead) -> FormerHead:
        at = Location("thread", "record", "former_heads.record", (former.head,))
        return replace(former, record=self.opened_document(at, former.record))

    # --- runs ---

    def run(self, run: Run) -> Run:
        metadata = self.cipher.seal_metadata(Location("run", "metadata"), run.metadata)
        return replace(run, metadata=metadata, kwargs=self.kwargs(run.kwargs))

    def kwargs(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Encrypts the kwargs of a run and adds the encryption context. Handlers get this context for everything that the run
        writes.
        """
        sealed = self._with_context(kwargs)
        for name in RUN_INPUTS:
            if sealed.get(name) is not None:
                sealed[name] = self.any_value("run", name, sealed[name])
        if isinstance(sealed.get("config"), Mapping):
            sealed["config"] = self.config("run", sealed["config"])
        return sealed

    def opened_run(self, run: Run) -> Run:
        """Returns a run, decrypted. If it cannot be decrypted, its kwargs hold the error, so that only this run fails."""
        key = (run.run_id,)
        try:
            metadata = self.cipher.open_metadata(Location("run", "metadata", "runs.metadata", key), run.metadata)
            kwargs = self.opened_kwargs(run.kwargs, key)
        except UndecipherableError as error:
            clear = {name: value for name, value in run.metadata.items() if name in SYSTEM}
            return replace(run, metadata=clear, kwargs=_unreadable_kwargs(run.kwargs, error.detail))
        context = None if self.cipher.context() is None else kwargs.pop(CONTEXT, None)
        return replace(run, metadata=metadata, kwargs=kwargs, encryption_context=context or run.encryption_context)

    def opened_kwargs(self, kwargs: Mapping[str, Any], key: Key) -> dict[str, Any]:
        opened = dict(kwargs)
        for name in RUN_INPUTS:
            if opened.get(name) is not None:
                opened[name] = self.opened_value(Location("run", name, "runs.kwargs", key), opened[name])
        if isinstance(opened.get("config"), Mapping):
            opened["config"] = self.opened_config("run", opened["config"], "runs.kwargs", key)
        return opened

    def outcome(self, outcome: Outcome) -> Outcome:
        return replace(
            outcome,
            output_json=self.cipher.seal_text(Location("run", "output"), outcome.output_json),
            error=self.document("run", "error", outcome.error),
            metadata=self.cipher.seal_metadata(Location("run", "metadata"), outcome.metadata),
        )

    def opened_outcome(self, outcome: Outcome) -> Outcome:
        key = (outcome.run_id,)
        with _named(f"Run {outcome.run_id}"):
            return replace(
                outcome,
                output_json=self.cipher.open_text(
                    Location("run", "output", "outcomes.output", key), outcome.output_json
                ),
                error=self.opened_document(Location("run", "error", "outcomes.error", key), outcome.error),
                metadata=self.cipher.open_metadata(
                    Location("run", "metadata", "outcomes.metadata", key), outcome.metadata
                ),
            )

    # --- deliveries ---

    def delivery(self, delivery: Delivery) -> Delivery:
        return replace(delivery, body_json=self.cipher.seal_text(Location("run", "delivery"), delivery.body_json))

    def opened_delivery(self, delivery: Delivery) -> Delivery:
        """Returns a delivery, decrypted. If it cannot be decrypted, it has no body, so that only its own attempts fail."""
        at = Location("run", "delivery", "deliveries.body", (delivery.delivery_id,))
        try:
            return replace(delivery, body_json=self.cipher.open_text(at, delivery.body_json))
        except UndecipherableError:
            return replace(delivery, body_json=b"")

    # --- events ---

    def event(self, event: Event) -> Event:
        return replace(event, data=self.cipher.seal_text(Location("run", "event"), event.data))

    def opened_event(self, event: Event) -> Event:
        at = Location("run", "event", "events.data", (event.thread_id, event.seq))
        with _named(f"Thread {event.thread_id}, event {event.seq}"):
            return replace(event, data=self.cipher.open_text(at, event.data))

    def event_value(self, value: EventValue, event: Event) -> EventValue:
        """Returns the value of an event, encrypted. It is made whole where instructions would not be encrypted."""
        if not self.cipher.seals_any_text:
            value = replace(value, base=None, data=event.data)
        return replace(value, data=self.cipher.seal_text(Location("run", "event"), value.data))

    def opened_event_value(self, value: EventValue) -> EventValue:
        at = Location("run", "event", "event_values.data", (value.id,))
        with _named(f"Value {value.id} of an event"):
            return replace(value, data=self.cipher.open_text(at, value.data))

    # --- assistants ---

    def assistant(self, assistant: Assistant) -> Assistant:
        return replace(
            assistant,
            config=self.config("assistant", assistant.config),
            context=self.cipher.seal_document(Location("assistant", "context"), assistant.context, NOTHING),
            metadata=self.cipher.seal_metadata(Location("assistant", "metadata"), assistant.metadata),
        )

    def opened_assistant(self, assistant: Assistant, *, version: bool = False) -> Assistant:
        key: Key = (assistant.assistant_id, assistant.version) if version else (assistant.assistant_id,)
        columns: tuple[Column, Column, Column] = (
            ("assistant_versions.config", "assistant_versions.context", "assistant_versions.metadata")
            if version
            else ("assistants.config", "assistants.context", "assistants.metadata")
        )
        with _named(f"Assistant {assistant.assistant_id}"):
            return replace(
                assistant,
                config=self.opened_config("assistant", assistant.config, columns[0], key),
                context=self.opened_document(Location("assistant", "context", columns[1], key), assistant.context),
                metadata=self.cipher.open_metadata(
                    Location("assistant", "metadata", columns[2], key), assistant.metadata
                ),
            )

    # --- crons ---

    def cron(self, cron: Cron) -> Cron:
        return replace(
            cron,
            metadata=self.cipher.seal_metadata(Location("cron", "metadata"), cron.metadata),
            payload=self.payload(cron.payload),
            user=self.document("cron", "user", cron.user),
        )

    def payload(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Encrypts the payload of a cron and adds the encryption context, as in the kwargs of a run."""
        sealed = self._with_context(payload)
        for name in CRON_INPUTS:
            if sealed.get(name) is not None:
                sealed[name] = self.any_value("cron", name, sealed[name])
        if isinstance(sealed.get("config"), Mapping):
            sealed["config"] = self.config("cron", sealed["config"])
        if isinstance(sealed.get("metadata"), Mapping):
            sealed["metadata"] = self.cipher.seal_metadata(Location("cron", "metadata"), sealed["metadata"])
        return sealed

    def opened_cron(self, cron: Cron) -> Cron:
        with _named(f"Cron {cron.cron_id}"):
            return self._opened_cron(cron)

    def _opened_cron(self, cron: Cron) -> Cron:
        key = (cron.cron_id,)
        payload = self.opened_payload(cron.payload, key)
        context = None if self.cipher.context() is None else payload.pop(CONTEXT, None)
        last_error = cron.last_error
        if last_error is not None:
            last_error = self.opened_words(Location("cron", "last_error", "crons.last_error", key), last_error)
        return replace(
            cron,
            metadata=self.cipher.open_metadata(Location("cron", "metadata", "crons.metadata", key), cron.metadata),
            payload=payload,
            user=self.opened_document(Location("cron", "user", "crons.user", key), cron.user),
            last_error=last_error,
            encryption_context=context or cron.encryption_context,
        )

    def opened_payload(self, payload: Mapping[str, Any], key: Key) -> dict[str, Any]:
        opened = dict(payload)
        for name in CRON_INPUTS:
            if opened.get(name) is not None:
                opened[name] = self.opened_value(Location("cron", name, "crons.payload", key), opened[name])
        if isinstance(opened.get("config"), Mapping):
            opened["config"] = self.opened_config("cron", opened["config"], "crons.payload", key)
        if isinstance(opened.get("metadata"), Mapping):
            at = Location("cron", "metadata", "crons.payload", key)
            opened["metadata"] = self.cipher.open_metadata(at, opened["metadata"])
        return opened

    def readable_cron(self, cron: Cron) -> Cron:
        """Returns a due cron, decrypted. If it cannot be decrypted, its payload holds the error, so that only this cron fails."""
        try:
            return self.opened_cron(cron)
        except UndecipherableError as error:
            return replace(cron, metadata={}, payload={UNREADABLE: error.detail}, user=None, last_error=None)

    # --- items ---

    def item(self, item: Item) -> Item:
        return replace(item, value_json=self.cipher.seal_item(Location("store", "value"), item.value_json))

    def opened_item(self, item: Item) -> Item:
        at = Location("store", "value", "items.value", (item.namespace, item.key))
        with _named(f"Item {item.key!r} of {'.'.join(item.namespace)}"):
            return replace(item, value_json=self.cipher.open_item(at, item.value_json))

    # --- checkpoints ---

    def checkpoint(self, put: CheckpointPut) -> CheckpointPut:
        body_type, body = self.cipher.seal_blob(Location("checkpoint", "body"), put.body_type, put.body)
        at = Location("checkpoint", "blob")
        return replace(
            put,
            body_type=body_type,
            body=body,
            blobs=[_blob(blob, self.cipher.seal_blob(at, blob.type, blob.data)) for blob in put.blobs],
            meta=self.checkpoint_metadata(put.meta),
            digests=self._digest(checkpoint_digests(put)),
            messages=self.text("checkpoint", "messages", put.messages),
        )

    def _digest(self, recorded: bytes) -> bytes:
        return recorded and self.cipher.seal_text(Location("checkpoint", "digest"), recorded)

    def opened_digests(self, digests: Digests) -> Digests:
        """Returns recorded digests, decrypted. One that cannot be decrypted is `UNREADABLE_DIGEST`."""
        writes = [(task_id, idx, self._opened_digest(digest)) for task_id, idx, digest in digests.writes]
        return replace(digests, recorded=self._opened_digest(digests.recorded), writes=writes)

    def _opened_digest(self, recorded: bytes) -> bytes:
        try:
            return self.cipher.open_text(Location("checkpoint", "digest"), recorded)
        except (UndecipherableError, ValueError):
            return UNREADABLE_DIGEST

    def opened_root(self, checkpoint: RootCheckpoint) -> RootCheckpoint:
        at = Location("checkpoint", "messages", "checkpoints.messages", (checkpoint.pos,))
        with _named(f"Checkpoint {checkpoint.checkpoint_id}"):
            return replace(checkpoint, messages=self.opened_text(at, checkpoint.messages))

    def checkpoint_metadata(self, meta: bytes) -> bytes:
        return to_json(self.cipher.seal_document(Location("checkpoint", "metadata"), from_json(meta), CHECKPOINT))

    def opened_checkpoint(self, row: CheckpointRow, blobs: dict[int, Blob]) -> CheckpointRow:
        """Returns a checkpoint, decrypted. `blobs` caches decrypted blobs by id: adjacent checkpoints share them."""
        with _named(f"Thread {row.thread_id}, checkpoint {row.checkpoint_id}"):
            return self._opened_checkpoint(row, blobs)

    def _opened_checkpoint(self, row: CheckpointRow, blobs: dict[int, Blob]) -> CheckpointRow:
        key = (row.pos,)
        at = Location("checkpoint", "body", "checkpoints.body", key)
        meta = Location("checkpoint", "metadata", "checkpoints.metadata", key)
        body_type, body = self.cipher.open_blob(at, row.body_type, row.body)
        for id_, blob in row.blobs.items():
            if id_ not in blobs:
                at = Location("checkpoint", "blob", "blobs.data", (id_,))
                blobs[id_] = _blob(blob, self.cipher.open_blob(at, blob.type, blob.data))
        return replace(
            row,
            body_type=body_type,
            body=body,
            blobs={id_: blobs[id_] for id_ in row.blobs},
            meta=self.cipher.open_document(meta, row.meta, CHECKPOINT),
            writes=[self.opened_write(write) for write in row.writes],
        )

    def write(self, write: PendingWrite) -> PendingWrite:
        type_, data = self.cipher.seal_blob(Location("checkpoint", "write"), write.type, write.data)
        digest = self._digest(write_digest(write))
        return replace(write, type=type_, data=data, digest=digest)

    def opened_write(self, write: PendingWrite) -> PendingWrite:
        at = Location("checkpoint", "write", "writes.data", (write.pos,))
        type_, data = self.cipher.open_blob(at, write.type, write.data)
        return replace(write, type=type_, data=data)

    # --- parts of records ---

    def _with_context(self, document: Mapping[str, Any]) -> dict[str, Any]:
        context = self.cipher.context()
        return dict(document) if context is None else {**document, CONTEXT: context}

    def text(self, model: str, field: str, text: bytes | None) -> bytes | None:
        return None if text is None else self.cipher.seal_text(Location(model, field), text)

    def opened_text(self, at: Location, text: bytes | None) -> bytes | None:
        return None if text is None else self.cipher.open_text(at, text)

    def words(self, model: str, field: str, words: str | None) -> str | None:
        """Returns a plain text as its encrypted JSON, or as it is if texts are not encrypted."""
        if words is None:
            return None
        text = to_json(words)
        sealed = self.cipher.seal_text(Location(model, field), text)
        return words if sealed == text else sealed.decode()

    def opened_words(self, at: Location, words: str) -> str:
        """Returns a plain text, decrypted. A text that was stored unencrypted is returned as it is."""
        if not words.startswith('"encrypted.'):
            return words
        opened: str = from_json(self.cipher.open_text(at, words.encode()))
        return opened

    def document(self, model: str, field: str, document: Mapping[str, Any] | None) -> dict[str, Any] | None:
        return None if document is None else self.cipher.seal_document(Location(model, field), document, NOTHING)

    def opened_document(self, at: Location, document: Mapping[str, Any] | None) -> Any:
        return None if document is None else self.cipher.open_document(at, document, NOTHING)

    def any_value(self, model: str, field: str, value: Any) -> dict[str, Any]:
        """Returns a value of any type as an encrypted document."""
        plain = isinstance(value, Mapping) and VALUE not in value
        return self.cipher.seal_document(Location(model, field), value if plain else {VALUE: value}, NOTHING)

    def opened_value(self, at: Location, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        opened = self.cipher.open_document(at, value, NOTHING)
        return opened[VALUE] if opened.keys() == {VALUE} else opened

    def config(self, model: str, config: Mapping[str, Any]) -> dict[str, Any]:
        """Encrypts a config. `configurable` and `metadata` are encrypted separately from the rest, because they hold keys of the
        server.
        """
        rest, apart = _apart(config)
        sealed = self.cipher.seal_document(Location(model, "config"), rest, NOTHING)
        for name, part in apart.items():
            sealed[name] = self.cipher.seal_document(Location(model, name), part, SYSTEM)
        return sealed

    def opened_config(self, model: str, config: Mapping[str, Any], column: Column, key: Key) -> dict[str, Any]:
        rest, apart = _apart(config)
        opened = self.cipher.open_document(Location(model, "config", column, key), rest, NOTHING)
        for name, part in apart.items():
            opened[name] = self.cipher.open_document(Location(model, name, column, key), part, SYSTEM)
        return opened


def _apart(config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Mapping[str, Any]]]:
    """Splits a config into the rest and its documents `configurable` and `metadata`."""
    apart = {name: config[name] for name in ("configurable", "metadata") if isinstance(config.get(name), Mapping)}
    return {name: value for name, value in config.items() if name not in apart}, apart


def _unreadable_kwargs(kwargs: Mapping[str, Any], why: str) -> dict[str, Any]:
    """Returns the kwargs of a run that cannot be decrypted: only what is needed to fail it. No webhook is notified."""
    config = kwargs.get("config") or {}
    configurable = config.get("configurable") or {}
    clear = {key: value for key, value in configurable.items() if key in SYSTEM}
    return {
        **{key: value for key, value in kwargs.items() if key not in (*RUN_INPUTS, "config", "webhook")},
        "config": {"configurable": clear},
        UNREADABLE: why,
    }


def _blob(blob: Blob, content: tuple[str, bytes]) -> Blob:
    """Returns the same blob with other content, encrypted or decrypted. The reference to the blob that it builds on stays
    unencrypted.
    """
    return replace(blob, type=content[0], data=content[1])
