"""A diary that knows whose it is."""

from typing import Annotated, TypedDict

from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime


def _both(old: list[str] | None, new: list[str]) -> list[str]:
    return [*(old or []), *new]


class Diary(TypedDict, total=False):
    entry: str
    pages: Annotated[list[str], _both]


def write(state: Diary, runtime: Runtime) -> Diary:
    """Writes the entry down, with the name of the one who asks."""
    server = runtime.server_info
    assert server is not None and server.user is not None
    return {"pages": [f"{server.user.identity}: {state['entry']}"]}


diary = StateGraph(Diary).add_node("write", write).add_edge(START, "write").compile()
