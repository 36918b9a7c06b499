"""A chat whose answers are as long as a model's, without a model."""

import os
from typing import TypedDict

from langchain_core.messages import AIMessage
from langgraph.graph import END, START, MessagesState, StateGraph


def _answer(state: MessagesState) -> dict[str, list[AIMessage]]:
    return {"messages": [AIMessage(f"{len(state['messages'])} " + "z" * 400)]}


chat = StateGraph(MessagesState).add_node("answer", _answer).add_edge(START, "answer").add_edge("answer", END).compile()


class Loop(TypedDict, total=False):
    left: int
    bytes: int
    payload: str


def _turn(state: Loop) -> Loop:
    return {"left": state["left"] - 1, "payload": os.urandom(state["bytes"] // 2).hex()}


loop = (
    StateGraph(Loop)
    .add_node("turn", _turn)
    .add_edge(START, "turn")
    .add_conditional_edges("turn", lambda state: "turn" if state["left"] > 0 else END, ["turn", END])
    .compile()
)
"""A history of `left` + 2 checkpoints in one run, each with a value of `bytes` of its own."""
