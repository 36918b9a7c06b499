"""Logging: readable lines on a terminal, one JSON object per line elsewhere. Each line has the ids of its run, thread and
request.

The server logs through the standard library (`logging.getLogger("threadloom.…")`); users' code can do the same.
"""

import contextlib
import datetime
import json
import logging
import sys
import textwrap
import traceback
from collections import deque
from collections.abc import Iterator, Mapping
from contextvars import ContextVar, Token
from logging.handlers import TimedRotatingFileHandler
from pathlib import Path
from types import MappingProxyType
from typing import Any, TextIO

import orjson

_NOTHING: Mapping[str, str] = MappingProxyType({})
_context: ContextVar[Mapping[str, str]] = ContextVar("threadloom_log_context", default=_NOTHING)

NOISY = ("uvicorn", "httpx", "httpcore", "asyncio", "watchfiles", "urllib3")
"""Loggers of libraries that log more than a user wants to read. Their level is `server_level`."""

FRAMES = 50
"""The innermost frames of a traceback that are logged."""

EXCEPTIONS = 8
"""Exceptions of a chain or a group that are logged."""

GROUPS = 2
"""Levels of nested exception groups that are logged."""

TEXT = 4000
"""Characters of an exception's message that are logged."""

_CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
_CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n\n"

_COLORS = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}


def bind(**ids: str) -> Token[Mapping[str, str]]:
    """Adds ids to all further log lines of this task and of the tasks that it starts. Empty ids are left out."""
    return _context.set({**_context.get(), **{name: value for name, value in ids.items() if value}})


def unbind(token: Token[Mapping[str, str]]) -> None:
    """Restores the ids that the task had before that `bind`. Call it in the same task."""
    _context.reset(token)


@contextlib.contextmanager
def run_context(run_id: str, thread_id: str, request_id: str = "") -> Iterator[None]:
    """Within the block, all log lines of this task and of the tasks that it starts have the ids of this run and of its request
    only.
    """
    ids = {"request_id": request_id, "run_id": run_id, "thread_id": thread_id}
    token = _context.set({name: value for name, value in ids.items() if value})
    try:
        yield
    finally:
        _context.reset(token)


def log_line(log: logging.Logger, level: int, text: str, fields: Mapping[str, Any]) -> None:
    """Logs a line with fields of its own. For lines that every request or run has; the caller has checked the level.

    Unlike `log.log` it does not search for the line of code that called it, which is a quarter of the cost of such a line.
    """
    log.handle(log.makeRecord(log.name, level, "", 0, text, (), None, extra={"fields": fields}))


class RecentLines(logging.Handler):
    """Keeps the newest warnings and errors in memory, as JSON, for Studio's server page."""

    def __init__(self, kept: int = 100) -> None:
        super().__init__(logging.WARNING)
        self.setFormatter(JsonFormatter())
        self._lines: deque[str] = deque(maxlen=kept)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.append(self.format(record))
        except Exception:
            self.handleError(record)

    def lines(self) -> list[dict[str, Any]]:
        """Returns the lines, the newest first."""
        return [json.loads(line) for line in reversed(self._lines.copy())]


def configure(
    level: str = "INFO",
    *,
    as_json: bool | None = None,
    color: bool = True,
    server_level: str = "WARNING",
    stream: TextIO | None = None,
    file: Path | None = None,
    file_days: int = 1,
) -> None:
    """Configures the logs of the process. May be called again; the last call applies.

    Args:
        level: the lowest level that is logged.
        as_json: None: JSON unless the stream is a terminal.
        color: whether lines on a terminal have colours.
        server_level: the lowest level of the HTTP server and HTTP clients that is logged.
        stream: where lines are written; standard error by default.
        file: a file to which lines are written as well, as JSON. It is rotated each midnight (UTC). Its folder is created.
        file_days: for how many days rotated files are kept in the same folder.

    Raises:
        OSError: the file cannot be written.
    """
    stream = stream or sys.stderr
    terminal = stream.isatty()
    handler = logging.StreamHandler(stream)
    if as_json if as_json is not None else not terminal:
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(LineFormatter(color and terminal))
    root = logging.getLogger()
    handlers: list[logging.Handler] = [handler, recent]
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        kept = TimedRotatingFileHandler(
            file, when="midnight", utc=True, backupCount=file_days, encoding="utf-8", delay=True
        )
        kept.setFormatter(JsonFormatter())
        handlers.append(kept)
    root.handlers[:] = handlers
    root.setLevel(level)
    least = max(logging.getLevelName(server_level), logging.getLevelName(level))
    for name in NOISY:
        logging.getLogger(name).setLevel(least)
    logging.captureWarnings(True)


