"""Graphs for the protocol tests (MCP, A2A): no keys, no network, always the same answer."""

import asyncio
import operator
from typing import Annotated, Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableConfig
from langgraph.config import get_store
from langgraph.func import entrypoint
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import interrupt
from typing_extensions import TypedDict


class Echo(BaseChatModel):
    """Says `echo: ` and the last message, a word at a time."""

    @property
    def _llm_type(self) -> str:
        return "echo"

    def _words(self, messages: Any) -> list[str]:
        return f"echo: {messages[-1].text}".split(" ")

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **more: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(" ".join(self._words(messages))))])

    async def _astream(self, messages: Any, stop: Any = None, run_manager: Any = None, **more: Any) -> Any:
        for at, word in enumerate(self._words(messages)):
            yield ChatGenerationChunk(message=AIMessageChunk(word if at == 0 else " " + word))
            await asyncio.sleep(0.02)


def one(schema: Any, node: Any, **more: Any) -> Any:
    builder = StateGraph(schema, **more)
    builder.add_node("node", node)
    builder.add_edge(START, "node")
    return builder.compile()


async def _chat(state: MessagesState) -> dict[str, Any]:
    return {"messages": [await Echo().ainvoke(state["messages"])]}


chat = one(MessagesState, _chat)


class CountInput(TypedDict):
    n: int


class CountOutput(TypedDict):
    total: int


class CountState(CountInput, CountOutput):
    pass


async def _count(state: CountState) -> dict[str, Any]:
    return {"total": state["n"] + 1}


count = one(CountState, _count, input_schema=CountInput, output_schema=CountOutput)


async def _ask(state: MessagesState) -> dict[str, Any]:
    city = interrupt("which city?")
    return {"messages": [AIMessage(f"weather in {city}")]}


ask = one(MessagesState, _ask)


class Answers(TypedDict, total=False):
    answers: Annotated[dict[str, Any], operator.or_]


async def _left(state: Answers) -> dict[str, Any]:
    return {"answers": {"left": interrupt({"side": "left"})}}


async def _right(state: Answers) -> dict[str, Any]:
    return {"answers": {"right": interrupt({"side": "right"})}}


_two = StateGraph(Answers)
_two.add_node("left", _left)
_two.add_node("right", _right)
_two.add_edge(START, "left")
_two.add_edge(START, "right")
ask_two = _two.compile()


async def _fail(state: MessagesState) -> dict[str, Any]:
    raise ValueError("planned failure")


fail = one(MessagesState, _fail)


async def _held(state: CountState, config: RunnableConfig) -> dict[str, Any]:
    """Ends when the store holds an item for the thread under `("go",)`: when the test says so, on however slow a machine."""
    while await get_store().aget(("go",), config["configurable"]["thread_id"]) is None:
        await asyncio.sleep(0.02)
    return {"total": state["n"]}


held = one(CountState, _held, input_schema=CountInput, output_schema=CountOutput)


async def _see(state: MessagesState) -> dict[str, Any]:
    shown = [{key: block[key] for key in sorted(block)} for block in state["messages"][-1].content_blocks]
    for block in shown:
        block.pop("id", None)
    image = {"type": "image", "url": "https://example.com/a.png", "mime_type": "image/png"}
    return {"messages": [AIMessage([{"type": "text", "text": str(shown)}, image])]}


see = one(MessagesState, _see)


@entrypoint()
async def plain(word: str) -> int:
    """A graph whose input is no object."""
    return len(word)


async def broken(config: dict[str, Any]) -> Any:
    """A factory that fails."""
    raise RuntimeError("no graph today")
