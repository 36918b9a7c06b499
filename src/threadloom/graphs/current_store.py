"""Makes `langgraph.config.get_store()` work outside of graphs: in the routes of a user's custom HTTP app."""

from contextvars import Token
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph._internal._constants import CONF, CONFIG_KEY_RUNTIME
from langgraph.runtime import Runtime
from langgraph.store.base import BaseStore


class CurrentStore:
    """Makes a store the one that `get_store()` returns.

    Args:
        store: the server's store.
    """

    def __init__(self, store: BaseStore) -> None:
        self._config: RunnableConfig = {CONF: {CONFIG_KEY_RUNTIME: Runtime(store=store)}}

    def enter(self) -> Token[Any]:
        """Makes `get_store()` return the store, in this task and those that it starts."""
        return var_child_runnable_config.set(self._config)

    def suspend(self) -> None:
        """Undoes `enter` for the calls below, so that graphs do not take its value for their own configuration."""
        var_child_runnable_config.set(None)

    def exit(self, token: Token[Any]) -> None:
        """Restores the state from before `enter`, in the same task."""
        var_child_runnable_config.reset(token)
