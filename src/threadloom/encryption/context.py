"""What the user's encryption handlers are told of whoever acts: once a request, and once a run."""

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any

_context: ContextVar[Mapping[str, Any] | None] = ContextVar("encryption_context", default=None)


def current() -> dict[str, Any]:
    """What handlers are told now (`ctx.metadata`)."""
    return dict(_context.get() or {})


@contextlib.contextmanager
def encryption_context(metadata: Mapping[str, Any] | None) -> Iterator[None]:
    """Within the block, and in what is begun there, handlers are told this."""
    token = _context.set(metadata)
    try:
        yield
    finally:
        _context.reset(token)
