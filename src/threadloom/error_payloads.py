"""The error payload of an exception of a graph. It always has the class; it has the text only if that text is meant for clients.

See docs/contract/runs.md#error-messages.
"""

from threadloom.errors import ApiError
from threadloom.usercode import UserCodeExit, text_of

_OPEN = (ValueError, TypeError, KeyError, AttributeError, RuntimeError, RecursionError, TimeoutError)
_OPEN_NAMES = {"InvalidUpdateError", "EmptyInputError", "TaskNotFound", "UnknownInterruptError"}
"""Exceptions of LangGraph, by name: this module does not import LangGraph."""

_MASK = "An internal error occurred"


def error_payload(error: BaseException) -> dict[str, str]:
    """Returns the payload `{"error", "message"}` of an exception that ended a run or one of its nodes. Never raises."""
    if isinstance(error, UserCodeExit):
        error = error.raised
    if isinstance(error, ApiError):
        return {"error": "HTTPException", "message": f"{error.status}: {error.detail}"}
    name = type(error).__name__
    if name == "HTTPException" and hasattr(error, "detail"):
        status = text_of(getattr(error, "status_code", 500))
        return {"error": name, "message": f"{status}: {text_of(error.detail)}"}
    is_open = isinstance(error, _OPEN) or any(cls.__name__ in _OPEN_NAMES for cls in type(error).__mro__)
    text = text_of(error) if is_open else _MASK
    if isinstance(error, TimeoutError) and not text:
        text = "The run took longer than it may."
    return {"error": name, "message": text}
