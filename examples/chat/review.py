"""`review`: a graph that stops and asks. Resume it with `{"command": {"resume": "yes"}}`; anything else is a new wish."""

from typing import Literal

from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt
from typing_extensions import TypedDict


class Letter(TypedDict, total=False):
    wish: str
    draft: str
    sent: bool


async def write(state: Letter) -> Letter:
    return {"draft": f"Dear reader, {state.get('wish', 'nothing to say')}."}


async def ask(state: Letter) -> Command[Literal["write", "send"]]:
    answer = interrupt({"question": "Shall I send this?", "draft": state["draft"]})
    if str(answer).lower() in ("yes", "y", "true"):
        return Command(goto="send")
    return Command(goto="write", update={"wish": str(answer)})


async def send(state: Letter) -> Letter:
    return {"sent": True}


agent = (
    StateGraph(Letter)
    .add_node("write", write)
    .add_node("ask", ask)
    .add_node("send", send)
    .add_edge(START, "write")
    .add_edge("write", "ask")
    .add_edge("send", END)
    .compile()
)
