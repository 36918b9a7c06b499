"""Restarts in place: the same process id, the same port, and no connection refused meanwhile.

The listening socket stays open through `exec`. Clients that connect meanwhile wait in its queue until the new server answers.
"""

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Mapping
from typing import NoReturn

SIGNAL = getattr(signal, "SIGUSR1", None)
"""Makes a server restart. `threadloom db restore` sends it."""

VARIABLE = "THREADLOOM_LISTEN"
"""The variable with the file descriptor of the socket on which the process listened before."""


def inherited() -> socket.socket | None:
    """Returns the socket on which this process listened before it restarted; None if it did not restart."""
    number = os.environ.pop(VARIABLE, "")
    if not number.isdigit():
        return None
    with contextlib.suppress(OSError):
        listening = socket.socket(fileno=int(number))
        listening.set_inheritable(False)
        return listening
    return None


def begin(listening: socket.socket, environment: Mapping[str, str], folder: str) -> NoReturn:
    """Executes the command line of this process again.

    Args:
        environment: the variables that the process was started with.
        folder: the working folder that it was started in.
    """
    listening.set_inheritable(True)
    sys.stdout.flush()
    sys.stderr.flush()
    os.chdir(folder)
    os.execve(sys.executable, sys.orig_argv, {**environment, VARIABLE: str(listening.fileno())})