def _moment(record: logging.LogRecord) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(record.created, datetime.UTC)


class _Formatter(logging.Formatter):
    """A formatter whose tracebacks have a limited length and a limited cost: logging an error must not block the event loop."""

    def formatException(self, ei: Any) -> str:
        return exception_text(ei[1]) if ei[1] is not None else super().formatException(ei)


def exception_text(error: BaseException) -> str:
    """Returns an exception with its traceback and the exceptions that led to it, as Python prints it.

    It has the innermost `FRAMES` frames of each exception, at most `EXCEPTIONS` exceptions, and `TEXT` characters of each
    message.
    """
    parts: list[str] = []
    shown: set[int] = set()
    following: BaseException | None = error
    while following is not None:
        if len(shown) == EXCEPTIONS:
            parts.insert(0, "(Earlier exceptions are left out.)\n")
            break
        current = following
        shown.add(id(current))
        caused = current.__cause__ is not None
        following = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
        if following is not None and id(following) in shown:
            following = None
        parts.insert(0, _one_exception(current))
        if following is not None:
            parts.insert(0, _CAUSE if caused else _CONTEXT)
    return "".join(parts).rstrip("\n")


def _one_exception(error: BaseException, depth: int = 0) -> str:
    lines = [_named(error)]
    if isinstance(error, BaseExceptionGroup) and depth < GROUPS:
        lines += [textwrap.indent(_one_exception(one, depth + 1), "  | ") for one in error.exceptions[:EXCEPTIONS]]
    if error.__traceback__ is not None:
        frames = traceback.StackSummary.extract(traceback.walk_tb(error.__traceback__), limit=-FRAMES)
        lines[:0] = ["Traceback (most recent call last):\n", *frames.format()]
    return "".join(lines)


def _named(error: BaseException) -> str:
    """Returns class, message and notes of an exception. (`traceback.format_exception_only` reads the tracebacks of the whole
    chain.)
    """
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    try:
        text = "\n".join([str(error), *map(str, getattr(error, "__notes__", None) or ())])
    except BaseException:  # a graph's own exception class may raise anything from `__str__`
        text = "<exception str() failed>"
    if len(text) > TEXT:
        text = f"{text[:TEXT]}… ({len(text)} characters)"
    return f"{name}: {text}\n" if text else f"{name}\n"


class JsonFormatter(_Formatter):
    """One JSON object per line: timestamp, level, logger, event, ids, further `fields` of the line, exception."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "timestamp": _moment(record).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **_context.get(),
            **getattr(record, "fields", _NOTHING),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        try:
            return orjson.dumps(line, default=str).decode()
        except TypeError:
            # Texts that are not valid Unicode, keys that are not texts.
            return json.dumps(line, skipkeys=True, default=str)


recent = RecentLines()
"""The newest warnings and errors of the process."""


class LineFormatter(_Formatter):
    """A readable line: local time, level, text, logger, ids. An exception follows on the next lines."""

    def __init__(self, color: bool) -> None:
        super().__init__()
        self._color = color

    def format(self, record: logging.LogRecord) -> str:
        time = _moment(record).astimezone().strftime("%H:%M:%S")
        level = f"{record.levelname:<8}"
        ids = " ".join(f"{name}={value}" for name, value in _context.get().items())
        tail = f"  [{record.name}{' ' if ids else ''}{ids}]"
        if self._color:
            level = f"\033[{_COLORS.get(record.levelname, '0')}m{level}\033[0m"
            tail = f"\033[2m{tail}\033[0m"
        fields: Mapping[str, Any] = getattr(record, "fields", _NOTHING)
        headers: Mapping[str, str] | None = fields.get("headers")
        told = "".join(f" {name}={value!r}" for name, value in headers.items()) if headers else ""
        text = f"{time} {level} {record.getMessage()}{told}{tail}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        if record.stack_info:
            text += "\n" + self.formatStack(record.stack_info)
        return text
