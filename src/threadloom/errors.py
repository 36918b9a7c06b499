"""The exceptions of the server. Their texts are written for clients and operators."""

import json
from collections.abc import Mapping
from typing import Any, TypeVar

E = TypeVar("E", bound=BaseException)


def separate(error: E) -> E:
    """Returns a new exception for one of several waiters of the same failure, caused by `error`.

    An exception object that is raised several times collects the tracebacks of all of them.
    """
    made = type(error).__new__(type(error))
    made.args = error.args
    made.__dict__.update(error.__dict__)
    made.__cause__ = error
    return made


class ThreadloomError(Exception):
    """The base class of Threadloom's exceptions."""


class ConfigError(ThreadloomError):
    """A configuration or a graph cannot be used. The text names file, key and cause. Exit status 2."""


class MissingPackageError(ConfigError):
    """A configured feature needs a package that is not installed.

    Args:
        wanted: the feature that needs it, in the user's terms.
        package: the package.
        install: the requirement to pass to `pip install`.
    """

    def __init__(self, wanted: str, package: str, install: str) -> None:
        super().__init__(f"{wanted} needs the package {package}, which is not installed: pip install '{install}'")


class StartError(ThreadloomError):
    """The server cannot start here: port taken, data folder in use. Exit status 1."""


class StorageError(ThreadloomError):
    """The database rejected a transaction (disk full, read-only, locked). The transaction was rolled back."""


class UnreadableRunError(ThreadloomError, RuntimeError):
    """A run cannot be executed because its request cannot be decrypted. The text names model and field."""


class LostLeaseError(ThreadloomError):
    """A write came from a run attempt that no longer holds the run's lease: the run was cancelled, ended, or claimed by another
    worker.
    """


class PutsFailedError(ThreadloomError):
    """A run cannot end with its result because one of its deferred puts was not stored. `failure` is the cause."""

    def __init__(self, failure: Exception) -> None:
        super().__init__(str(failure))
        self.failure = failure


class StaleRefsError(ThreadloomError):
    """A checkpoint refers to blobs that its thread may no longer have, because some of its history was removed."""


class UnstoredParentError(ThreadloomError):
    """A thread cannot be cut at a checkpoint of a subgraph, because the checkpoint of a graph around it was never stored."""


class ApiError(ThreadloomError):
    """An error of a request, with an HTTP status.

    Args:
        detail: the text of the response, `{"detail": detail}`. It names the field, value or id that caused the error.
    """

    status = 500

    def __init__(self, detail: str, *, status: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        if status is not None:
            self.status = status


class Denied(ApiError):
    """The user's auth handlers denied a request, or failed to decide.

    Args:
        content: the `detail` of the response; any JSON.
        headers: headers of the response.
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
    """The request does not match the interface: wrong type, range, missing field, malformed id."""

    status = 422


class TooLarge(ApiError):
    status = 413


class TooMany(ApiError):
    """A limit is reached. The request may be repeated after `retry_after` seconds."""

    status = 429
    retry_after = 1


class Unavailable(ApiError):
    """The server cannot serve the request now, for a reason that the caller did not cause (storage full, shutdown)."""

    status = 503
