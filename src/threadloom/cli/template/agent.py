"""A chat that needs no model and no key. Put your own model in the place of `reply`."""

from langchain_core.messages import AIMessage
from langgraph.graph import END, START, MessagesState, StateGraph


async def reply(state: MessagesState) -> MessagesState:
    question = state["messages"][-1].text
    return {"messages": [AIMessage(f"You said: {question}")]}


graph = StateGraph(MessagesState).add_node("reply", reply).add_edge(START, "reply").add_edge("reply", END).compile()
