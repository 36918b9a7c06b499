"""Settings -> the parts that differ between one process and many. The only place that chooses a storage and a broker."""

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
"""How often the clock is set by the database's."""

CLOCK_NOTICED_SECONDS = 2 * POLL_INTERVAL_SECONDS
"""In this time every process has noticed that the clock of the database was set."""

MESSAGE = b"threadloom message"
"""What is sealed along with a message, so that it can be taken for nothing else."""

OTHER_CONNECTIONS = 4
"""Connections to PostgreSQL that are not the storage's: messages have three, locks one."""


@dataclass(frozen=True, kw_only=True)
class Backends:
    """Where bytes live, how processes tell each other, who may write to a state, whose time counts.

    Attributes:
        alone: no other process has the same data.
        beside: what is to be entered once the storage is open, and left before it is closed.
    """

    storage: Storage
    broker: Broker
    locks: ThreadLocks
    clock: Clock
    single_process: bool
    lifespans: Sequence[Callable[[], AbstractAsyncContextManager[None]]] = ()


def choose(settings: Settings) -> Backends:
    """The parts that the settings ask for: SQLite and memory for one process, PostgreSQL (and Redis) for any number.

    Raises:
        MissingPackageError: they need a package that is not installed.
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
    # Imported here: who has one process need not have the packages.
    from threadloom.broker.networked import Link
    from threadloom.broker.postgres import PostgresLink
    from threadloom.storage.postgres import PostgresStorage
    from threadloom.storage.postgres.locks import PostgresLocks

    variables = settings.vars
    if settings.auth is not None:
        # Users go from process to process in envelopes; what these need is missed now, not in the first run.
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
    # Threads and event loops beside the server's have half as many connections again.
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
    """A broker whose messages nobody reads on their way, if what is stored is sealed: they lie in a database for a while.

    Raises:
        ConfigError: handlers seal what is stored, and there is no key for messages.
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
