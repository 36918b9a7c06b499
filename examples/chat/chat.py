"""`agent`: a chat on `messages`. It remembers what was said, because the server keeps the thread."""

from collections.abc import Sequence

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langgraph.graph import END, START, MessagesState, StateGraph
from scripted import ScriptedModel


def answer(messages: Sequence[BaseMessage]) -> AIMessage:
    said = [message.text for message in messages if isinstance(message, HumanMessage)]
    if not said:
        return AIMessage("Say something, and I will remember it.")
    if len(said) == 1:
        return AIMessage(f'You said "{said[-1]}". Say more, and I will still know it.')
    return AIMessage(f'You said "{said[-1]}", and before that "{said[-2]}". That makes {len(said)} messages of yours.')


model = ScriptedModel(rule=answer)


async def chat(state: MessagesState) -> MessagesState:
    return {"messages": [await model.ainvoke(state["messages"])]}


agent = StateGraph(MessagesState).add_node("chat", chat).add_edge(START, "chat").add_edge("chat", END).compile()
