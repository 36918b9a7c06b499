"""A graph that is run by a schedule. `schedule.py` makes the schedule; any client can."""

import datetime
import operator
from typing import Annotated

from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict


class Reports(TypedDict, total=False):
    about: str
    written: Annotated[list[str], operator.add]  # grows with each run on the same thread


async def write(state: Reports) -> Reports:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"written": [f"{now}: all is well with {state['about']}"]}


graph = StateGraph(Reports).add_node("write", write).add_edge(START, "write").compile()
