"""A graph whose subagent keeps a memory of its own: what it is told, in its own checkpoints, across runs.

The answer names all that it remembers. A fork before a message must not remember what came later.
"""

import operator
from typing import Annotated

from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph


class Notes(MessagesState):
    notes: Annotated[list[str], operator.add]


def note(state: Notes):
    return {"notes": [state["messages"][-1].text]}


def recall(state: Notes):
    return {"messages": [AIMessage(f"I know: {', '.join(state['notes'])}")]}


notes = StateGraph(Notes)
notes.add_node(note)
notes.add_node(recall)
notes.add_edge(START, "note")
notes.add_edge("note", "recall")
team = (
    StateGraph(MessagesState).add_node("keeper", notes.compile(checkpointer=True)).add_edge(START, "keeper").compile()
)
