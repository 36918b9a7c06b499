"""A real server process for tests: started on a free port, killed or stopped, started again on the same data."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests import forkserver

START_SECONDS = 240
"""Far more than it takes, as is what a stop may take: it is not speed that is tested."""
STOP_SECONDS = 120


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Server:
    """`threadloom dev`, or another verb that serves, on one app.

    Args:
        app: folder that holds the app's `langgraph.json`, or another configuration.
        data: the data folder. None: the data are where the environment says; then `log` is where the log goes.
        env: environment variables on top of ours.
        arguments: further arguments of the verb.
        reload: whether it watches the app's files.
        command: what `threadloom` is.
        verb: `dev` or `serve`.
    """

    def __init__(
        self,
        app: Path,
        data: Path | None,
        *,
        env: Mapping[str, str] | None = None,
        arguments: tuple[str, ...] = (),
        reload: bool = False,
        command: tuple[str, ...] = (sys.executable, "-m", "threadloom"),
        verb: str = "dev",
        log: Path | None = None,
    ) -> None:
        self.app = app
        self.verb = verb
        self.data = data
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        log = log or (data and data.with_suffix(".log"))
        assert log is not None
        self.log_path = log
        self._env = {**os.environ, **(env or {})}
        self._command = command
        self._arguments = arguments
        if verb == "dev":
            self._arguments += ("--no-browser",) if reload else ("--no-browser", "--no-reload")
        self.process: forkserver.Process | None = None

    def start(self) -> "Server":
        """Starts the process and waits until it answers."""
        self.launch()
        return self.await_ready()

    def launch(self) -> None:
        """Starts the process."""
        config = self.app / "langgraph.json" if self.app.is_dir() else self.app
        command = [*self._command, self.verb, "--config", str(config), "--port", str(self.port)]
        if self.data is not None:
            command += ["--data", str(self.data)]
        command += self._arguments
        with self.log_path.open("ab") as log:
            self.process = forkserver.start(command, output=log.fileno(), cwd=config.parent, env=self._env)

    def await_ready(self) -> "Server":
        """Waits until the process answers."""
        assert self.process is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.log()[-4000:]}")
            # Not with httpx: a client of it takes as long as the server's own start.
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
                connection.request("GET", "/ok")
                connection.getresponse().read()
                connection.close()
                return self
            time.sleep(0.02)
        raise AssertionError(f"the server did not start:\n{self.log()[-4000:]}")

    def kill(self) -> None:
        """kill -9, as the machine would."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Ctrl-C; gives the exit status."""
        return self._end(signal.SIGINT)

    def tell(self, how: signal.Signals) -> None:
        """Sends a signal to the process alone."""
        assert self.process is not None
        os.kill(self.process.pid, how)

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def _end(self, how: signal.Signals) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self._tell_all(how)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._tell_all(signal.SIGKILL)
            self.process.wait()
            raise

    def _tell_all(self, how: signal.Signals) -> None:
        """Sends a signal to the process and all that it started."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):  # it ended just now
            os.killpg(self.process.pid, how)


@contextlib.contextmanager
def running(
    app: Path,
    data: Path,
    *,
    env: Mapping[str, str] | None = None,
    arguments: tuple[str, ...] = (),
    reload: bool = False,
) -> Iterator[Server]:
    """A server that is started on entering and killed on leaving."""
    server = Server(app, data, env=env, arguments=arguments, reload=reload).start()
    try:
        yield server
    finally:
        server.kill()
