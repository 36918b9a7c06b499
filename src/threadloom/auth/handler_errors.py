"""What becomes of exceptions of the user's own handlers."""

import logging
import traceback
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from langgraph_sdk import Auth

from threadloom.errors import ApiError, Denied

log = logging.getLogger("threadloom.auth")

SHORTEST = 4
"""Characters of a text that is worth hiding: shorter ones are everywhere."""

FAILED = "Internal server error. The log tells more."


def denied(error: BaseException) -> Denied | None:
    """The refusal that an exception means: the SDK's `HTTPException`, or Starlette's. None: it is another one."""
    if not isinstance(error, Auth.exceptions.HTTPException) and not _is_starlettes(error):
        return None
    status, detail, headers = error.status_code, error.detail, error.headers  # type: ignore[attr-defined]
    if not isinstance(status, int) or not 300 <= status <= 599:
        log.error("an auth handler refused with status %r, which is none of a refusal", status)
        return Denied(500, FAILED)
    return Denied(status, detail, {str(name): str(value) for name, value in (headers or {}).items()})


def failed(what: str, error: BaseException, secrets: Iterable[str] = ()) -> ApiError:
    """Writes a handler's failure to the log, without what must not be there, and gives what the caller is told: nothing."""
    text = "".join(traceback.format_exception(error))
    for secret in sorted({one for one in secrets if len(one) >= SHORTEST}, key=len, reverse=True):
        text = text.replace(secret, "***")
    log.error("%s failed:\n%s", what, text.rstrip())
    return Denied(500, FAILED)


def texts(value: Any) -> Iterator[str]:
    """All texts in a value of mappings and lists: what a user's mapping may hold in secret."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from texts(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from texts(one)


def _is_starlettes(error: BaseException) -> bool:
    # Known by name: this layer does not import Starlette.
    return any(
        cls.__name__ == "HTTPException" and cls.__module__.startswith(("starlette.", "fastapi."))
        for cls in type(error).__mro__
    )
