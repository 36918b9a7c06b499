"""Calling users' code: what would end the event loop or the process becomes an ordinary error.

`sys.exit()`, `KeyboardInterrupt`, `GeneratorExit` and bare `BaseException`s pass every `except Exception`. Raised in a task,
the first two also end the event loop that runs it, and the server with it.
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
"""Exceptions that asyncio raises out of a running loop, beside setting them on their task."""


class UserCodeExit(ThreadloomError):
    """Users' code raised something that is no `Exception`: `sys.exit()`, say.

    Args:
        raised: what it raised. Error payloads are made of it (`faults.told`).
    """

    def __init__(self, raised: BaseException) -> None:
        super().__init__(f"users' code raised {type(raised).__name__}: {text_of(raised)}".rstrip(": "))
        self.raised = raised


class contained:
    """A block that calls users' code and nothing else.

    Must not stand around a `yield` of a generator of ours: that is how a generator is told to close.

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
    """Whether somebody asked this task to stop. If not, a `CancelledError` in it is one that users' code raised."""
    try:
        task = asyncio.current_task()
    except RuntimeError:  # a thread without an event loop
        return False
    return task is not None and task.cancelling() > 0


def run_until_done(loop: asyncio.AbstractEventLoop, main: "asyncio.Task[Any]") -> Any:
    """Runs an event loop until a task is done, whatever other tasks and callbacks raise meanwhile, even if they stop the loop.
    Gives the task's result.

    Raises:
        BaseException: what the task itself raised; KeyboardInterrupt also for a Ctrl-C that nobody handles.
    """
    while not main.done():
        try:
            return loop.run_until_complete(main)
        except _ENDS_LOOP as error:
            if main.done() or _is_pressed(error):
                raise
            _log(error)
        except RuntimeError:  # of asyncio: the loop was stopped
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
    """Whether an interruption is Python's own answer to Ctrl-C. Where somebody handles the signal, it never is."""
    return isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _log(error: BaseException) -> None:
    # The task that raised it has it too, so whoever waits for that task is told.
    log.error("users' code raised %s on the event loop; the server goes on", type(error).__name__, exc_info=error)


def text_of(value: object) -> str:
    """`str(value)`, or words for it where that raises: users' classes may do anything."""
    try:
        return str(value)
    except BaseException as raised:
        return f"<{type(value).__name__} whose text raises {type(raised).__name__}>"


def repr_of(value: object) -> str:
    """`repr(value)`, or words for it where that raises."""
    try:
        return repr(value)
    except BaseException as raised:
        return f"<{type(value).__name__} whose repr raises {type(raised).__name__}>"
