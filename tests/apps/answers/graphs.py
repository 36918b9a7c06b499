"""Graphs that ask, in every place where a graph can, and graphs that stop inside."""

import asyncio
import itertools
import operator
import os
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.prebuilt import create_react_agent
from langgraph.types import Send, interrupt


class State(TypedDict, total=False):
    """`said` are questions with their answers; `rounds` how often a loop asks."""

    said: Annotated[list[Any], operator.add]
    rounds: int
    pause: float


def asking(*questions: str) -> Any:
    """A node that asks one question after the other."""

    async def ask(state: State) -> dict[str, Any]:
        said = []
        for question in questions:
            said.append([question, interrupt(question)])
            await asyncio.sleep(state.get("pause", 0))
        return {"said": said}

    return ask


def graph(*nodes: tuple[str, Any], **options: Any) -> Any:
    """Nodes one after the other."""
    builder = StateGraph(State)
    for name, node in nodes:
        builder.add_node(name, node)
    names = [START, *(name for name, _ in nodes)]
    for before, after in itertools.pairwise(names):
        builder.add_edge(before, after)
    return builder.compile(**options)


async def mark(state: State) -> dict[str, Any]:
    return {"said": []}


async def write(state: State) -> dict[str, Any]:
    return {"said": ["written"]}


async def rest(state: State) -> dict[str, Any]:
    await asyncio.sleep(state["pause"])
    return {"said": ["rested"]}


slow = graph(("write", write), ("rest", rest))
plain = graph(("ask", asking("one", "two", "three")), ("later", asking("later")))
inner = graph(("sub", graph(("ask", asking("one", "two")))), ("later", asking("three")))
remembering = graph(("sub", graph(("ask", asking("one", "two")), checkpointer=True)), ("later", asking("three")))
forgetting_two = graph(("sub", graph(("ask", asking("one", "two")), checkpointer=False)))
forgetting = graph(("sub", graph(("ask", asking("one")), checkpointer=False)), ("later", asking("three")))
deep = graph(("mid", graph(("sub", graph(("ask", asking("one", "two")))))), ("later", asking("three")))

within = graph(("ask", asking("one", "two")))


async def call(state: State) -> dict[str, Any]:
    return {"said": (await within.ainvoke({"said": []}))["said"]}


called = graph(("call", call), ("later", asking("three")))


async def again(state: State) -> dict[str, Any]:
    question = f"round {len(state['said'])}"
    answer = interrupt(question)
    await asyncio.sleep(state.get("pause", 0))
    return {"said": [[question, answer]]}


loop = (
    StateGraph(State)
    .add_node("ask", again)
    .add_edge(START, "ask")
    .add_conditional_edges("ask", lambda state: "ask" if len(state["said"]) < state["rounds"] else END, ["ask", END])
    .compile()
)

_pair = StateGraph(State).add_node("left", asking("left", "left again")).add_node("right", asking("right"))
pair = _pair.add_node("aside", asking("aside")).add_edge(START, "left").add_edge(START, "right").compile()

_forgetful = StateGraph(State).add_node("left", asking("left")).add_node("right", asking("right"))
_forgetful = _forgetful.add_edge(START, "left").add_edge(START, "right")
forgetting_pair = (
    StateGraph(State)
    .add_node("sub", _forgetful.compile(checkpointer=False))
    .add_node("aside", asking("aside"))
    .add_edge(START, "sub")
    .compile()
)


async def ask_about(work: dict[str, Any]) -> dict[str, Any]:
    return {"said": [[work["about"], interrupt(work["about"])]]}


def spread(state: State) -> list[Send]:
    return [Send("ask_about", {"about": about}) for about in ("a", "b")]


sends = StateGraph(State).add_node("ask_about", ask_about).add_conditional_edges(START, spread, ["ask_about"]).compile()


@tool
def transfer(amount: int) -> str:
    """Transfers money, if a person allows it."""
    allowed = interrupt(f"transfer {amount}")
    return f"{amount}: {allowed}"


async def ask_rounds(state: State) -> dict[str, Any]:
    question = f"{state['rounds']} rounds"
    return {"said": [[question, interrupt(question)]]}


resting = graph(("rest", rest), ("ask", ask_rounds))


class Scripted(GenericFakeChatModel):
    """A model that calls the tool twice at once, and once more, and ends."""

    messages: Any = None

    def _generate(self, messages: Any, *args: Any, **more: Any) -> Any:
        asked = sum(message.type == "ai" for message in messages)
        calls = [[(1, "c1"), (2, "c2")], [(3, "c3")], []][asked]
        said = [{"name": "transfer", "args": {"amount": amount}, "id": call} for amount, call in calls]
        self.messages = iter([AIMessage("done" if not said else "", tool_calls=said)])
        return super()._generate(messages, *args, **more)

    def bind_tools(self, tools: Any, **more: Any) -> Any:
        return self


agent = create_react_agent(Scripted(messages=iter([])), [transfer])


@task
async def ask_task(question: str) -> Any:
    return interrupt(question)


@entrypoint()
async def functional(state: dict[str, Any]) -> dict[str, Any]:
    first = await ask_task("one")
    second = interrupt("two")
    return {"said": [["one", first], ["two", second]]}


def is_first(name: str) -> bool:
    """Whether nobody has called with this name before, in no process."""
    try:
        (Path(os.environ["ANSWERS_FAILED"]) / name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


async def fails_once(state: State) -> dict[str, Any]:
    """Asks, fails the first time that it is answered, and asks something else when it goes on."""
    first = interrupt("one")
    if is_first(state["said"][0]):
        raise ValueError("not this time")
    return {"said": [["one", first], ["two", interrupt("two")]]}


failing = graph(("ask", fails_once))
failing_inside = graph(("sub", graph(("ask", fails_once))))


def pair_of(**options: Any) -> Any:
    return graph(("x", mark), ("y", mark), **options)


stop = graph(("x", mark), ("y", asking("after the stop")), interrupt_before=["y"])
stop_before = graph(("sub", pair_of(interrupt_before=["y"])))
stop_after = graph(("sub", pair_of(interrupt_after=["x"])))
stop_deep = graph(("mid", graph(("sub", pair_of(interrupt_before=["y"])))))
stopping = pair_of(interrupt_before=["y"])


async def call_stopping(state: State) -> dict[str, Any]:
    await stopping.ainvoke({"said": []})
    return {"said": []}


stop_called = graph(("call", call_stopping))
