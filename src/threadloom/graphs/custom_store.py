"""The user's own store (`store.path`), used in place of the built-in one."""

import contextlib
import inspect
from collections.abc import Callable, Iterable
from typing import Any

from langgraph.store.base import BaseStore, Op, Result

from threadloom.errors import ConfigError
from threadloom.graphs.load import explain
from threadloom.usercode import contained


class CustomStore(BaseStore):
    """Delegates to the user's store. The code spec names a `BaseStore`, a context manager that yields one, or a function (sync or
    async) that returns either. This class is a context manager itself: it enters and leaves the user's context manager.

    Args:
        load: returns the object that a code spec (`./file.py:name`) names.

    Raises:
        ConfigError: the spec cannot be loaded.
    """

    def __init__(self, spec: str, load: Callable[[str], Any]) -> None:
        self._spec = spec
        try:
            self._found = load(spec)
        except ConfigError as error:
            raise ConfigError(f"store.path: {error}") from error
        self._stack = contextlib.AsyncExitStack()
        self._store: BaseStore | None = None

    async def __aenter__(self) -> "CustomStore":
        """Creates the store.

        Raises:
            ConfigError: the user's code fails, or does not return a store.
        """
        try:
            found = await self._made()
        except Exception as error:
            await self._stack.aclose()
            raise ConfigError(f"store.path: {self._spec} failed: {explain(error)}") from error
        if not isinstance(found, BaseStore):
            await self._stack.aclose()
            raise ConfigError(f"store.path: {self._spec!r} gives {type(found).__name__}, not a langgraph BaseStore")
        self._store, self.supports_ttl, self.ttl_config = found, found.supports_ttl, found.ttl_config
        return self

    async def _made(self) -> Any:
        """Returns the store that the spec yields; enters its context manager."""
        with contained():
            return await self._called()

    async def _called(self) -> Any:
        found = self._found
        if isinstance(found, type) or (callable(found) and not _usable(found)):
            found = found()
        if inspect.isawaitable(found):
            found = await found
        # A store that is a context manager itself is entered like any other.
        if hasattr(found, "__aenter__"):
            found = await self._stack.enter_async_context(found) or found
        elif hasattr(found, "__enter__"):
            found = self._stack.enter_context(found) or found
        return found

    async def __aexit__(self, *error: Any) -> None:
        self._store = None
        with contained():
            await self._stack.aclose()

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        with contained():
            return self._entered().batch(ops)

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        with contained():
            return await self._entered().abatch(ops)

    def _entered(self) -> BaseStore:
        if self._store is None:
            raise RuntimeError("The store can be used once the server has started")
        return self._store


def _usable(found: Any) -> bool:
    return isinstance(found, BaseStore) or hasattr(found, "__aenter__") or hasattr(found, "__enter__")
