"""Factories: functions that create graphs. Checks their parameters and calls them."""

import contextlib
import dataclasses
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any, Literal

from langgraph.graph import StateGraph
from langgraph.pregel import Pregel
from langgraph.store.base import BaseStore
from langgraph_sdk import runtime as sdk
from pydantic import BaseModel

from threadloom.errors import ApiError, ConfigError
from threadloom.usercode import contained

Graph = Pregel[Any, Any, Any, Any]
Access = Literal["threads.create_run", "threads.update", "threads.read", "assistants.read"]
"""The purpose for which a graph is opened; it is passed to factories."""


class GraphInvalid(ApiError):
    """A factory returned something that is not a graph."""

    status = 424


class Factory:
    """A function (class, callable object, context manager) that creates a graph for each use.

    Args:
        graph_id: the graph's name, for messages.
        call: the object in the user's module.

    Raises:
        ConfigError: it has parameters that a server cannot supply.
    """

    def __init__(self, graph_id: str, call: Callable[..., Any]) -> None:
        self._graph_id = graph_id
        self._call = call
        self._config_name: str | None = None
        self._runtime_name: str | None = None
        self._positional: list[str] = []
        self._context_type: Any = None
        self._read_signature()

    def _read_signature(self) -> None:
        function = _function_of(self._call)
        try:
            signature = inspect.signature(self._call)
        except (ValueError, TypeError):
            return  # a builtin has no signature: it is called without arguments
        own = [p for p in signature.parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        needed = [p for p in own if p.default is p.empty]
        wanted = own if len(own) <= 2 else needed
        if len(wanted) > 2:
            raise ConfigError(
                f"the factory takes {len(wanted)} parameters ({', '.join(p.name for p in wanted)}); "
                "it may take the config, the ServerRuntime, both or neither"
            )
        hints = _hints(function)
        runtimes = [p for p in wanted if _is_runtime(hints.get(p.name, p.annotation))]
        if len(wanted) == 2 and not runtimes:
            runtimes = [p for p in wanted if p.name == "runtime"] or [wanted[1]]
        if len(runtimes) > 1:
            raise ConfigError("the factory takes the ServerRuntime twice; it may take the config, the runtime or both")
        for parameter in wanted:
            if parameter in runtimes:
                self._runtime_name = parameter.name
                self._context_type = _context_type(hints.get(parameter.name))
            else:
                self._config_name = parameter.name
        self._positional = [p.name for p in wanted if p.kind is p.POSITIONAL_ONLY]

    async def make(
        self,
        stack: contextlib.AsyncExitStack,
        *,
        config: dict[str, Any],
        access: Access,
        store: BaseStore | None,
        context: dict[str, Any] | None,
    ) -> Graph:
        """Calls the factory.

        Args:
            stack: enters the factory's context manager; the caller closes it.
            config: the config for the factory.
            access: the purpose for which the graph is opened.
            store: the server's store.
            context: the run's context, for `runtime.execution_runtime.context`.

        Raises:
            GraphInvalid: the result is not a graph.
            Exception: any error of the factory.
        """
        given: dict[str, Any] = {}
        if self._config_name is not None:
            given[self._config_name] = config
        if self._runtime_name is not None:
            given[self._runtime_name] = self._runtime(config, access, store, context)
        in_order = [given.pop(name) for name in self._positional]
        with contained():
            made = self._call(*in_order, **given)
            if inspect.isawaitable(made):
                made = await made
            if not isinstance(made, Pregel | StateGraph):
                if hasattr(made, "__aenter__"):
                    made = await stack.enter_async_context(made)
                elif hasattr(made, "__enter__"):
                    made = stack.enter_context(made)
            if isinstance(made, StateGraph):
                made = made.compile()
        if not isinstance(made, Pregel):
            raise GraphInvalid(
                f"Graph '{self._graph_id}' is not valid. Review graph registration. "
                f"Its factory gave an object of type {type(made).__name__}."
            )
        return made

    def _runtime(
        self, config: dict[str, Any], access: Access, store: BaseStore | None, context: dict[str, Any] | None
    ) -> Any:
        common: dict[str, Any] = {
            "access_context": access,
            "store": store,
            "user": config.get("configurable", {}).get("langgraph_auth_user"),
        }
        if access == "threads.create_run":
            return sdk._ExecutionRuntime(context=_as_context(self._context_type, context or {}), **common)
        return sdk._ReadRuntime(**common)


def _function_of(call: Callable[..., Any]) -> Any:
    """Returns the function whose annotations describe the parameters of a callable."""
    call = getattr(call, "func", call)  # functools.partial
    if inspect.isclass(call):
        return call.__init__
    if not (inspect.isfunction(call) or inspect.ismethod(call)):
        return type(call).__call__
    return inspect.unwrap(call)


def _hints(function: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except Exception:
        # An annotation that cannot be resolved (a name imported for type checkers only) is read as text instead.
        return dict(getattr(function, "__annotations__", {}))


def _is_runtime(hint: Any) -> bool:
    if isinstance(hint, str):
        return "ServerRuntime" in hint
    origin = typing.get_origin(hint)
    if hint is sdk.ServerRuntime or origin is sdk.ServerRuntime:
        return True
    if isinstance(origin or hint, type) and issubclass(origin or hint, sdk._ServerRuntimeBase):
        return True
    if origin in (typing.Annotated, typing.Union, types.UnionType):
        return any(_is_runtime(argument) for argument in typing.get_args(hint))
    return False


def _context_type(hint: Any) -> Any:
    for argument in typing.get_args(hint):
        if _is_runtime(argument):
            return _context_type(argument)
        if isinstance(argument, type) and argument is not type(None):
            return argument
    return None


def _as_context(wanted: Any, context: dict[str, Any]) -> Any:
    """Returns a run's context in the type of the factory's `ServerRuntime[...]`. Without a context it returns the type's
    defaults, or None if the type has required fields.
    """
    made: Any = context
    try:
        if isinstance(wanted, type) and dataclasses.is_dataclass(wanted):
            # As when the graph itself is executed: a dataclass rejects unknown keys.
            known = {field.name for field in dataclasses.fields(wanted) if field.init}
            made = wanted(**{key: value for key, value in context.items() if key in known})
        elif isinstance(wanted, type) and issubclass(wanted, BaseModel):
            made = wanted.model_validate(context)
    except (TypeError, ValueError):
        if context:
            raise
        return None
    return made
