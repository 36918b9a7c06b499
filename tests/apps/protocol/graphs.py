"""Graphs for the tests of the v2 event stream: no network, no keys, always the same."""

import asyncio
import operator
from typing import Annotated

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, Send, interrupt
from langgraph_sdk.runtime import ServerRuntime
from pydantic import BaseModel
from typing_extensions import TypedDict


class Model(BaseChatModel):
    """Says its text a word at a time; without one, `echo: <last human text>`."""

    says: str | None = None
    pause: float = 0.0
    fails_after: int | None = None

    @property
    def _llm_type(self):
        return "fake"

    def _words(self, messages):
        last = next((m for m in reversed(messages) if isinstance(m, HumanMessage)), None)
        said = self.says or "echo: " + (last.text if last else "")
        return said.split(" ")

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        return ChatResult(generations=[ChatGeneration(message=AIMessage(" ".join(self._words(messages))))])

    async def _astream(self, messages, stop=None, run_manager=None, **kwargs):
        for index, word in enumerate(self._words(messages)):
            if index == self.fails_after:
                raise ValueError("the model broke")
            if self.pause:
                await asyncio.sleep(self.pause)
            yield ChatGenerationChunk(message=AIMessageChunk(content=word if index == 0 else " " + word))


def of_nodes(state, edges, **nodes):
    """A graph of named nodes; `edges` are pairs, START and END included."""
    builder = StateGraph(state)
    for name, node in nodes.items():
        builder.add_node(name, node)
    for first, second in edges:
        builder.add_edge(first, second)
    return builder.compile()


def say(model):
    async def node(state: MessagesState):
        return {"messages": [await model.ainvoke(state["messages"])]}

    return node


async def say_itself(state: MessagesState):
    parts = [part async for part in Model().astream(state["messages"])]
    return {"messages": [sum(parts[1:], parts[0])]}


chat = of_nodes(MessagesState, [(START, "chat"), ("chat", END)], chat=say(Model()))
duet = of_nodes(
    MessagesState,
    [(START, "left"), (START, "right")],
    left=say(Model(says="l l l", pause=0.01)),
    right=say(Model(says="r r r", pause=0.01)),
)
unhurried = of_nodes(MessagesState, [(START, "chat")], chat=say(Model(says="one two three four", pause=0.4)))
breaking_off = of_nodes(MessagesState, [(START, "chat")], chat=say(Model(says="one two three", fails_after=2)))
own_stream = of_nodes(MessagesState, [(START, "chat")], chat=say_itself)


@tool
async def add(a: int, b: int) -> int:
    """Adds."""
    await asyncio.sleep(0.3)
    return a + b


async def plan(state: MessagesState):
    if isinstance(state["messages"][-1], HumanMessage):
        call = {"name": "add", "args": {"a": 2, "b": 3}, "id": "call_add", "type": "tool_call"}
        return {"messages": [AIMessage("", tool_calls=[call])]}
    return {"messages": [AIMessage("5 it is")]}


def wants_tool(state: MessagesState):
    return "tools" if state["messages"][-1].tool_calls else END


_builder = StateGraph(MessagesState)
_builder.add_node("plan", plan)
_builder.add_node("tools", ToolNode([add]))
_builder.add_edge(START, "plan")
_builder.add_conditional_edges("plan", wants_tool, ["tools", END])
_builder.add_edge("tools", "plan")
tools = _builder.compile()


class Steps(TypedDict, total=False):
    n: int
    steps: Annotated[list, operator.add]
    answers: Annotated[dict, operator.or_]


async def count(state: Steps):
    return {"steps": [f"count {state.get('n', 0)}"]}


async def tick(state: Steps):
    await asyncio.sleep(0.15)
    return {"steps": ["tick"]}


def ticking(state: Steps):
    return "tick" if len(state["steps"]) < state.get("n", 3) else END


async def ask(state: Steps):
    return {"answers": {"ask": interrupt({"question": "go on?"})}}


async def left(state: Steps):
    return {"answers": {"left": interrupt("left?")}}


async def right(state: Steps):
    return {"answers": {"right": interrupt("right?")}}


async def inner(state: Steps):
    get_stream_writer()({"progress": 1})
    return {"steps": ["inner"]}


async def outer(state: Steps):
    get_stream_writer()({"name": "note", "payload": {"from": "outer"}})
    return {"steps": ["outer"]}


async def fail(state: Steps):
    raise ValueError("planned failure")


async def fail_secretly(state: Steps):
    class SecretError(Exception):
        pass

    raise SecretError("the password is 1234")


steps = of_nodes(Steps, [(START, "count")], count=count)
slow = StateGraph(Steps)
slow.add_node("tick", tick)
slow.add_edge(START, "tick")
slow.add_conditional_edges("tick", ticking, ["tick", END])
asking = of_nodes(Steps, [(START, "ask"), ("ask", "count")], ask=ask, count=count)
asking_two = of_nodes(Steps, [(START, "left"), (START, "right")], left=left, right=right)
nested = of_nodes(
    Steps, [(START, "outer"), ("outer", "child")], outer=outer, child=of_nodes(Steps, [(START, "inner")], inner=inner)
)
nested_ask = of_nodes(
    Steps,
    [(START, "middle")],
    middle=of_nodes(Steps, [(START, "child")], child=of_nodes(Steps, [(START, "ask")], ask=ask)),
)
failing = of_nodes(Steps, [(START, "child")], child=of_nodes(Steps, [(START, "fail")], fail=fail))
failing_secretly = of_nodes(Steps, [(START, "fail")], fail=fail_secretly)


@tool
async def delegate(n: int) -> str:
    """Lets another graph count."""
    return str((await helper.ainvoke({"n": n}))["steps"])


async def hand_on(state: Steps):
    call = {"name": "delegate", "args": {"n": state["n"]}, "id": "call_delegate", "type": "tool_call"}
    return Command(goto=Send("tools", [call]))


async def name_progress(state: Steps):
    get_stream_writer()({"name": "progress", "step": 1})
    return {"steps": ["named"]}


helper = of_nodes(Steps, [(START, "inner")], inner=inner)
_builder = StateGraph(Steps)
_builder.add_node("hand_on", hand_on, destinations=("tools",))
_builder.add_node("tools", ToolNode([delegate], messages_key="steps"))
_builder.add_edge(START, "hand_on")
delegating = _builder.compile()
naming = of_nodes(Steps, [(START, "name_progress")], name_progress=name_progress)
asking_slow = StateGraph(Steps)
asking_slow.add_node("ask", ask)
asking_slow.add_node("tick", tick)
asking_slow.add_edge(START, "ask")
asking_slow.add_edge("ask", "tick")
asking_slow.add_conditional_edges("tick", ticking, ["tick", END])


class NoteState(BaseModel):
    n: int = 0
    note: str | None = None


async def note(state: NoteState):
    return {"note": "seen"}


pydantic_state = of_nodes(NoteState, [(START, "note")], note=note)


def held(graph):
    """The same graph, whose runs begin when the store holds an item for their thread under `("go",)`: whoever tests a client
    lets them go when the client has subscribed to all it wants, however long that takes."""

    async def made(config: RunnableConfig, runtime: ServerRuntime):
        if runtime.access_context == "threads.create_run":
            while await runtime.store.aget(("go",), config["configurable"]["thread_id"]) is None:
                await asyncio.sleep(0.02)
        return graph

    return made


held_asking = held(asking)
held_chat = held(chat)
held_failing = held(failing)
held_nested = held(nested)
held_nested_ask = held(nested_ask)
held_steps = held(steps)
held_tools = held(tools)
held_unhurried = held(unhurried)
