"""Graphs whose code raises whatever it is told to, wherever it is told to."""

import asyncio
import os
import sys
import time
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.graph import START, StateGraph
from langgraph.prebuilt import ToolNode


class Unprintable(ValueError):
    """Has no text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class Unrepresentable(ValueError):
    """Has neither a text nor a repr, and ends the process when somebody asks for one."""

    def __str__(self) -> str:
        sys.exit("no text")

    __repr__ = __str__


def boom(kind: str | None) -> None:
    """Raises what `kind` says; nothing for None."""
    match kind:
        case None:
            return
        case "exit":
            sys.exit(2)
        case "keyboard":
            raise KeyboardInterrupt
        case "generator":
            raise GeneratorExit
        case "base":
            raise BaseException("base")
        case "group":
            raise BaseExceptionGroup("several", [SystemExit(1), ValueError("one")])
        case "cancelled":
            raise asyncio.CancelledError
        case "stop":
            raise StopIteration
        case "unprintable":
            raise Unprintable
        case "unrepresentable":
            raise Unrepresentable
        case "stop_loop":
            asyncio.get_running_loop().stop()
        case "dies":
            os._exit(9)
        case _:
            raise ValueError(kind)


class State(TypedDict, total=False):
    kind: str
    ok: str
    many: Annotated[list[Any], lambda old, new: [*old, "ok"] if new != ["boom"] else boom("exit")]


async def anode(state: State) -> State:
    boom(state.get("kind"))
    return {"ok": "yes"}


def snode(state: State) -> State:
    boom(state.get("kind"))
    return {"ok": "yes"}


async def beside(state: State) -> State:
    """Raises in a task that nobody waits for, and in a callback of the loop; then works."""

    async def stray() -> None:
        boom(state.get("kind"))

    task = asyncio.create_task(stray())
    asyncio.get_running_loop().call_soon(boom, state.get("kind"))
    await asyncio.sleep(0.05)
    return {"ok": str(task.done())}


async def slow(state: State) -> State:
    await asyncio.sleep(0.2)
    return {"many": [1]}


@tool
async def raising(kind: str | None) -> str:
    """Raises what it is told to."""
    boom(kind)
    return "fine"


def call(state: State) -> dict[str, Any]:
    name = {"name": "raising", "args": {"kind": state["kind"]}, "id": "1", "type": "tool_call"}
    return {"messages": [AIMessage("", tool_calls=[name])]}


class Chat(State, total=False):
    messages: list[Any]


def one(node: Any) -> Any:
    return StateGraph(State).add_node("n", node).add_edge(START, "n").compile()


on_the_loop, on_a_thread, beside_it = one(anode), one(snode), one(beside)
in_a_subgraph = one(on_the_loop)
in_a_tool = (
    StateGraph(Chat)
    .add_node("call", call)
    .add_node("tools", ToolNode([raising], handle_tool_errors=False))
    .add_edge(START, "call")
    .add_edge("call", "tools")
    .compile()
)
in_parallel = (
    StateGraph(State).add_node("n", anode).add_node("slow", slow).add_edge(START, "n").add_edge(START, "slow").compile()
)
in_an_edge = (
    StateGraph(State)
    .add_node("n", lambda state: {"ok": "yes"})
    .add_edge(START, "n")
    .add_conditional_edges("n", lambda state: boom(state.get("kind")) or "__end__", ["__end__"])
    .compile()
)
in_a_reducer = one(lambda state: {"ok": "yes", "many": ["boom"] if state.get("kind") else []})


def in_a_factory(config: dict[str, Any]) -> Any:
    boom(config["configurable"].get("kind"))
    return on_the_loop


async def in_an_async_factory(config: dict[str, Any]) -> Any:
    boom(config["configurable"].get("kind"))
    return on_the_loop


async def nap(state: State) -> State:
    await asyncio.to_thread(time.sleep, 0.01)
    boom("dies")
    return {"ok": "never"}


kills = one(nap)
