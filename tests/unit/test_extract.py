"""Paths of a search's `extract`."""

import pytest

from threadloom.services.extract import extracted, parse_path
from threadloom.types import Thread


def of(path, values=None, **fields):
    thread = Thread(
        thread_id="t",
        created_at=0,
        updated_at=0,
        state_updated_at=0,
        **{"metadata": {}, "values_json": values} | fields,
    )
    return extracted(thread, {"it": parse_path(path)})["it"]


VALUES = b'{"n":2,"log":["x","y"],"deep":{"a":[[1,2],[{"b":null,"c":"d"}]]},"":1,"a b":3,"0":"zero"}'


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("values.n", 2),
        ("values.log", ["x", "y"]),
        ("values.log[0]", "x"),
        ("values.log[-1]", "y"),
        ("values.log[ -2 ]", "x"),
        ("values.log[2]", None),
        ("values.log[-3]", None),
        ("values..n", 2),
        ("values.n.", 2),
        ("values.deep.a[1][0].c", "d"),
        ("values.deep.a[1].[0].c", "d"),
        ("values.deep.a[1][0].b", None),
        ("values.a b", 3),
        ("values.0", "zero"),
    ],
)
def test_what_is_there_is_found(path, value):
    assert of(path, VALUES) == value


@pytest.mark.parametrize(
    "path",
    [
        "values.missing",
        "values.missing.deeper",
        "values.n.deeper",
        "values.n[0]",
        "values[0]",
        "values.log.0",
        "values.log[*]",
        "values.log[]",
        "values.log[1.0]",
        "values.log[0",
        "values.log[0]x",
        "values.log[" + "9" * 5000 + "]",
    ],
)
def test_what_is_not_there_or_cannot_be_read_is_null(path):
    assert of(path, VALUES) is None


def test_every_part_of_a_record_can_be_the_root():
    assert of("values", b"[1]") == [1]
    assert of("values[0]", b"[1]") == 1
    assert of("values.n") is None
    assert of("metadata.a.b", metadata={"a": {"b": 5}}) == 5
    assert of("config.tags[0]", config={"tags": ["t"]}) == "t"
    assert of("interrupts") == {}
    assert of("interrupts.t[0].value", interrupts_json=b'{"t":[{"id":"i","value":"go?"}]}') == "go?"
