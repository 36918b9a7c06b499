"""Graphs that refuse what is written to them, and graphs that hold values of every kind."""

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import ipaddress
import operator
import pathlib
import re
import uuid
import zoneinfo
from typing import Annotated, Any, Generic, NamedTuple, TypedDict, TypeVar

import numpy as np
from langgraph.channels import UntrackedValue
from langgraph.graph import START, StateGraph, add_messages
from langgraph.runtime import Runtime
from langgraph.types import Send, interrupt
from pydantic import BaseModel
from pydantic.v1 import BaseModel as OldModel

# --- what is refused ---


class Reduced(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    messages: Annotated[list[Any], add_messages]
    returns: Any


def node(state: Reduced) -> dict[str, Any]:
    return {"log": state["returns"]} if state.get("returns") is not None else {"log": ["ok"]}


reduced = StateGraph(Reduced).add_node("node", node).add_edge(START, "node").compile()


class Phase(enum.Enum):
    A = "a"


class Model(BaseModel):
    phase: Phase = Phase.A
    n: int = 0


model = StateGraph(Model).add_node("m", lambda state: {"n": state.n + 1}).add_edge(START, "m").compile()


class Outer(TypedDict, total=False):
    phase: str
    n: int


around = StateGraph(Outer).add_node("inner", model).add_edge(START, "inner").compile()


class Old(BaseModel):
    text: str = ""


class New(BaseModel):
    text: str = ""
    owner: str  # added later, required


def two_steps(schema: Any) -> Any:
    builder = StateGraph(schema)
    builder.add_node("one", lambda state: {"text": state.text + "1"})
    builder.add_node("two", lambda state: {"text": state.text + "2"})
    return builder.add_edge(START, "one").add_edge("one", "two").compile()


old, new = two_steps(Old), two_steps(New)


class Both(TypedDict, total=False):
    clash: bool
    value: str


def writes(name: str) -> Any:
    return lambda state: {"value": name} if state.get("clash") else {}


clashing = (
    StateGraph(Both)
    .add_node("a", writes("a"))
    .add_node("b", writes("b"))
    .add_edge(START, "a")
    .add_edge(START, "b")
    .compile()
)

# --- values ---


class Point(NamedTuple):
    x: int
    y: tuple[int, ...]


class Moment(datetime.datetime):
    """As pandas' Timestamp is one."""


@dataclasses.dataclass(slots=True)
class Slotted:
    a: int
    unset: int = dataclasses.field(init=False)


T = TypeVar("T")


class Box(BaseModel, Generic[T]):
    content: T


class Before(OldModel):
    a: int


VALUES: dict[str, Any] = {
    "float64": lambda: np.float64(1.5),
    "float32": lambda: np.float32(0.5),
    "int64": lambda: np.int64(3),
    "bool": lambda: np.bool_(True),
    "longdouble": lambda: np.longdouble("1.5"),
    "nested": lambda: {"mean": np.array([1.0, 2.0]).mean(), "rows": [np.int32(1)]},
    "datetime64": lambda: np.datetime64("2026-01-02T00:00:00"),
    "timedelta64": lambda: np.timedelta64(1500, "ms"),
    "array": lambda: np.arange(3),
    "scalar_array": lambda: np.array(3),
    "dates": lambda: np.array(["2026-01-02", "NaT"], dtype="M8[s]"),
    "records": lambda: np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
    "objects": lambda: np.array([1, "a", None], dtype=object),
    "fraction": lambda: fractions.Fraction(1, 4),
    "complex": lambda: 1 + 2j,
    "range": lambda: range(3),
    "decimal": lambda: decimal.Decimal("1.5"),
    "huge": lambda: 2**70,
    "huge_keys": lambda: {2**70: 1, Phase.A: 2, True: 3, datetime.date(2026, 1, 2): 4},
    "numpy_keys": lambda: {np.int64(1): "one"},
    "surrogate": lambda: {"\ud800": 1, datetime.date(2026, 1, 2): 2},
    "named": lambda: Point(1, (2,)),
    "send": lambda: Send("n", {"a": np.int8(1)}),
    "address": lambda: ipaddress.ip_address("10.0.0.1"),
    "old_model": lambda: Before(a=1),
    "generic": lambda: Box[int](content=1),
    "slots": lambda: Slotted(1),
    "moment": lambda: Moment(2026, 1, 2),
    "zone": lambda: zoneinfo.ZoneInfo("Europe/Berlin"),
    "pattern": lambda: re.compile("a+"),
    "path": lambda: pathlib.Path("/a/b"),
    "deque": lambda: collections.deque([1, 2]),
    "uuid": lambda: uuid.UUID(int=1),
    "bytes": lambda: [b"ab", bytearray(b"ab")],
    "enum": lambda: [Phase.A],
}


class Kept(TypedDict, total=False):
    kind: str
    value: Any
    seen: Any
    answer: Any


async def put(state: Kept, runtime: Runtime[Any]) -> dict[str, Any]:
    value = VALUES[state["kind"]]()
    if "surrogate" not in state["kind"]:
        assert runtime.store is not None
        await runtime.store.aput(("values",), state["kind"], {"value": value})
    return {"value": value}


def ask(state: Kept) -> dict[str, Any]:
    return {"answer": interrupt(VALUES[state["kind"]]()), "seen": type(state["value"]).__name__}


holds = (
    StateGraph(Kept).add_node("put", put).add_node("ask", ask).add_edge(START, "put").add_edge("put", "ask").compile()
)


def unstorable(state: Kept) -> dict[str, Any]:
    match state["kind"]:
        case "function":
            return {"value": {"within": [print]}}
        case "cycle":
            around: list[Any] = []
            around.append(around)
            return {"value": around}
        case "deep":
            deep: list[Any] = []
            for _ in range(10_000):
                deep = [deep]
            return {"value": deep}
    return {"value": interrupt(print)}


refuses = StateGraph(Kept).add_node("n", unstorable).add_edge(START, "n").compile()

# --- what is kept nowhere ---


class Secretive(TypedDict, total=False):
    text: str
    secret: Annotated[str, UntrackedValue]


def whisper(state: Secretive) -> dict[str, Any]:
    return {"secret": "-".join(("WHISPERED", "TO", "NOBODY"))}


def listen(state: Secretive) -> dict[str, Any]:
    return {"text": f"heard {len(state['secret'])} characters"}


secretive = (
    StateGraph(Secretive)
    .add_node("whisper", whisper)
    .add_node("listen", listen)
    .add_edge(START, "whisper")
    .add_edge("whisper", "listen")
    .compile()
)


async def twice(state: Secretive) -> dict[str, Any]:
    await secretive.ainvoke({"text": "hi"})
    return {"text": (await secretive.ainvoke({"text": "hi"}))["text"]}


secretive_called = StateGraph(Secretive).add_node("twice", twice).add_edge(START, "twice").compile()


class SecretlyAsked(TypedDict, total=False):
    """Untracked keys that are called as parts of a question are."""

    text: str
    id: Annotated[str, UntrackedValue]
    value: Annotated[str, UntrackedValue]


def ask(state: SecretlyAsked) -> dict[str, Any]:
    return {"text": interrupt("who?"), "id": "me"}


secretive_asks = StateGraph(SecretlyAsked).add_node("ask", ask).add_edge(START, "ask").compile()
secretive_inside = (
    StateGraph(Secretive)
    .add_node("whisper", whisper)
    .add_node("inner", secretive)
    .add_edge(START, "whisper")
    .add_edge("whisper", "inner")
    .compile()
)
