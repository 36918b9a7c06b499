"""A graph whose components a page can show."""

from langgraph.graph import START, MessagesState, StateGraph


def answer(state: MessagesState) -> MessagesState:
    return {"messages": []}


graph = StateGraph(MessagesState).add_node(answer).add_edge(START, "answer").compile()
