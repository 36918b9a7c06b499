"""A chat whose answers say what the model was given: always the same, no network, no keys."""

import asyncio
import itertools
from collections import defaultdict

import gate
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import interrupt

takes = defaultdict(lambda: itertools.count(1))
"""How often a thread's model has answered the same messages."""


def said_in(messages):
    """The texts of the human messages."""
    return [message.text for message in messages if isinstance(message, HumanMessage)]


class Model(BaseChatModel):
    """Says `heard <the human texts, joined by +>, take <n>` word by word. When the last human text begins with `slowly`, each
    word waits until the test permits it."""

    thread_id: str

    @property
    def _llm_type(self):
        return "scripted"

    def _words(self, texts):
        heard = "+".join(texts)
        return f"heard {heard}, take {next(takes[self.thread_id, heard])}".split(" ")

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        return ChatResult(generations=[ChatGeneration(message=AIMessage(" ".join(self._words(said_in(messages)))))])

    async def _astream(self, messages, stop=None, run_manager=None, **kwargs):
        texts = said_in(messages)
        slowly = texts[-1].startswith("slowly")
        for index, word in enumerate(self._words(texts)):
            while slowly and gate.permitted.get(self.thread_id, 0) <= index:
                await asyncio.sleep(0.01)
            yield ChatGenerationChunk(message=AIMessageChunk(content=word if index == 0 else " " + word))


async def answer(state: MessagesState, config: RunnableConfig):
    model = Model(thread_id=config["configurable"]["thread_id"])
    return {"messages": [await model.ainvoke(state["messages"], config)]}


async def delete(state: MessagesState):
    said = interrupt({"question": "Delete it?"})
    return {"messages": [AIMessage(f"deleted: {said}")]}


def first(state: MessagesState):
    return "delete" if "delete" in state["messages"][-1].text else "answer"


def then(state: MessagesState):
    return "answer" if said_in(state["messages"])[-1].startswith("slowly") else END


builder = StateGraph(MessagesState)
builder.add_node(answer)
builder.add_node(delete)
builder.add_conditional_edges(START, first, ["answer", "delete"])
builder.add_edge("answer", END)
builder.add_conditional_edges("delete", then, ["answer", END])
chat = builder.compile()
