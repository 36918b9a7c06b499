"""Converts exceptions of the user's handlers to API errors."""

import logging
import traceback
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from langgraph_sdk import Auth

from threadloom.errors import ApiError, Denied

log = logging.getLogger("threadloom.auth")

SHORTEST = 4
"""Minimum length, in characters, of a text to hide in the log. Shorter texts occur everywhere by chance."""

FAILED = "Internal server error. The log tells more."


def denied(error: BaseException) -> Denied | None:
    """Returns the refusal for an `HTTPException` of the SDK or of Starlette. None for any other exception."""
    if not isinstance(error, Auth.exceptions.HTTPException) and not _is_starlettes(error):
        return None
    status, detail, headers = error.status_code, error.detail, error.headers  # type: ignore[attr-defined]
    if not isinstance(status, int) or not 300 <= status <= 599:
        log.error("an auth handler refused with status %r, which is none of a refusal", status)
        return Denied(500, FAILED)
    return Denied(status, detail, {str(name): str(value) for name, value in (headers or {}).items()})


def failed(what: str, error: BaseException, secrets: Iterable[str] = ()) -> ApiError:
    """Logs a handler's exception without the secrets, and returns the error for the caller, which reveals nothing of it."""
    text = "".join(traceback.format_exception(error))
    for secret in sorted({one for one in secrets if len(one) >= SHORTEST}, key=len, reverse=True):
        text = text.replace(secret, "***")
    log.error("%s failed:\n%s", what, text.rstrip())
    return Denied(500, FAILED)


def texts(value: Any) -> Iterator[str]:
    """Yields all texts in a value of mappings and lists: each text of a user's mapping may be a secret."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from texts(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from texts(one)


def _is_starlettes(error: BaseException) -> bool:
    # Compared by name, because this layer does not import Starlette.
    return any(
        cls.__name__ == "HTTPException" and cls.__module__.startswith(("starlette.", "fastapi."))
        for cls in type(error).__mro__
    )
