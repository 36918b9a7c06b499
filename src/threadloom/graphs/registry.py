"""The served graphs: loaded at start, and opened for each run and read with the server's storage."""

import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from types import ModuleType
from typing import Any, NamedTuple

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import StateGraph
from langgraph.pregel import Pregel
from langgraph.store.base import BaseStore

from threadloom.config import Settings
from threadloom.errors import ConfigError, NotFound
from threadloom.graphs.factory import Access, Factory, Graph
from threadloom.graphs.load import LoadError, attribute, explain, load_module
from threadloom.graphs.process import prepare
from threadloom.graphs.transformers import Spec, own_transformers

log = logging.getLogger("threadloom.graphs")


class Loaded(NamedTuple):
    """A graph or its factory, and the module that contains it."""

    graph: Graph | Factory
    module: ModuleType


def load_graphs(settings: Settings) -> dict[str, Loaded]:
    """Loads all graphs of the configuration, in its order. Prepares the process (`process.prepare`) first.

    Raises:
        ConfigError: some cannot be loaded. The message names all of them, each with its place and cause.
    """
    prepare(settings)
    by_place: dict[str, list[str]] = {}
    for graph_id, spec in settings.graphs.items():
        by_place.setdefault(spec.path.rpartition(":")[0], []).append(graph_id)
    loaded: dict[str, Loaded] = {}
    faults: list[str] = []
    for place, graph_ids in by_place.items():
        try:
            module = load_module(place, settings.root, _named(graph_ids))
        except LoadError as error:
            faults.append(f"Failed to load {_named(graph_ids)} from {place}: {error}")
            continue
        for graph_id in graph_ids:
            name = settings.graphs[graph_id].path.rpartition(":")[2]
            try:
                loaded[graph_id] = Loaded(_understand(graph_id, attribute(module, name, place), name, place), module)
            except ConfigError as error:
                faults.append(f"Failed to load {_named([graph_id])} from {place}: {error}")
    if faults:
        lines = "\n".join("  - " + fault.replace("\n", "\n    ") for fault in faults)
        raise ConfigError(f"{settings.path or 'LANGSERVE_GRAPHS'}: not all graphs can be loaded:\n{lines}")
    return {graph_id: loaded[graph_id] for graph_id in settings.graphs}


def _named(graph_ids: list[str]) -> str:
    names = ", ".join(repr(graph_id) for graph_id in graph_ids)
    return f"graph{'s' if len(graph_ids) > 1 else ''} {names}"


def _understand(graph_id: str, value: Any, name: str, place: str) -> Graph | Factory:
    if isinstance(value, StateGraph):
        try:
            return value.compile()
        except Exception as error:
            raise ConfigError(explain(error)) from error
    if isinstance(value, Pregel):
        own = [
            word
            for word, is_own in (
                ("checkpointer", isinstance(value.checkpointer, BaseCheckpointSaver)),
                ("store", value.store is not None),
            )
            if is_own
        ]
        if own:
            log.warning("graph %r has its own %s: the server's is used instead", graph_id, " and ".join(own))
        return value
    if callable(value):
        return Factory(graph_id, value)
    raise ConfigError(f"Variable {name!r} in module {place!r} is not a Graph or Graph factory function")


class GraphRegistry:
    """The served graphs by name.

    Args:
        settings: the configuration; its graphs are loaded here, which runs user code.
        checkpointer: the saver of all graphs.
        store: the long-term store that graphs and factories get.

    Raises:
        ConfigError: as `load_graphs`.
    """

    def __init__(
        self, settings: Settings, checkpointer: BaseCheckpointSaver[Any], store: BaseStore | None = None
    ) -> None:
        self._settings = settings
        self._checkpointer = checkpointer
        self._store = store
        loaded = load_graphs(settings)
        self._modules = {graph_id: found.module for graph_id, found in loaded.items()}
        # A compiled graph is prepared once. All runs use the prepared copy, so a run has no cost for it.
        self._served: dict[str, Graph | Factory] = {
            graph_id: found.graph if isinstance(found.graph, Factory) else self._attach(found.graph)
            for graph_id, found in loaded.items()
        }

    def ids(self) -> list[str]:
        """Returns the names of all graphs, in the order of the configuration."""
        return list(self._served)

    def __contains__(self, graph_id: object) -> bool:
        return graph_id in self._served

    def __iter__(self) -> Iterator[str]:
        return iter(self._served)

    def is_made_anew(self, graph_id: str) -> bool:
        """Returns whether a factory creates the graph for each use, from the config that it is opened with."""
        return isinstance(self._served.get(graph_id), Factory)

    def transformers(self, graph_id: str) -> list[Spec]:
        """Returns the stream transformers that the graph's file has for v2 runs (`stream_transformers()`).

        Raises:
            TypeError: the function returns something else.
        """
        return own_transformers(self._modules[graph_id])

    def describe(self, graph_id: str) -> str | None:
        """Returns the description of a graph in the configuration; None if it has none."""
        spec = self._settings.graphs.get(graph_id)
        return spec.description if spec is not None else None

    def config(self, graph_id: str) -> dict[str, Any]:
        """Returns the config in the configuration for a graph's default assistant."""
        spec = self._settings.graphs.get(graph_id)
        return dict(spec.config) if spec is not None else {}

    @contextlib.asynccontextmanager
    async def open(
        self, graph_id: str, *, config: dict[str, Any] | None = None, access: Access, context: Any = None
    ) -> AsyncIterator[Graph]:
        """Yields the graph with the server's checkpointer and store.

        Args:
            graph_id: its name.
            config: the config for a factory: `configurable` has all that the run or read knows.
            access: the purpose for which it is opened; passed to factories that take the runtime.
            context: the run's context, for factories.

        Raises:
            NotFound: no graph has that name.
            GraphInvalid: the factory returned something that is not a graph.
            Exception: any error of the factory.
        """
        served = self._served.get(graph_id)
        if served is None:
            raise NotFound(f"Graph '{graph_id}' not found. Expected one of: {self.ids()}")
        if not isinstance(served, Factory):
            yield served
            return
        async with contextlib.AsyncExitStack() as stack:
            made = await served.make(
                stack, config=config or {"configurable": {}}, access=access, store=self._store, context=context
            )
            yield self._attach(made)

    def _attach(self, graph: Graph) -> Graph:
        return graph.copy(update={"checkpointer": self._checkpointer, "store": self._store})
