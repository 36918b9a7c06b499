"""Connections to PostgreSQL: their settings, and the meaning of their errors."""

import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import Any

from threadloom.errors import MissingPackageError, StorageError

try:
    import asyncpg
except ModuleNotFoundError as error:
    raise MissingPackageError("PostgreSQL", "asyncpg", "threadloom[postgres]") from error

SCHEMA = "threadloom"
"""The schema of the server's tables, apart from other tables of the database."""

SERVER = "threadloom"
"""The application name of servers' connections. Maintenance connections have another name."""

SETTINGS = {
    "application_name": SERVER,
    "search_path": f"{SCHEMA},public",
    # Plans. All queries of the server walk along indexes, and must do so from the first row on. A table that was empty a minute
    # ago has no statistics, and a plan that scans it would be kept.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
    # A process that is stopped in the middle of a transaction must not block the threads it has locked for longer than a lease.
    "idle_in_transaction_session_timeout": "10s",
    "lock_timeout": "30s",
}

CONNECT_SECONDS = 5.0

_ZERO, _MARK = "\0", "\ue000"


class ConnectionLost(Exception):
    """There is no connection to the database, or it was lost before a commit: nothing was stored."""


_GONE: tuple[type[Exception], ...] = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.TooManyConnectionsError,
    asyncpg.ReadOnlySQLTransactionError,
)
"""The connection is lost, or there was none. (Read-only: the server has become a standby.)"""

_UNREACHABLE: tuple[type[Exception], ...] = (OSError, *_GONE)

AGAIN: tuple[type[Exception], ...] = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
"""Conflicts with other transactions: the same transaction can be retried."""

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
"""Errors that an operator has to resolve; they are no errors of the server."""


def escaped(text: str) -> str:
    """Returns a text in its stored form. PostgreSQL cannot store U+0000: it is stored as U+E000 and `0`, and U+E000 itself as
    U+E000 and `1`.
    """
    if _ZERO in text or _MARK in text:
        return text.replace(_MARK, _MARK + "1").replace(_ZERO, _MARK + "0")
    return text


def texts(several: Iterable[str]) -> list[str]:
    """Returns texts in their stored form, for an array."""
    return [escaped(text) for text in several]


def unescaped(text: str) -> str:
    """Returns a text from its stored form."""
    return text.replace(_MARK + "0", _ZERO).replace(_MARK + "1", _MARK) if _MARK in text else text


def _encoded(text: str) -> bytes:
    return escaped(text).encode()


def _decoded(stored: bytes) -> str:
    return unescaped(stored.decode())


async def make_pool(uri: str, size: int) -> Any:
    """Returns a pool of connections for the running event loop, up to `size`. The first one is opened at once."""
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
    """Opens one connection for a long operation, with the database's default planner settings.

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
    # For single texts only: asyncpg does not apply it to texts in arrays. Code with arrays calls `escaped` and `unescaped`.
    await connection.set_type_codec("text", schema="pg_catalog", encoder=_encoded, decoder=_decoded, format="binary")


async def _leave(connection: Any) -> None:
    """Replaces the reset of a connection, which costs a round trip. Transactions are ended by the code that began them, and no
    other state is left on a connection.
    """


def is_gone(error: BaseException, connection: Any) -> bool:
    """Returns whether a connection on which this error occurred is lost."""
    if isinstance(error, _GONE):
        return True
    try:
        return bool(connection.is_closed())
    except asyncpg.InterfaceError:  # the pool has already removed it
        return True


def discard(connection: Any) -> None:
    """Closes a connection at once."""
    with contextlib.suppress(asyncpg.InterfaceError):
        connection.terminate()


@contextlib.asynccontextmanager
async def connecting() -> AsyncIterator[None]:
    """Converts errors within the block.

    Raises:
        ConnectionLost: in place of errors that say that the database cannot be reached.
    """
    try:
        yield
    except _UNREACHABLE as error:
        raise ConnectionLost(f"it cannot be reached: {str(error) or type(error).__name__}") from error


@contextlib.asynccontextmanager
async def explained() -> AsyncIterator[None]:
    """Converts errors within the block.

    Raises:
        StorageError: in place of errors that an operator has to resolve.
    """
    try:
        yield
    except REFUSED as error:
        raise StorageError(f"the database refused: {str(error) or type(error).__name__}") from error
