"""Lets a debugger attach: `threadloom dev --debug-port`."""

import contextlib
import time
from collections.abc import Callable

from threadloom.errors import MissingPackageError, StartError

HOST = "127.0.0.1"
PATIENCE = 5.0
"""Seconds for which the port may still be held by the server process that restarted as this one."""


def listen(port: int, *, wait: bool, say: Callable[[str], None]) -> None:
    """Listens for a debugger that speaks the debug adapter protocol (VS Code, PyCharm …).

    Args:
        wait: wait until a debugger has attached.
        say: shows a message to the user.

    Raises:
        MissingPackageError: debugpy is not installed.
        StartError: the port cannot be used.
    """
    try:
        import debugpy  # an optional package
    except ImportError as error:
        raise MissingPackageError("--debug-port", "debugpy", "debugpy") from error
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            debugpy.listen((HOST, port))
            break
        except (OSError, RuntimeError) as error:
            if time.monotonic() > deadline:
                raise StartError(f"A debugger cannot be listened for on port {port}: {error}") from error
            time.sleep(0.2)
    say(f"A debugger can attach to {HOST}:{port}.")
    if wait:
        say("Waiting for it …")
        with contextlib.suppress(KeyboardInterrupt):
            debugpy.wait_for_client()
            return
        raise StartError("Stopped before a debugger came.")
