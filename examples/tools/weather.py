"""An agent that calls a tool, on a model that follows a script and needs no key.

    curl -s http://127.0.0.1:2024/runs/wait \
      -d '{"assistant_id": "weather", "input": {"messages": [{"role": "user", "content": "Weather in Paris?"}]}}'
"""

import os
from collections.abc import Sequence
from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

DEGREES = {"paris": 21, "oslo": 9, "cairo": 33}


@tool
def temperature(city: str) -> str:
    """Tells how warm it is in a city."""
    degrees = DEGREES.get(city.lower())
    # UNITS comes from `env` in langgraph.json, which is set before this file is imported.
    return "unknown" if degrees is None else f"{degrees} degrees {os.environ['UNITS']}"


class ScriptedModel(BaseChatModel):
    """Asks for the tool when a city is named, and tells what the tool found. In its place goes a model that thinks:

    model = ChatOpenAI(model="…").bind_tools(tools)
    """

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> "ScriptedModel":
        return self

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._answer(messages[-1]))])

    def _answer(self, last: BaseMessage) -> AIMessage:
        if isinstance(last, ToolMessage):
            return AIMessage(f"The temperature is {last.text}.")
        city = next((word for word in last.text.strip("?!. ").split() if word.lower() in DEGREES), None)
        if city is None:
            return AIMessage(f"I know {', '.join(name.title() for name in DEGREES)}.")
        call = {"name": "temperature", "args": {"city": city}, "id": f"call-{last.id}", "type": "tool_call"}
        return AIMessage("", tool_calls=[call])


tools = [temperature]
model = ScriptedModel().bind_tools(tools)


async def think(state: MessagesState) -> MessagesState:
    return {"messages": [await model.ainvoke(state["messages"])]}


graph = (
    StateGraph(MessagesState)
    .add_node("think", think)
    .add_node("tools", ToolNode(tools))
    .add_edge(START, "think")
    .add_conditional_edges("think", tools_condition)
    .add_edge("tools", "think")
    .compile()
)
