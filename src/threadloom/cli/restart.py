"""Beginning again in place: the same process id, the same port, and no connection refused meanwhile.

The listening socket lives on through `exec`; who connects in between waits in its queue until the new server answers.
"""

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Mapping
from typing import NoReturn

SIGNAL = getattr(signal, "SIGUSR1", None)
"""Asks a server to begin again, as `threadloom db restore` does."""

VARIABLE = "THREADLOOM_LISTEN"
"""Holds the number of the socket that the process listened on before."""


def inherited() -> socket.socket | None:
    """The socket that this process listened on before it began again."""
    number = os.environ.pop(VARIABLE, "")
    if not number.isdigit():
        return None
    with contextlib.suppress(OSError):
        listening = socket.socket(fileno=int(number))
        listening.set_inheritable(False)
        return listening
    return None


def begin(listening: socket.socket, environment: Mapping[str, str], folder: str) -> NoReturn:
    """Runs the command line of this process anew.

    Args:
        environment: the variables that the process was started with.
        folder: where it was started.
    """
    listening.set_inheritable(True)
    sys.stdout.flush()
    sys.stderr.flush()
    os.chdir(folder)
    os.execve(sys.executable, sys.orig_argv, {**environment, VARIABLE: str(listening.fileno())})
