"""Which classes stored values may be rebuilt into."""

import dataclasses
import json
from fractions import Fraction

import msgspec
import numpy as np
import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage, ToolMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from threadloom.checkpointer.serde import make_serde
from threadloom.config.settings import Serde

NAME = (*__name__.split("."), "Kept")


@dataclasses.dataclass
class Kept:
    text: str


class Odd:
    """Nothing but pickle can store it."""

    def __init__(self) -> None:
        self.fits = lambda: None

    def __reduce__(self):
        return Odd, ()


def read_back(value, settings):
    serde = make_serde(settings)
    return serde.loads_typed(serde.dumps_typed(value))


@pytest.mark.parametrize("allowed", [msgspec.UNSET, True, (NAME,), ((__name__, "Kept"),)])
def test_a_class_that_is_allowed_comes_back(allowed):
    assert read_back(Kept("a"), Serde(allowed_msgpack_modules=allowed)) == Kept("a")


@pytest.mark.parametrize("allowed", [None, (("another", "Class"),)])
def test_another_comes_back_as_the_data_within_it(allowed):
    assert read_back(Kept("a"), Serde(allowed_msgpack_modules=allowed)) == {"text": "a"}
    assert read_back(HumanMessage("hi"), Serde(allowed_msgpack_modules=allowed)) == HumanMessage("hi")


def test_pickle_is_used_only_when_it_is_asked_for():
    with pytest.raises(TypeError):
        read_back(Odd(), Serde())
    assert isinstance(read_back(Odd(), Serde(pickle_fallback=True)), Odd)


def test_classes_in_json_are_rebuilt_when_they_are_named():
    envelope = {"lc": 2, "type": "constructor", "id": NAME, "kwargs": {"text": "a"}}
    stored = ("json", json.dumps(envelope).encode())
    assert make_serde(Serde(allowed_json_modules=(NAME,))).loads_typed(stored) == Kept("a")
    assert isinstance(make_serde(Serde()).loads_typed(stored), dict)


@pytest.mark.parametrize("allowed", [msgspec.UNSET, None])
@pytest.mark.parametrize(
    "value",
    [
        np.float32(0.5),
        np.longdouble("1.5"),
        np.datetime64("2026-01-02", "ns"),
        np.timedelta64(3, "2s"),
        np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")])[0],
        Fraction(2**80, 3),
        {"deep": [{(1, 2**70): complex(1, 2)}]},
        {"within": Fraction(1, 2), "\ud800": {2**70: range(1, 9, 2)}},
    ],
)
def test_what_langgraph_refuses_comes_back_as_it_was(value, allowed):
    found = read_back([value], Serde(allowed_msgpack_modules=allowed))
    assert found == [value]
    assert type(found[0]) is type(value)


@pytest.mark.parametrize("dtype", ["M8[s]", "m8[ms]", "O", [("a", "i4"), ("b", "f8")]])
def test_arrays_of_every_kind_come_back(dtype):
    array = np.zeros((2, 3), dtype=dtype)
    found = read_back(array, Serde())
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert (found == array).all()


def test_what_cannot_be_stored_is_named():
    with pytest.raises(TypeError, match="Object of type Odd is not serializable"):
        read_back({"a": [Kept(text=Odd())]}, Serde())
    endless: list = []
    endless.append(endless)
    with pytest.raises(TypeError, match="contains itself"):
        read_back(endless, Serde())


def test_a_value_that_cannot_be_read_now_is_not_lost():
    stored = make_serde(Serde(pickle_fallback=True)).dumps_typed(Odd())
    careful = make_serde(Serde())
    found = careful.loads_typed(stored)
    assert "pickle_fallback is not true" in repr(found)
    assert careful.dumps_typed(found) == stored
    assert isinstance(make_serde(Serde(pickle_fallback=True)).loads_typed(stored), Odd)
    broken = make_serde(Serde(pickle_fallback=True)).loads_typed(("pickle", b"cno.such.module\nClass\n."))
    assert "no" in repr(broken)


def broken(message, **fields):
    """A message with fields that its class would refuse."""
    message.__dict__.update(fields)
    return message


MESSAGES = [
    HumanMessage("hi", id="1", name="ann", colour="red"),
    HumanMessage(
        [{"type": "text", "text": "hi"}, "there"], additional_kwargs={"a": {1, 2}, "b": SystemMessage("in it")}
    ),
    HumanMessage(content_blocks=[{"type": "text", "text": "hi"}]),
    HumanMessage("hi", content_blocks=None, dates=[1, (2, 3)]),
    SystemMessage("be brief"),
    AIMessage(
        "",
        tool_calls=[{"name": "f", "args": {"x": [1]}, "id": "c", "type": "tool_call"}],
        usage_metadata={
            "input_tokens": 1,
            "output_tokens": 2,
            "total_tokens": 3,
            "input_token_details": {"cache_read": 1},
        },
        response_metadata={"model_name": "m", "token_usage": {"n": 1}},
    ),
    AIMessage("", additional_kwargs={"tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]}),
    AIMessage("", invalid_tool_calls=[{"name": "f", "args": "{", "id": "c", "error": "cut off"}]),
    AIMessageChunk("a", tool_call_chunks=[{"name": "f", "args": "{}", "id": "c", "index": 0}], chunk_position="last"),
    ToolMessage("3", tool_call_id="c", artifact=[Fraction(1, 2), Kept("a")], status="error"),
    broken(HumanMessage("hi"), id=["no", "text"]),
    broken(AIMessage("hi"), content=5, tool_calls=[{"name": 1}]),
    broken(ToolMessage("hi", tool_call_id="c"), content=("a", 1), tool_call_id=7),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_messages_are_read_as_their_constructors_make_them(message):
    """Threadloom's serializer takes shorter ways for messages, to the same bytes and the same objects."""
    serde, theirs = (
        make_serde(Serde()),
        JsonPlusSerializer(allowed_msgpack_modules=make_serde(Serde())._allowed_msgpack_modules),
    )
    stored = serde.dumps_typed(message)
    if message.type != "tool":  # LangGraph stores no fractions
        assert stored == theirs.dumps_typed(message)
    found, wanted = serde.loads_typed(stored), theirs.loads_typed(stored)
    assert type(found) is type(wanted)
    for name in ("__dict__", "__pydantic_extra__", "__pydantic_private__"):
        assert repr(getattr(found, name)) == repr(getattr(wanted, name))
    assert found.__pydantic_fields_set__ == wanted.__pydantic_fields_set__
    assert found == wanted
