"""A graph that lasts until it is cancelled."""

import asyncio
from typing import Annotated, Any

from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from typing_extensions import TypedDict


class State(TypedDict, total=False):
    messages: Annotated[list[Any], add_messages]


async def sleep(state: State) -> State:
    await asyncio.sleep(600)
    return {}


nap = StateGraph(State).add_node(sleep).add_edge(START, "sleep").compile()
