"""`langgraph.config.get_store()` outside of graphs: in the routes of a user's own HTTP app."""

from contextvars import Token
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph._internal._constants import CONF, CONFIG_KEY_RUNTIME
from langgraph.runtime import Runtime
from langgraph.store.base import BaseStore


class CurrentStore:
    """Makes a store the one that `get_store()` finds.

    Args:
        store: the server's store.
    """

    def __init__(self, store: BaseStore) -> None:
        self._config: RunnableConfig = {CONF: {CONFIG_KEY_RUNTIME: Runtime(store=store)}}

    def enter(self) -> Token[Any]:
        """From now on, in this task and those it starts, `get_store()` finds the store."""
        return var_child_runnable_config.set(self._config)

    def suspend(self) -> None:
        """From now on it does not: graphs called below must not take this for a graph's own configuration."""
        var_child_runnable_config.set(None)

    def exit(self, token: Token[Any]) -> None:
        """Puts back what was before `enter`, in the same task."""
        var_child_runnable_config.reset(token)
