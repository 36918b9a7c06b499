"""An agent that takes one step towards a number. It is scripted: the run says which step. `search.py` tries all of them."""

from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime
from typing_extensions import TypedDict

STEPS = {
    "+1": lambda number: number + 1,
    "-1": lambda number: number - 1,
    "+10": lambda number: number + 10,
    "-10": lambda number: number - 10,
    "x2": lambda number: number * 2,
    "x3": lambda number: number * 3,
    "x5": lambda number: number * 5,
    "x7": lambda number: number * 7,
}


class Countdown(TypedDict, total=False):
    target: int
    number: int
    taken: list[str]


class Choice(TypedDict):
    step: str


async def take(state: Countdown, runtime: Runtime[Choice]) -> Countdown:
    step = runtime.context["step"]
    return {"number": STEPS[step](state["number"]), "taken": [*state.get("taken", ()), step]}


graph = StateGraph(Countdown, context_schema=Choice).add_node("take", take).add_edge(START, "take").compile()
