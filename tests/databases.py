"""Databases of a test's own on the PostgreSQL that the tests share."""

import asyncio
import contextlib
import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit

import asyncpg


@contextlib.contextmanager
def database_of(postgres_uri: str) -> Iterator[str]:
    """The address of a new database; it is dropped on leaving."""
    name = f"made_{uuid.uuid4().hex}"

    async def run(statement: str) -> None:
        connection = await asyncpg.connect(postgres_uri)
        await connection.execute(statement)
        await connection.close()

    asyncio.run(run(f"CREATE DATABASE {name} STRATEGY file_copy"))
    yield urlsplit(postgres_uri)._replace(path=f"/{name}").geturl()
    asyncio.run(run(f"DROP DATABASE {name} WITH (FORCE)"))
