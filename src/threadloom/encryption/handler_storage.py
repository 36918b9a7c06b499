"""A storage whose content the user's encryption handlers encrypt and decrypt. The handlers run outside the transactions."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar, cast

from threadloom.codec import from_json, to_json
from threadloom.encryption import context
from threadloom.encryption.cipher import UndecipherableError
from threadloom.encryption.handler_cipher import HandlerCipher, PendingHandlerCalls, Replacement
from threadloom.encryption.handlers import Handlers
from threadloom.encryption.storage import SealedTx
from threadloom.errors import StorageError
from threadloom.storage.base import Storage, Tx
from threadloom.storage.ciphertexts import Stored
from threadloom.storage.drive import drive

log = logging.getLogger("threadloom.encryption")

T = TypeVar("T")

ATTEMPTS = 1000
"""How often an operation runs at most until no handler result is missing. An operation that never gets there is an error."""


class HandledStorage:
    """Encrypts with the user's handlers. They run on the event loop on which the storage was opened.

    An operation runs again as long as results of handlers are missing: at most once for each step that reads or writes content.
    Ciphertexts that a decryptor wants to be replaced are replaced after the operation.

    Args:
        inner: the storage for the ciphertexts.
    """

    def __init__(self, inner: Storage, handlers: Handlers) -> None:
        self._inner = inner
        self._handlers = handlers
        self._home: asyncio.AbstractEventLoop | None = None

    async def open(self) -> None:
        self._home = asyncio.get_running_loop()
        await self._inner.open()

    async def close(self) -> None:
        await self._inner.close()

    async def write(self, work: Callable[[SealedTx], Awaitable[T]], *, heavy: bool = False, single: bool = False) -> T:
        if single:
            memo = HandlerCipher(self._handlers, context.current())
            while _misses(work, memo):
                await self._fulfil(memo)
            return await self._inner.write(lambda tx: _whole(work, tx, memo), single=True)
        return await self._until_ready(work, lambda sealed: self._inner.write(sealed, heavy=heavy))

    def defer(self, work: Callable[[SealedTx], Awaitable[None]], failed: Callable[[Exception], None]) -> None:
        """Returns None (see `storage.base`): a put cannot be deferred before the handlers have encrypted it."""

    async def read(self, work: Callable[[SealedTx], Awaitable[T]], *, heavy: bool = False, deferred: bool = True) -> T:
        return await self._until_ready(work, lambda sealed: self._inner.read(sealed, heavy=heavy, deferred=deferred))

    async def size(self) -> int:
        return await self._inner.size()

    async def probe(self) -> None:
        await self._inner.probe()

    def write_now(self, work: Callable[[SealedTx], Awaitable[T]], *, single: bool = False) -> T:
        if single:
            memo = HandlerCipher(self._handlers, context.current())
            while _misses(work, memo):
                self._at_home(memo).result()
            return self._inner.write_now(lambda tx: _whole(work, tx, memo), single=True)
        return self._until_ready_now(work, self._inner.write_now)

    def read_now(self, work: Callable[[SealedTx], Awaitable[T]]) -> T:
        return self._until_ready_now(work, self._inner.read_now)

    def new_blob_id(self) -> int:
        return self._inner.new_blob_id()

    async def _until_ready(
        self, work: Callable[[SealedTx], Awaitable[T]], run: Callable[[Callable[[Tx], Awaitable[T]]], Awaitable[T]]
    ) -> T:
        memo = HandlerCipher(self._handlers, context.current())
        for _ in range(ATTEMPTS):
            with contextlib.suppress(PendingHandlerCalls):
                result = await run(lambda tx: _whole(work, tx, memo))
                if replacements := memo.replacements():
                    with _logged():
                        await self._inner.write(lambda tx: _put_in_place(tx, replacements))
                return result
            await self._fulfil(memo)
        raise UndecipherableError("An operation asks the encryption's handlers for something else each time")

    def _until_ready_now(
        self, work: Callable[[SealedTx], Awaitable[T]], run: Callable[[Callable[[Tx], Awaitable[T]]], T]
    ) -> T:
        """As `_until_ready`, for a thread without an event loop. Work that needs no handler does not wait for the event loop
        either.
        """
        memo = HandlerCipher(self._handlers, context.current())
        for _ in range(ATTEMPTS):
            with contextlib.suppress(PendingHandlerCalls):
                result = run(lambda tx: _whole(work, tx, memo))
                if replacements := memo.replacements():
                    with _logged():
                        self._inner.write_now(lambda tx: _put_in_place(tx, replacements))
                return result
            self._at_home(memo).result()
        raise UndecipherableError("An operation asks the encryption's handlers for something else each time")

    async def _fulfil(self, memo: HandlerCipher) -> None:
        if self._home is asyncio.get_running_loop():
            await memo.fulfil()
        else:
            await asyncio.wrap_future(self._at_home(memo))

    def _at_home(self, memo: HandlerCipher) -> Any:
        if self._home is None:
            raise RuntimeError("the storage is not open")
        return asyncio.run_coroutine_threadsafe(memo.fulfil(), self._home)


class _DryRunTx:
    """A transaction for a dry run of a single put: it stores nothing."""

    @property
    def lineage(self) -> "_DryRunTx":
        return self

    def __getattr__(self, name: str) -> Any:
        async def gone(*_: Any, **__: Any) -> int:
            return 0

        return gone


def _misses(work: Callable[[SealedTx], Awaitable[T]], memo: HandlerCipher) -> bool:
    """Returns whether results of handlers are missing for a single put. The put reads nothing, so it can run without a database.
    It must be complete before it is stored, because it shares a transaction with other puts.
    """
    try:
        drive(lambda tx: _whole(work, tx, memo), cast(Tx, _DryRunTx()))
    except PendingHandlerCalls:
        return True
    return False


async def _whole(work: Callable[[SealedTx], Awaitable[T]], tx: Tx, memo: HandlerCipher) -> T:
    """Runs an operation within a transaction. While a result is missing, nothing of it is committed.

    Raises:
        PendingHandlerCalls: a result is missing. It also replaces an error that a placeholder may have caused.
    """
    try:
        result = await work(SealedTx(tx, memo))
    except Exception:
        memo.complete()
        raise
    memo.complete()
    return result


@contextlib.contextmanager
def _logged() -> Any:
    """Logs a storage error. The values that were read are good even if their ciphertexts could not be replaced; the next read
    tries again.
    """
    try:
        yield
    except StorageError:
        log.exception("replacements of ciphertexts could not be stored")


async def _put_in_place(tx: Tx, replacements: Sequence[Replacement]) -> None:
    """Stores replacements wherever the old ciphertext is still stored."""
    for one in replacements:
        assert one.at.column is not None
        stored = await tx.ciphertexts.get(one.at.column, one.at.key)
        if stored is None:
            continue
        if isinstance(one.old, bytes):
            data = one.new if stored.data == one.old else stored.data
        else:
            data = to_json(_replaced(from_json(stored.data), one))
        await tx.ciphertexts.put(one.at.column, Stored(stored.key, stored.type, data))


def _replaced(document: Any, one: Replacement) -> Any:
    """Returns a document in which one part is replaced, at any depth."""
    if document == one.old:
        return one.new
    if isinstance(document, dict):
        return {key: _replaced(value, one) for key, value in document.items()}
    return document
