"""Calls users' code, and converts exceptions that would end the event loop or the process into ordinary errors.

`sys.exit()`, `KeyboardInterrupt`, `GeneratorExit` and subclasses of `BaseException` are not caught by `except Exception`. Raised
in a task, the first two also end the event loop that runs it, and the server with it.
"""

import asyncio
import logging
import signal
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from threadloom.errors import ThreadloomError

log = logging.getLogger("threadloom.usercode")

_ENDS_LOOP = (SystemExit, KeyboardInterrupt)
"""Exceptions that asyncio raises out of a running loop, in addition to setting them on their task."""


class UserCodeExit(ThreadloomError):
    """Users' code raised an exception that is not an `Exception`, such as that of `sys.exit()`.

    Args:
        raised: the exception. Error payloads are made of it (`error_payloads.error_payload`).
    """

    def __init__(self, raised: BaseException) -> None:
        super().__init__(f"users' code raised {type(raised).__name__}: {text_of(raised)}".rstrip(": "))
        self.raised = raised


class contained:
    """A context manager around a call of users' code. The block must contain nothing else.

    The block must not contain a `yield` of one of the server's generators: `GeneratorExit` is raised there to close it.

    Raises:
        UserCodeExit: the block raised something that is neither an `Exception` nor the cancellation of this task.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, Exception):
            return
        if isinstance(error, asyncio.CancelledError) and is_cancelled_from_outside():
            return
        raise UserCodeExit(error) from error


def is_cancelled_from_outside() -> bool:
    """Returns whether the cancellation of this task was requested. If not, users' code raised a `CancelledError`."""
    try:
        task = asyncio.current_task()
    except RuntimeError:  # a thread without an event loop
        return False
    return task is not None and task.cancelling() > 0


def run_until_done(loop: asyncio.AbstractEventLoop, main: "asyncio.Task[Any]") -> Any:
    """Runs an event loop until a task is done, and returns the task's result. Other tasks and callbacks may raise or stop the
    loop meanwhile.

    Raises:
        BaseException: what the task itself raised; KeyboardInterrupt also for a Ctrl-C without a signal handler.
    """
    while not main.done():
        try:
            return loop.run_until_complete(main)
        except _ENDS_LOOP as error:
            if main.done() or _is_pressed(error):
                raise
            _log(error)
        except RuntimeError:  # raised by asyncio: the loop was stopped
            if main.done() or loop.is_closed():
                raise
            log.error("users' code stopped the event loop; the server goes on")
    return main.result()


def run_forever(loop: asyncio.AbstractEventLoop, is_over: Callable[[], bool]) -> None:
    """Runs an event loop until it is stopped and `is_over`, whatever its tasks and callbacks raise or stop."""
    while not (is_over() or loop.is_closed()):
        try:
            loop.run_forever()
        except _ENDS_LOOP as error:
            _log(error)


def _is_pressed(error: BaseException) -> bool:
    """Returns whether an interruption was raised by Python for a Ctrl-C. If the signal has a handler, it never is."""
    return isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _log(error: BaseException) -> None:
    # The task that raised it has the exception too, so it is also raised where the task is awaited.
    log.error("users' code raised %s on the event loop; the server goes on", type(error).__name__, exc_info=error)


def text_of(value: object) -> str:
    """Returns `str(value)`, or a substitute if that raises: users' classes may raise anything."""
    try:
        return str(value)
    except BaseException as raised:
        return f"<{type(value).__name__} whose text raises {type(raised).__name__}>"


def repr_of(value: object) -> str:
    """Returns `repr(value)`, or a substitute if that raises."""
    try:
        return repr(value)
    except BaseException as raised:
        return f"<{type(value).__name__} whose repr raises {type(raised).__name__}>"
