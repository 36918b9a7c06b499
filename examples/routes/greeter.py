"""A graph that notes in the store whom it greeted."""

from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime
from typing_extensions import TypedDict


class Greeting(TypedDict, total=False):
    name: str
    text: str


async def greet(state: Greeting, runtime: Runtime[None]) -> Greeting:
    assert runtime.store is not None  # the server's store, which routes and API share
    await runtime.store.aput(("guests",), state["name"], {"greeted": True})
    return {"text": f"Hello, {state['name']}!"}


graph = StateGraph(Greeting).add_node("greet", greet).add_edge(START, "greet").compile()
