"""Which classes stored values may be rebuilt into."""

import dataclasses
import json

import msgspec
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
