"""Several processes of one deployment, on one database, behind a proxy that asks them in turn."""

import contextlib
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx

from tests.proxy import Proxy
from tests.server import Server


class Cluster:
    """API and worker processes; use `running`.

    Args:
        app: the app's folder or configuration.
        folder: where the logs go.
        env: variables of all processes, `DATABASE_URI` among them.
        apis, workers: how many of each.
        worker_env: further variables of the workers.
        port: where the proxy is; 0 for any free port.
    """

    def __init__(
        self,
        app: Path,
        folder: Path,
        *,
        env: Mapping[str, str],
        apis: int = 2,
        workers: int = 2,
        worker_env: Mapping[str, str] | None = None,
        port: int = 0,
    ) -> None:
        def process(role: str, number: int, more: Mapping[str, str]) -> Server:
            return Server(
                app,
                None,
                env={**env, **more},
                arguments=("--role", role),
                verb="serve",
                log=folder / f"{role}{number}.log",
            )

        self.apis = [process("api", number, {}) for number in range(apis)]
        self.workers = [process("worker", number, worker_env or {}) for number in range(workers)]
        self.proxy = Proxy([("127.0.0.1", api.port) for api in self.apis], http=True, port=port)

    @property
    def processes(self) -> list[Server]:
        return [*self.apis, *self.workers]

    @property
    def url(self) -> str:
        """Where the proxy is."""
        return f"http://127.0.0.1:{self.proxy.port}"

    def client(self) -> httpx.Client:
        """A client of the proxy."""
        return httpx.Client(base_url=self.url, timeout=60)

    def logs(self) -> str:
        return "\n".join(f"=== {process.log_path.name}\n{process.log()}" for process in self.processes)

    def of_pid(self, pid: int) -> Server:
        """The process with a process id."""
        return next(process for process in self.processes if process.process and process.process.pid == pid)


@contextlib.contextmanager
def running(
    app: Path,
    folder: Path,
    *,
    env: Mapping[str, str],
    apis: int = 2,
    workers: int = 2,
    worker_env: Mapping[str, str] | None = None,
    port: int = 0,
) -> Iterator[Cluster]:
    """A cluster whose processes all answer, and which is gone after leaving."""
    cluster = Cluster(app, folder, env=env, apis=apis, workers=workers, worker_env=worker_env, port=port)
    try:
        for process in cluster.processes:
            process.launch()
        for process in cluster.processes:
            process.await_ready()
        with cluster.proxy:
            yield cluster
    finally:
        for process in cluster.processes:
            if process.process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.process.pid, signal.SIGCONT)
                process.kill()
