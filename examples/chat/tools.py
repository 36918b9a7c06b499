"""`tools`: an agent that calls a tool. Ask it for a sum, as in `what is 2 + 3 + 4`."""

import re
from collections.abc import Sequence

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from scripted import ScriptedModel


@tool
def add(numbers: list[float]) -> float:
    """Adds numbers."""
    return sum(numbers)


def answer(messages: Sequence[BaseMessage]) -> AIMessage:
    last = messages[-1]
    if isinstance(last, ToolMessage):
        return AIMessage(f"The sum is {last.text}.")
    numbers = [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", last.text)]
    if not numbers:
        return AIMessage("Give me numbers, and I will add them.")
    call = {"name": "add", "args": {"numbers": numbers}, "id": f"call_{len(messages)}", "type": "tool_call"}
    return AIMessage("", tool_calls=[call])


model = ScriptedModel(rule=answer)


async def think(state: MessagesState) -> MessagesState:
    return {"messages": [await model.ainvoke(state["messages"])]}


agent = (
    StateGraph(MessagesState)
    .add_node("think", think)
    .add_node("tools", ToolNode([add]))
    .add_edge(START, "think")
    .add_conditional_edges("think", tools_condition)
    .add_edge("tools", "think")
    .compile()
)
