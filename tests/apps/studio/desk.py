"""A support desk with scripted answers: a tool, a subgraph that talks, events, Markdown, tokens, and a question."""

import asyncio
import json
import re
from typing import Literal, TypedDict

import gate
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableConfig
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import interrupt
from pydantic import BaseModel, Field

POLICY = "Orders that the carrier has lost are refunded in full; from 100 EUR a person confirms it."
ANSWER = """Order **{order}** left our store on 4 November and was last scanned in Leipzig. The carrier has declared it lost.

1. I refunded **{total} EUR** to your card
2. A new parcel leaves today:
   - carrier `DHL`, number `00340434`
   - arrives on *Thursday*

| | Before | Now |
|---|---|---|
| Status | on its way | refunded |
| To pay | {total} EUR | 0.00 EUR |

The rules are in [our policy](https://example.org/refunds)."""


class Scripted(BaseChatModel):
    """Says one text, word by word; with a thread only as far as the gate of that thread lets it."""

    says: str
    thread_id: str = ""

    @property
    def _llm_type(self):
        return "scripted"

    def _usage(self):
        written = len(self.says.split())
        return {"input_tokens": 380, "output_tokens": written, "total_tokens": 380 + written}

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        message = AIMessage(self.says, usage_metadata=self._usage())
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _astream(self, messages, stop=None, run_manager=None, **kwargs):
        pieces = re.findall(r"\S+\s*|\s+", self.says)
        for index, piece in enumerate(pieces):
            while self.thread_id and gate.permitted.get(self.thread_id, 0) <= index:
                await asyncio.sleep(0.01)
            last = {"usage_metadata": self._usage()} if index == len(pieces) - 1 else {}
            yield ChatGenerationChunk(message=AIMessageChunk(content=piece, **last))


class Decision(BaseModel):
    refund: bool = Field(description="Whether the customer gets the money back")
    amount: float = Field(ge=0, le=1_000, description="EUR")
    reason: Literal["lost", "damaged", "late"] = "lost"


class Desk(MessagesState):
    order: dict
    attempts: int


def triage(state: Desk):
    found = re.search(r"\d+", state["messages"][-1].text)
    order = int(found[0]) if found else 8812
    get_stream_writer()({"step": "triage", "order": order})
    call = {"name": "lookup_order", "args": {"order_id": order, "with_history": True}, "id": f"call-{order}"}
    return {"messages": [AIMessage("", tool_calls=[call])], "attempts": state.get("attempts", 0) + 1}


def tools(state: Desk):
    call = state["messages"][-1].tool_calls[0]
    order = {"id": call["args"]["order_id"], "status": "lost", "total": 39.9, "carrier": "DHL"}
    return {"messages": [ToolMessage(json.dumps(order), tool_call_id=call["id"], name=call["name"])], "order": order}


class Search(TypedDict):
    found: list[str]


async def search(state: Search):
    get_stream_writer()({"step": "search", "documents": 3})
    message = await Scripted(says="I found three documents on refunds.").ainvoke("search")
    return {"found": [message.text]}


async def read(state: Search):
    await Scripted(says=POLICY).ainvoke("read")
    return {"found": [*state["found"], POLICY]}


research = (
    StateGraph(Search)
    .add_node(search)
    .add_node(read)
    .add_edge(START, "search")
    .add_edge("search", "read")
    .add_edge("read", END)
    .compile()
)


async def policy(state: Desk):
    await research.ainvoke({"found": []})
    return {}


def approve(state: Desk):
    text = state["messages"][0].text
    if "large" not in text:
        return {}
    decision = interrupt(f"Refund order {state['order']['id']}?", response_schema=Decision)
    return {"order": {**state["order"], "refunded": decision.amount if decision.refund else 0}}


async def answer(state: Desk, config: RunnableConfig):
    order = state["order"]
    says = ANSWER.format(order=order["id"], total=f"{order['total']:.2f}")
    text = next(one for one in reversed(state["messages"]) if one.type == "human").text
    if "arrive" in text:
        says = f"On **Thursday**, between 9 and 12. You can follow order {order['id']} with `00340434`."
    if "crash" in text:
        raise ValueError("the payment service did not answer within 10 s")
    slowly = config["configurable"]["thread_id"] if "slowly" in text else ""
    message = await Scripted(says=says, thread_id=slowly).ainvoke(state["messages"], config)
    return {"messages": [message], "order": {**order, "status": "refunded"}}


builder = StateGraph(Desk)
for node in (triage, tools, policy, approve, answer):
    builder.add_node(node)
builder.add_edge(START, "triage")
builder.add_conditional_edges("triage", lambda state: "tools", ["tools", "answer"])
builder.add_edge("tools", "policy")
builder.add_edge("policy", "approve")
builder.add_edge("approve", "answer")
builder.add_edge("answer", END)
desk = builder.compile()
