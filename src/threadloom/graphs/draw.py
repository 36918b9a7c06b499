"""Returns a graph as a drawing: nodes and edges, with subgraphs expanded to a given depth."""

import re
from typing import Any

from langgraph.pregel.protocol import PregelProtocol

from threadloom.errors import Invalid

AnyGraph = PregelProtocol[Any, Any, Any, Any]
"""A graph of any state: a local one, or one that stands for a remote one."""

_NUMBER = re.compile(r"[0-9]{1,9}\Z")


def parse_xray(text: str) -> bool | int:
    """Parses the query parameter `xray`: True is all levels of subgraphs, a number that many, False none.

    Raises:
        Invalid: it is neither a boolean nor a positive integer.
    """
    if text in ("", "false", "False"):
        return False
    if text in ("true", "True"):
        return True
    if _NUMBER.match(text) and int(text) > 0:
        return int(text)
    raise Invalid("Invalid xray value")


async def draw(graph: AnyGraph, xray: bool | int = False) -> dict[str, Any]:
    """Returns the drawing of a graph, `{"nodes", "edges"}`, without the Python names of the nodes' functions."""
    drawing = (await graph.aget_graph(xray=xray)).to_json()
    return {"nodes": [_node(node) for node in drawing["nodes"]], "edges": drawing["edges"]}


def _node(node: dict[str, Any]) -> dict[str, Any]:
    data = node.get("data")
    if not isinstance(data, dict):
        return node
    return {**node, "data": {key: value for key, value in data.items() if key != "id"}}
