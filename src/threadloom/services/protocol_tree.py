"""Builds the tree of a run's agents from its lifecycle events."""

from collections.abc import Sequence
from typing import Any

from threadloom.codec import from_json
from threadloom.types import Event


def tree(lifecycle: Sequence[Event]) -> dict[str, Any] | None:
    """Returns the tree of the newest run among these `lifecycle` events, or None if there is none."""
    if not lifecycle:
        return None
    run_id = lifecycle[-1].run_id
    nodes: dict[tuple[str, ...], dict[str, Any]] = {}
    for event in lifecycle:
        if event.run_id != run_id:
            continue
        params = from_json(event.data)
        namespace, data = tuple(params["namespace"]), params["data"]
        node = nodes.get(namespace)
        if node is None:
            node = nodes[namespace] = {"namespace": list(namespace), "children": []}
            parent = nodes.get(_above(namespace, nodes))
            if parent is not None and namespace:
                parent["children"].append(node)
        if not (node.get("status") == "interrupted" and data["event"] == "failed"):  # that only ends clients' iterators
            node["status"] = data["event"]
        node["graph_name"] = data.get("graph_name", node.get("graph_name", ""))
    return nodes.get(())


def _above(namespace: tuple[str, ...], nodes: dict[tuple[str, ...], Any]) -> tuple[str, ...]:
    """Returns the nearest known namespace around this one."""
    return next((namespace[:length] for length in range(len(namespace) - 1, 0, -1) if namespace[:length] in nodes), ())
