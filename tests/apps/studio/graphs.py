"""Scripted graphs for Studio: always the same answers, no network, no keys.

`support` answers messages. A message that says `lookup` makes it call a tool, `fail` makes a node raise, `ask` makes it ask back.
When a message begins with `slowly`, each word of the answer waits until the test permits it. `ledger` has no messages.
"""

import asyncio
import json
from typing import TypedDict

import gate
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import interrupt


class Model(BaseChatModel):
    """Repeats the last message, word by word."""

    thread_id: str

    @property
    def _llm_type(self):
        return "scripted"

    def _words(self, messages):
        return ["You", "said:", *messages[-1].text.split(" ")]

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        message = AIMessage(" ".join(self._words(messages)))
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _astream(self, messages, stop=None, run_manager=None, **kwargs):
        slowly = messages[-1].text.startswith("slowly")
        for index, word in enumerate(self._words(messages)):
            while slowly and gate.permitted.get(self.thread_id, 0) <= index:
                await asyncio.sleep(0.01)
            yield ChatGenerationChunk(message=AIMessageChunk(content=word if index == 0 else " " + word))


class Support(MessagesState):
    order: dict
    attempts: int


async def plan(state: Support):
    text = state["messages"][-1].text
    attempts = state.get("attempts", 0) + 1
    if "lookup" not in text:
        return {"attempts": attempts}
    call = {"name": "lookup_order", "args": {"order_id": 8812, "with_history": True}, "id": f"call-{attempts}"}
    return {"messages": [AIMessage("", tool_calls=[call])], "attempts": attempts}


async def tools(state: Support):
    call = state["messages"][-1].tool_calls[0]
    order = {"id": 8812, "status": "lost", "total": 39.9}
    return {"messages": [ToolMessage(json.dumps(order), tool_call_id=call["id"], name=call["name"])], "order": order}


async def answer(state: Support, config: RunnableConfig):
    text = state["messages"][-1].text
    if "fail" in text:
        raise ValueError("the payment service refused order 8812")
    if "ask" in text:
        said = interrupt({"question": "Refund order 8812?", "amount": 39.9})
        return {"messages": [AIMessage(f"Your answer was: {said}")]}
    model = Model(thread_id=config["configurable"]["thread_id"])
    return {"messages": [await model.ainvoke(state["messages"], config)]}


def after_plan(state: Support):
    return "tools" if getattr(state["messages"][-1], "tool_calls", None) else "answer"


builder = StateGraph(Support)
builder.add_node(plan)
builder.add_node(tools)
builder.add_node(answer)
builder.add_edge(START, "plan")
builder.add_conditional_edges("plan", after_plan, ["tools", "answer"])
builder.add_edge("tools", "answer")
builder.add_edge("answer", END)
support = builder.compile()


class Entry(TypedDict):
    invoice: str
    amount: float
    booked: bool


def book(state: Entry):
    return {"booked": True}


entries = StateGraph(Entry)
entries.add_node(book)
entries.add_edge(START, "book")
entries.add_edge("book", END)
ledger = entries.compile()
