"""An app that uses whatever a server offers."""

from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langgraph.config import get_store, get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import interrupt


async def embed(texts: list[str]) -> list[list[float]]:
    return [[float(text.count(letter)) for letter in "abcd"] for text in texts]


async def answer(state: MessagesState) -> MessagesState:
    said = state["messages"][-1].content if state["messages"] else "nothing"
    await get_store().aput(("said",), "last", {"text": str(said)})
    get_stream_writer()({"note": said})
    model = GenericFakeChatModel(messages=iter([AIMessage(f"echo: {said}")]))
    return {"messages": [await model.ainvoke("x")]}


def question(state: MessagesState) -> MessagesState:
    return {"messages": [AIMessage(str(interrupt("go on?")))]}


chat = StateGraph(MessagesState).add_node(answer).add_edge(START, "answer").compile()
ask = StateGraph(MessagesState).add_node(question).add_edge(START, "question").compile()
