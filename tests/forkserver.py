"""Starts the processes of tests: fast, and none outlives the tests.

Each process of the tests has one fork server, `python -m tests.forkserver`, which is the parent of all that it starts:

- The command `threadloom` as a fork of a process that has imported it already. The fork is a server process like any other,
  with its own environment, folder, output and session; it only saves the import, which is most of what a start costs.
- Any other command, with fork and exec.

It ends when the process of the tests does, however that ends, and then ends all it started.
"""

import atexit
import contextlib
import ctypes
import functools
import json
import os
import runpy
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LARGEST_REQUEST = 1 << 20
STATUS = struct.Struct("i")

AT_START = ("PYTHON", "LC_", "LANG=", "LD_", "MALLOC_", "OPENBLAS_", "OMP_", "TMPDIR=", "TEMP=", "TMP=")
"""Variables that are read when an interpreter starts, or by what is not Python: when one differs, the command starts anew."""

ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}
"""Only a process with one thread can be forked safely."""

PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Has the kernel kill this process when the thread that started it ends. For `preexec_fn`."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Process:
    """A process that was started; what tests use of `subprocess.Popen`. `forked`: without an exec."""

    def __init__(self, pid: int, status: int, *, forked: bool) -> None:
        self.pid = pid
        self.forked = forked
        self.returncode: int | None = None
        self._status = status
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the end.

        Args:
            timeout: seconds. None: as long as it takes.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            # In short waits, so that others may ask meanwhile.
            status = self._look(0.05)
            if status is not None:
                return status
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _look(self, seconds: float) -> int | None:
        with self._lock:
            if self.returncode is None:
                with selectors.PollSelector() as selector:
                    selector.register(self._status, selectors.EVENT_READ)
                    if selector.select(seconds):
                        told = os.read(self._status, STATUS.size)
                        # Nothing told: the fork server was killed, and with it all it started.
                        self.returncode = STATUS.unpack(told)[0] if told else -signal.SIGKILL
                        os.close(self._status)
            return self.returncode


class ForkServer:
    """The fork server of this process; use `start`."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        self.environment = {**os.environ}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.forkserver", str(theirs.fileno())],
            cwd=ROOT,
            env={**self.environment, **ONE_THREAD},
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()
        atexit.register(self._close)

    def _close(self) -> None:
        self._ours.close()
        self._process.wait()

    def ask(self, request: dict[str, Any], output: int, errors: int) -> Process:
        status, told = os.pipe()
        try:
            with self._lock:
                socket.send_fds(self._ours, [json.dumps(request).encode()], [output, errors, told])
                answer = self._ours.recv(STATUS.size)
        finally:
            os.close(told)
        if not answer:
            raise RuntimeError("the fork server of the tests ended")
        [pid] = STATUS.unpack(answer)
        if not pid:
            os.close(status)
            raise NotForkable
        return Process(pid, status, forked=request["fork"])


class NotForkable(Exception):
    """What is imported would be another in that environment or folder: the command must start anew."""


@functools.cache
def _server() -> ForkServer:
    return ForkServer()


def start(
    command: Sequence[str],
    *,
    output: int,
    errors: int | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    user: tuple[int, int] | None = None,
    end: int = signal.SIGKILL,
    remove: Path | None = None,
) -> Process:
    """Starts a command in a session of its own.

    Args:
        command: its words. `python -m threadloom` of this interpreter is forked without an exec, where that makes no
            difference.
        output: the file that gets what it prints; its input is empty.
        errors: the file that gets its standard error. None: `output`.
        cwd: its folder. None: ours.
        env: its environment; None: ours.
        user: whose process it is, as user and group id. None: ours.
        end: the signal that ends it when the tests are cut off.
        remove: a folder that goes when the tests are cut off.
    """
    server = _server()
    request = {
        "command": list(map(str, command)),
        "cwd": str(cwd or Path.cwd()),
        "env": dict(os.environ if env is None else env),
        "user": user,
        "end": int(end),
        "remove": str(remove) if remove else None,
        "fork": False,
    }
    begin = [sys.executable, "-m", "threadloom"]
    if request["command"][:3] == begin and user is None and _same_start(server.environment, request["env"]):
        with contextlib.suppress(NotForkable):
            return server.ask({**request, "fork": True}, output, errors or output)
    return server.ask(request, output, errors or output)


def run(
    command: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None, timeout: float
) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, as `subprocess.run` does with its output as text.

    Args:
        command, cwd, env: as for `start`.
        timeout: seconds.

    Raises:
        subprocess.TimeoutExpired: it still ran, and was killed.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = start(command, output=output.fileno(), errors=errors.fileno(), cwd=cwd, env=env)
        try:
            status = process.wait(timeout)
        finally:
            process.kill()
        printed = []
        for file in (output, errors):
            file.seek(0)
            printed.append(file.read().decode())
        return subprocess.CompletedProcess(command, status, *printed)


def _same_start(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether two environments make no difference to an interpreter that starts."""

    def read(environment: Mapping[str, str]) -> set[str]:
        words = (f"{name}={value}" for name, value in environment.items())
        return {word for word in words if word.startswith(AT_START)}

    return read(one) == read(other)


# --- the process itself ---


