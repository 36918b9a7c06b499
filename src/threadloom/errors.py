"""What can go wrong, in the words a client or an operator reads."""

import json
from collections.abc import Mapping
from typing import Any, TypeVar

E = TypeVar("E", bound=BaseException)


def separate(error: E) -> E:
    """A failure that several wait for, as an exception of one waiter's own, caused by it.

    One object that is raised again and again carries the traceback of each time.
    """
    made = type(error).__new__(type(error))
    made.args = error.args
    made.__dict__.update(error.__dict__)
    made.__cause__ = error
    return made


class ThreadloomError(Exception):
    """The root of all our own errors."""


class ConfigError(ThreadloomError):
    """A configuration or a graph cannot be used. The text names file, key and cause. Exit status 2."""


class MissingPackageError(ConfigError):
    """What is configured needs a package that is not installed.

    Args:
        wanted: what needs it, as the user knows it.
        package: the package.
        install: what pip is to install.
    """

    def __init__(self, wanted: str, package: str, install: str) -> None:
        super().__init__(f"{wanted} needs the package {package}, which is not installed: pip install '{install}'")


class StartError(ThreadloomError):
    """The server cannot start here: port taken, data folder in use. Exit status 1."""


class StorageError(ThreadloomError):
    """The database refused (disk full, read-only, locked). Nothing of the refused write was kept."""


class UnreadableRunError(ThreadloomError, RuntimeError):
    """A run cannot be executed, for what it was asked for cannot be decrypted. The text names model and field."""


class LostLeaseError(ThreadloomError):
    """A write came from a run attempt that no longer holds its run: it was cancelled, ended, or taken over."""


class PutsFailedError(ThreadloomError):
    """A run cannot end as it did: something that it had put was not stored. `failure` says why."""

    def __init__(self, failure: Exception) -> None:
        super().__init__(str(failure))
        self.failure = failure


class StaleRefsError(ThreadloomError):
    """A checkpoint refers to values that its thread may no longer have, for something was taken out of its history."""


class ApiError(ThreadloomError):
    """Something the caller did or asked for that has an HTTP status.

    Args:
        detail: the text of the answer, `{"detail": detail}`; names the field, value or id that is at fault.
    """

    status = 500

    def __init__(self, detail: str, *, status: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        if status is not None:
            self.status = status


class Denied(ApiError):
    """What the user's own auth handlers refused, or failed to decide.

    Args:
        content: what the answer's `detail` is; any JSON.
        headers: of the answer.
    """

    def __init__(self, status: int, content: Any, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(content if isinstance(content, str) else json.dumps(content, default=str), status=status)
        self.content = content
        self.headers = dict(headers or {})


class BadRequest(ApiError):
    status = 400


class NotFound(ApiError):
    status = 404


class Conflict(ApiError):
    status = 409


class Invalid(ApiError):
    """The request does not fit the interface: wrong type, range, missing field, malformed id."""

    status = 422


class TooLarge(ApiError):
    status = 413


class TooMany(ApiError):
    """A limit is reached. `retry_after` are the seconds after which it may be asked again."""

    status = 429
    retry_after = 1


class Unavailable(ApiError):
    """The server cannot do it now, through no fault of the caller's (storage full, stopping)."""

    status = 503
