"""Small graphs that the tests of threads write to, run and copy."""

import asyncio
import dataclasses
import datetime
import decimal
import operator
import uuid
from functools import partial
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage, RemoveMessage, SystemMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.channels.delta import DeltaChannel
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.types import interrupt
from pydantic import BaseModel


class Trail(TypedDict, total=False):
    path: Annotated[list[str], operator.add]
    x: int


def _node(name: str) -> Any:
    async def node(state: Any) -> dict[str, Any]:
        return {"path": [name], "x": state.get("x", 0) + 1}

    return node


def _chain(*names: str, state: Any = Trail) -> Any:
    builder = StateGraph(state)
    for name in names:
        builder.add_node(name, _node(name))
    for before, after in zip([START, *names], [*names, END], strict=False):
        builder.add_edge(before, after)
    return builder.compile()


chain = _chain("a", "b", "c")


async def question(state: Trail) -> dict[str, Any]:
    return {"path": [interrupt({"seen": state.get("path", [])})]}


ask = (
    StateGraph(Trail)
    .add_node("a", _node("a"))
    .add_node("question", question)
    .add_node("z", _node("z"))
    .add_edge(START, "a")
    .add_edge("a", "question")
    .add_edge("question", "z")
    .compile()
)

nested = StateGraph(Trail).add_node("inner", ask).add_node("last", _node("last"))
nested = nested.add_edge(START, "inner").add_edge("inner", "last").compile()


class Loop(TypedDict, total=False):
    until: int
    n: Annotated[int, operator.add]


async def tick(state: Loop) -> dict[str, Any]:
    await asyncio.sleep(0.03)
    return {"n": 1}


loop = (
    StateGraph(Loop)
    .add_node("tick", tick)
    .add_edge(START, "tick")
    .add_conditional_edges("tick", lambda state: "tick" if state["n"] < state["until"] else END, ["tick", END])
    .compile()
)


class Forked(TypedDict, total=False):
    stamps: Annotated[list[str], operator.add]
    answers: Annotated[list[Any], operator.add]


async def stamp(state: Forked) -> dict[str, Any]:
    return {"stamps": [uuid.uuid4().hex]}


async def gate(state: Forked) -> dict[str, Any]:
    return {"answers": [interrupt("go on?")]}


fork = (
    StateGraph(Forked).add_node("stamp", stamp).add_node("gate", gate).add_edge(START, "stamp").add_edge(START, "gate")
).compile()


class Point(BaseModel):
    x: int


@dataclasses.dataclass
class Pair:
    left: int
    right: str


class Kinds(TypedDict, total=False):
    day: Any
    amount: Any
    span: Any
    point: Any
    pair: Any
    blob: Any
    odd: Any


async def fill(state: Kinds) -> dict[str, Any]:
    return {
        "day": datetime.date(2024, 1, 2),
        "amount": decimal.Decimal("1.50"),
        "span": datetime.timedelta(seconds=90),
        "point": Point(x=1),
        "pair": Pair(1, "r"),
        "blob": b"\x00\x01",
        "odd": {float("inf")},
    }


kinds = StateGraph(Kinds).add_node("fill", fill).add_edge(START, "fill").compile()


def shaped(config: RunnableConfig) -> Any:
    """A graph whose shape depends on what the run was configured with."""
    return _chain(*config["configurable"].get("nodes", "plain").split(","))


def _joined(value: list[str], writes: list[list[str]]) -> list[str]:
    return [*value, *(word for write in writes for word in write)]


class Deltas(TypedDict, total=False):
    path: Annotated[list[str], DeltaChannel(_joined)]
    x: int


delta = _chain("a", "b", "c", state=Deltas)


class OwnError(Exception):
    """An exception of the app's: its text is nobody's business."""


async def fail_in_secret(state: Trail) -> dict[str, Any]:
    raise OwnError("hunter2")


secretive = StateGraph(Trail).add_node("fail", fail_in_secret).add_edge(START, "fail").compile()


async def reply(state: MessagesState) -> dict[str, Any]:
    last = state["messages"][-1]
    heard = [message.content for message in state["messages"]]
    return {"messages": [{"role": "ai", "content": " / ".join(heard), "id": f"re-{last.id}"}]}


retell = StateGraph(MessagesState).add_node("reply", reply).add_edge(START, "reply").compile()

memory = StateGraph(MessagesState).add_node("reply", reply).add_edge(START, "reply").compile(checkpointer=True)


async def ask_memory(state: MessagesState) -> dict[str, Any]:
    answer = await memory.ainvoke({"messages": state["messages"][-1:]})
    return {"messages": answer["messages"][-1:]}


remembering = StateGraph(MessagesState).add_node("ask_memory", ask_memory).add_edge(START, "ask_memory").compile()
"""A node calls a subgraph that keeps a conversation of its own."""


def said(state: MessagesState) -> dict[str, Any]:
    """Answers, or does with the messages what the last one asks for."""
    messages = state["messages"]
    last = messages[-1]
    wish = str(last.content)
    if wish == "tools":
        calls = [{"name": name, "args": {}, "id": f"{name} for {last.id}"} for name in ("one", "two")]
        return {"messages": [AIMessage("", tool_calls=calls)]}
    if wish == "forget":
        return {"messages": [RemoveMessage(id=str(messages[0].id)), AIMessage("forgotten")]}
    if wish == "sum up":
        return {"messages": [RemoveMessage(id=REMOVE_ALL_MESSAGES), SystemMessage("summary"), *messages[-2:]]}
    if wish == "revise":
        earlier = next(message for message in messages if isinstance(message, AIMessage))
        return {"messages": [AIMessage("revised", id=earlier.id), AIMessage("done")]}
    return {"messages": [AIMessage(f"reply to {wish}, after {len(messages)}")]}


def used(state: MessagesState, *, name: str) -> dict[str, Any]:
    call = state["messages"][-1].tool_calls[0 if name == "one" else 1]
    return {"messages": [ToolMessage(f"result of {name}", tool_call_id=call["id"])]}


async def used_later(state: MessagesState) -> dict[str, Any]:
    calling = next(message for message in reversed(state["messages"]) if isinstance(message, AIMessage))
    return {"messages": [ToolMessage("result of two", tool_call_id=calling.tool_calls[1]["id"])]}


_thinking = StateGraph(MessagesState).add_node("said", said).add_edge(START, "said").compile()

talk = (
    StateGraph(MessagesState)
    .add_node("said", said)
    .add_node("thinking", _thinking)
    .add_node("one", partial(used, name="one"))
    .add_node("two", used_later)
    .add_conditional_edges(START, lambda state: "thinking" if state["messages"][-1].content == "think" else "said")
    .add_conditional_edges("said", lambda state: "one" if getattr(state["messages"][-1], "tool_calls", None) else END)
    .add_edge("one", "two")
    .add_edge("two", "said")
    .compile()
)
