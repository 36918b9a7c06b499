"""Chooses the backends that the settings ask for: storage, broker, locks and clock. No other module chooses them."""

import asyncio
import contextlib
import importlib
import logging
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from threadloom.broker.base import Broker
from threadloom.broker.local import LocalBroker
from threadloom.clock import Clock, SharedClock, SystemClock
from threadloom.config.settings import Settings
from threadloom.errors import ConfigError, MissingPackageError, StorageError
from threadloom.services.state_update import LocalLocks, ThreadLocks
from threadloom.storage.base import Storage
from threadloom.storage.sqlite import SqliteStorage

if TYPE_CHECKING:
    from threadloom.broker.networked import Link

log = logging.getLogger("threadloom")

POLL_INTERVAL_SECONDS = 5.0
"""How often the shared clock is synchronized with the database's clock."""

CLOCK_NOTICED_SECONDS = 2 * POLL_INTERVAL_SECONDS
"""After this time every process has noticed that the clock of the database was set."""

MESSAGE = b"threadloom message"
"""Associated data of an encrypted message. A ciphertext that was made for another purpose is not accepted as a message."""

OTHER_CONNECTIONS = 4
"""Connections to PostgreSQL that do not belong to the storage: three for messages, one for locks."""


@dataclass(frozen=True, kw_only=True)
class Backends:
    """The storage, broker, locks and clock of a process.

    Attributes:
        single_process: whether no other process uses the same data.
        lifespans: context managers that are entered after the storage is opened and left before it is closed.
    """

    storage: Storage
    broker: Broker
    locks: ThreadLocks
    clock: Clock
    single_process: bool
    lifespans: Sequence[Callable[[], AbstractAsyncContextManager[None]]] = ()


def choose(settings: Settings) -> Backends:
    """Returns the backends that the settings ask for: SQLite and memory for one process, PostgreSQL (and Redis) for several.

    Raises:
        MissingPackageError: the backends need a package that is not installed.
    """
    if settings.postgres_uri is None:
        storage = SqliteStorage(settings.data, synchronous=settings.threadloom.synchronous)
        return Backends(
            storage=storage,
            broker=LocalBroker(reader_bytes=settings.threadloom.limits.reader_bytes),
            locks=LocalLocks(),
            clock=SystemClock(),
            single_process=True,
        )
    try:
        return _shared(settings, settings.postgres_uri)
    except ModuleNotFoundError as error:
        wanted = {
            "asyncpg": ("PostgreSQL", "postgres"),
            "cryptography": ("auth with PostgreSQL", "postgres"),
            "redis": ("REDIS_URI", "redis"),
        }
        package = (error.name or "").partition(".")[0]
        if package not in wanted:
            raise
        what, extra = wanted[package]
        raise MissingPackageError(what, package, f"threadloom[{extra}]") from error


def _shared(settings: Settings, uri: str) -> Backends:
    # Imported here: an installation for a single process does not need these packages.
    from threadloom.broker.networked import Link
    from threadloom.broker.postgres import PostgresLink
    from threadloom.storage.postgres import PostgresStorage
    from threadloom.storage.postgres.locks import PostgresLocks

    variables = settings.vars
    if settings.auth is not None:
        # Users are sent between processes in encrypted envelopes. A missing package is reported now, not in the first run.
        importlib.import_module("threadloom.encryption.envelope")
    link: Link = PostgresLink(uri)
    if variables.redis_uri is not None:
        from threadloom.broker.redis import RedisLink

        link = RedisLink(
            variables.redis_uri,
            prefix=variables.redis_key_prefix,
            cluster=variables.redis_cluster,
            connections=variables.redis_max_connections,
            connect_seconds=variables.redis_connect_timeout,
        )
    # Event loops on other threads get half as many connections again.
    storage = PostgresStorage(
        uri, connections=max(2, (variables.langgraph_postgres_pool_max_size - OTHER_CONNECTIONS) * 2 // 3)
    )
    clock = SharedClock(storage.now)
    locks = PostgresLocks(uri, LocalLocks())

    @contextlib.asynccontextmanager
    async def ticking() -> AsyncIterator[None]:
        await clock.look()
        task = asyncio.create_task(_set_forever(clock))
        try:
            yield
        finally:
            task.cancel()

    @contextlib.asynccontextmanager
    async def locking() -> AsyncIterator[None]:
        await locks.open()
        try:
            yield
        finally:
            await locks.close()

    return Backends(
        storage=storage,
        broker=_sealed(link, settings),
        locks=locks,
        clock=clock,
        single_process=False,
        lifespans=(ticking, locking),
    )


def _sealed(link: "Link", settings: Settings) -> Broker:
    """Returns a broker that encrypts its messages if the stored content is encrypted: messages stay in a database for a while.

    Raises:
        ConfigError: handlers encrypt the stored content, and there is no key for messages.
    """
    from threadloom.broker.networked import NetworkedBroker
    from threadloom.encryption.aes import NONCE, Key

    reader_bytes = settings.threadloom.limits.reader_bytes
    if settings.vars.langgraph_aes_key is None:
        if settings.encryption is not None:
            raise ConfigError(
                "encryption: messages between processes would go in clear, for handlers are not asked for them. Set "
                "LANGGRAPH_AES_KEY beside the handlers."
            )
        return NetworkedBroker(link, reader_bytes=reader_bytes)
    aead = Key(settings.vars.langgraph_aes_key).aead

    def seal(body: bytes) -> bytes:
        nonce = os.urandom(NONCE)
        return nonce + bytes(aead.encrypt(nonce, body, MESSAGE))

    def unseal(body: bytes) -> bytes:
        return bytes(aead.decrypt(body[:NONCE], body[NONCE:], MESSAGE))

    return NetworkedBroker(link, seal=seal, unseal=unseal, reader_bytes=reader_bytes)


async def _set_forever(clock: SharedClock) -> None:
    while True:
        await asyncio.sleep(POLL_INTERVAL_SECONDS)
        try:
            await clock.look()
        except StorageError:
            log.debug("the database's time cannot be asked for", exc_info=True)
