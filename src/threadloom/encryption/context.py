"""The encryption context: what the user's encryption handlers get with each request and each run."""

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any

_context: ContextVar[Mapping[str, Any] | None] = ContextVar("encryption_context", default=None)


def current() -> dict[str, Any]:
    """Returns the current encryption context (`ctx.metadata`)."""
    return dict(_context.get() or {})


@contextlib.contextmanager
def encryption_context(metadata: Mapping[str, Any] | None) -> Iterator[None]:
    """Sets the encryption context within the block, and in the tasks that start there."""
    token = _context.set(metadata)
    try:
        yield
    finally:
        _context.reset(token)
