"""A store that the user brings (`store.path`) in place of ours."""

import contextlib
import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any

from langgraph.store.base import BaseStore

from threadloom.errors import ConfigError


@contextlib.asynccontextmanager
async def own_store(spec: str, load: Callable[[str], Any]) -> AsyncIterator[BaseStore]:
    """The store that a spec of code names: a `BaseStore`, a context manager that yields one, or a function (sync or async)
    that gives either. It is left when this is.

    Args:
        load: finds what a spec of code (`./file.py:name`) names.

    Raises:
        ConfigError: the spec cannot be loaded, or names something else.
    """
    found = load(spec)
    if isinstance(found, type) or (callable(found) and not _usable(found)):
        found = found()
    if inspect.isawaitable(found):
        found = await found
    async with contextlib.AsyncExitStack() as stack:
        # A store may be a context manager itself; then it is entered like any other.
        if hasattr(found, "__aenter__"):
            found = await stack.enter_async_context(found) or found
        elif hasattr(found, "__enter__"):
            found = stack.enter_context(found) or found
        if not isinstance(found, BaseStore):
            raise ConfigError(f"store.path: {spec!r} gives {type(found).__name__}, not a langgraph BaseStore")
        yield found


def _usable(found: Any) -> bool:
    return isinstance(found, BaseStore) or hasattr(found, "__aenter__") or hasattr(found, "__enter__")
