"""Graphs that ask back, in each of the forms that clients know.

`payment` gives a JSON Schema of the answer. `errand` asks as LangGraph's `HumanInterrupt` does or, with `kind: review`, as
LangChain's middleware does. `greeter` has a context.
"""

from dataclasses import dataclass
from typing import Literal, TypedDict

from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import interrupt
from pydantic import BaseModel, Field


class Decision(BaseModel):
    approved: bool = Field(description="Whether the invoice is paid")
    limit: int = Field(ge=1, le=10_000)
    urgency: Literal["low", "high"] = "low"
    note: str | None = None


class Payment(TypedDict):
    invoice: str
    decision: dict


def decide(state: Payment):
    decision = interrupt(f"Pay invoice {state['invoice']}?", response_schema=Decision)
    return {"decision": decision.model_dump()}


payments = StateGraph(Payment)
payments.add_node(decide)
payments.add_edge(START, "decide")
payment = payments.compile()


class Errand(TypedDict):
    kind: str
    file: str
    answer: object


def ask(state: Errand):
    args = {"path": state["file"], "force": False}
    if state.get("kind") == "review":
        action = {"name": "delete_file", "args": args, "description": f"Delete {state['file']}?"}
        allowed = {"action_name": "delete_file", "allowed_decisions": ["approve", "edit", "reject"]}
        return {"answer": interrupt({"action_requests": [action], "review_configs": [allowed]})}
    config = {"allow_accept": True, "allow_edit": True, "allow_respond": True, "allow_ignore": True}
    request = {"action_request": {"action": "delete_file", "args": args}, "config": config}
    return {"answer": interrupt([{**request, "description": f"Delete {state['file']}?"}])}


errands = StateGraph(Errand)
errands.add_node(ask)
errands.add_edge(START, "ask")
errand = errands.compile()


@dataclass
class Manners:
    greeting: str = "Hello"
    loud: bool = False


class Greeting(TypedDict):
    name: str
    text: str


def greet(state: Greeting, runtime: Runtime[Manners]):
    text = f"{runtime.context.greeting}, {state['name']}"
    return {"text": text.upper() if runtime.context.loud else text}


greetings = StateGraph(Greeting, context_schema=Manners)
greetings.add_node(greet)
greetings.add_edge(START, "greet")
greeter = greetings.compile()