@contextlib.contextmanager
def _noted_reads() -> Iterator[set[str]]:
    """The names of the environment variables that are read in the block."""
    names: set[str] = set()
    kind = type(os.environ)
    get, has = kind.__getitem__, kind.__contains__

    def noted_get(self: Any, name: str) -> str:
        names.add(name)
        return get(self, name)

    def noted_has(self: Any, name: object) -> bool:
        names.add(str(name))
        return has(self, name)

    kind.__getitem__, kind.__contains__ = noted_get, noted_has  # type: ignore[method-assign, assignment]
    try:
        yield names
    finally:
        kind.__getitem__, kind.__contains__ = get, has  # type: ignore[method-assign]


def _import_threadloom() -> set[str]:
    """Imports what a server imports. Gives the variables that were read in doing so."""
    with _noted_reads() as names:
        import uvloop  # noqa: F401

        import threadloom.cli.restart
        import threadloom.cli.server
        import threadloom.log
        import threadloom.reload
        import threadloom.wiring  # noqa: F401
    threads = list(Path("/proc/self/task").iterdir())
    assert len(threads) == 1, f"an import started {len(threads) - 1} threads: nothing can be forked safely"
    # pytest's own differ with each test.
    return {name for name in names if not name.startswith("PYTEST_")} - ONE_THREAD.keys()


def _modules_in(folder: str) -> set[str]:
    """The names of modules and packages that can be imported from a folder."""
    with contextlib.suppress(OSError):  # the start says so
        found = [one for one in Path(folder).iterdir() if one.suffix in (".py", ".so") or one.is_dir()]
        return {one.name.partition(".")[0] for one in found}
    return set()


class _Children:
    """What was started and has not ended."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)
        self._running: dict[int, tuple[int, int, dict[str, Any]]] = {}
        self._read: set[str] | None = None
        self._environment = {**os.environ}

    def serve(self) -> dict[str, Any] | None:
        """Starts what is asked for, until the tests end. In a fork it gives what that is to become."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is not self._control:
                    self._ended(key.fd)
                    continue
                message, files, _, _ = socket.recv_fds(self._control, LARGEST_REQUEST, 3)
                if not message:
                    self._end()
                    return None
                request = json.loads(message)
                if self._start(request, *files):
                    return request

    def _start(self, request: dict[str, Any], output: int, errors: int, told: int) -> bool:
        """Whether this is the fork."""
        if request["fork"] and not self._forkable(request):
            for file in (output, errors, told):
                os.close(file)
            self._control.send(STATUS.pack(0))
            return False
        begun, begins = os.pipe()
        parent = os.getpid()
        pid = os.fork()
        if not pid:
            self._selector.close()
            self._control.close()
            _finalize(request, output, errors, parent, begins)
            return True
        for file in (output, errors, begins):
            os.close(file)
        os.read(begun, 1)  # it has its own session now, and can be killed with all it starts
        os.close(begun)
        watched = os.pidfd_open(pid)
        self._running[watched] = (pid, told, request)
        self._selector.register(watched, selectors.EVENT_READ)
        self._control.send(STATUS.pack(pid))
        return False

    def _forkable(self, request: dict[str, Any]) -> bool:
        """Whether a start would import what is imported: neither variables nor modules in its folder tell otherwise."""
        if self._read is None:
            self._read = _import_threadloom()
        imported = {name.partition(".")[0] for name in sys.modules} - {"tests"}
        hidden = imported & _modules_in(request["cwd"])
        same = all(request["env"].get(name) == self._environment.get(name) for name in self._read)
        return same and not hidden

    def _ended(self, watched: int) -> None:
        pid, told, _ = self._running.pop(watched)
        self._selector.unregister(watched)
        os.close(watched)
        _, status = os.waitpid(pid, 0)
        with contextlib.suppress(BrokenPipeError):
            os.write(told, STATUS.pack(os.waitstatus_to_exitcode(status)))
        os.close(told)

    def _end(self) -> None:
        for pid, _, request in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
                (os.killpg if request["end"] == signal.SIGKILL else os.kill)(pid, request["end"])
        for pid, _, request in self._running.values():
            os.waitpid(pid, 0)
            if request["remove"]:
                shutil.rmtree(request["remove"], ignore_errors=True)


def _finalize(request: dict[str, Any], output: int, errors: int, parent: int, begins: int) -> None:
    """Makes a fork a process of its own. Execs what is not to be forked."""
    os.setsid()
    if request["user"]:
        user, group = request["user"]
        os.setgroups([])
        os.setgid(group)
        os.setuid(user)
    die_with_parent()  # the fork server can be killed as well
    if os.getppid() != parent:
        os._exit(1)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.dup2(output, 1)
    os.dup2(errors, 2)
    os.write(begins, b"+")
    # Only numbers: what has an object to close it was closed by that, or it would close what has its number by then.
    os.closerange(3, max(int(one.name) for one in Path("/proc/self/fd").iterdir()) + 1)
    os.chdir(request["cwd"])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    if not request["fork"]:
        try:
            os.execvpe(request["command"][0], request["command"], request["env"])
        except OSError as error:
            os.write(2, f"{request['command'][0]}: {error}\n".encode())
            os._exit(127)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()


def _main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    request = _Children(control).serve()
    if request is None:
        return
    for name in ("tests", "tests.forkserver"):  # an app may have a package of that name
        sys.modules.pop(name, None)
    sys.orig_argv[:] = request["command"]
    sys.argv[:] = request["command"][2:]
    sys.path[0] = request["cwd"]
    # To the end of the interpreter, as when the command had been started: an exit status leaves as SystemExit.
    runpy.run_module("threadloom", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
