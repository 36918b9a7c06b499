"""Connections to PostgreSQL: how they are set up, and what their errors mean."""

import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import Any

from threadloom.errors import MissingPackageError, StorageError

try:
    import asyncpg
except ModuleNotFoundError as error:
    raise MissingPackageError("PostgreSQL", "asyncpg", "threadloom[postgres]") from error

SCHEMA = "threadloom"
"""Where our tables are, apart from what else the database may hold."""

SERVER = "threadloom"
"""By what the connections of servers are known in the database; those for care of it have another name."""

SETTINGS = {
    "application_name": SERVER,
    "search_path": f"{SCHEMA},public",
    # Plans. Ours are walks along indexes, and have to be so from the first row on: a table that was empty a minute ago has no
    # statistics, and what is planned then as a scan of it stays one.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
    # Who was stopped in the middle of a transaction must not keep others from its threads for longer than a lease.
    "idle_in_transaction_session_timeout": "10s",
    "lock_timeout": "30s",
}

CONNECT_SECONDS = 5.0

_ZERO, _MARK = "\0", "\ue000"


class ConnectionLost(Exception):
    """There is no connection to the database, or it broke off before a commit: nothing was kept."""


_GONE: tuple[type[Exception], ...] = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.TooManyConnectionsError,
    asyncpg.ReadOnlySQLTransactionError,
)
"""The connection is no good any more, or there was none. (Read-only: the server has become a stand-by.)"""

_UNREACHABLE: tuple[type[Exception], ...] = (OSError, *_GONE)

AGAIN: tuple[type[Exception], ...] = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
"""Others were in the way: the same transaction can be made once more."""

REFUSED: tuple[type[Exception], ...] = (
    *_GONE,
    *AGAIN,
    ConnectionLost,
    TimeoutError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresSystemError,
    asyncpg.LockNotAvailableError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)
"""What an operator has to look after, and not we."""


def escaped(text: str) -> str:
    """A text as it is stored. PostgreSQL has none with U+0000: it stands as U+E000 and `0`, U+E000 itself with `1`."""
    if _ZERO in text or _MARK in text:
        return text.replace(_MARK, _MARK + "1").replace(_ZERO, _MARK + "0")
    return text


def texts(several: Iterable[str]) -> list[str]:
    """Texts for an array."""
    return [escaped(text) for text in several]


def unescaped(text: str) -> str:
    """The text that was stored."""
    return text.replace(_MARK + "0", _ZERO).replace(_MARK + "1", _MARK) if _MARK in text else text


def _encoded(text: str) -> bytes:
    return escaped(text).encode()


def _decoded(stored: bytes) -> str:
    return unescaped(stored.decode())


async def make_pool(uri: str, size: int) -> Any:
    """Connections of the running event loop, up to `size`; the first is there at once."""
    return await asyncpg.create_pool(
        uri,
        min_size=1,
        max_size=size,
        max_queries=10**9,
        timeout=CONNECT_SECONDS,
        statement_cache_size=1024,
        max_cached_statement_lifetime=0,
        server_settings=SETTINGS,
        init=_prepare,
        reset=_leave,
    )


@contextlib.asynccontextmanager
async def connected(uri: str) -> AsyncIterator[Any]:
    """One connection for a long work by itself, planned as the database sees fit.

    Raises:
        StorageError: the database cannot be reached.
    """
    async with explained(), connecting():
        settings = {"application_name": f"{SERVER} db", "search_path": SETTINGS["search_path"]}
        connection = await asyncpg.connect(uri, timeout=CONNECT_SECONDS, server_settings=settings)
        await _prepare(connection)
    try:
        yield connection
    finally:
        await connection.close()


async def _prepare(connection: Any) -> None:
    # Of single texts. asyncpg does not ask it about those in arrays: who has arrays calls `escaped` and `unescaped`.
    await connection.set_type_codec("text", schema="pg_catalog", encoder=_encoded, decoder=_decoded, format="binary")


async def _leave(connection: Any) -> None:
    """In place of a reset, which costs a round trip: transactions are ended by who began them, and nothing else lasts."""


def is_gone(error: BaseException, connection: Any) -> bool:
    """Whether a connection on which this happened is lost."""
    if isinstance(error, _GONE):
        return True
    try:
        return bool(connection.is_closed())
    except asyncpg.InterfaceError:  # it was so long ago that the pool has let go of it
        return True


def discard(connection: Any) -> None:
    """Ends a connection at once."""
    with contextlib.suppress(asyncpg.InterfaceError):
        connection.terminate()


@contextlib.asynccontextmanager
async def connecting() -> AsyncIterator[None]:
    """
    Raises:
        Lost: in place of errors that say that the database cannot be reached.
    """
    try:
        yield
    except _UNREACHABLE as error:
        raise ConnectionLost(f"it cannot be reached: {str(error) or type(error).__name__}") from error


@contextlib.asynccontextmanager
async def explained() -> AsyncIterator[None]:
    """
    Raises:
        StorageError: in place of errors that an operator has to look after.
    """
    try:
        yield
    except REFUSED as error:
        raise StorageError(f"the database refused: {str(error) or type(error).__name__}") from error
