"""Which classes stored values may be rebuilt into."""

import dataclasses
import json
from fractions import Fraction

import msgspec
import numpy as np
import pytest
from langchain_core.messages import HumanMessage

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
