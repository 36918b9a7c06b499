"""Values as instructions over earlier versions: every version reads back byte for byte, and a long history stays small."""

import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from threadloom.lineage import elements

Change = Callable[[Any, int, random.Random], Any]


def message(number: int, rng: random.Random) -> dict[str, str]:
    return {"id": str(number), "content": "".join(rng.choices("abcdefgh ", k=300))}


def appended(value: list[Any], number: int, rng: random.Random) -> list[Any]:
    return [*value, message(number, rng)]


def replaced(value: list[Any], number: int, rng: random.Random) -> list[Any]:
    value = appended(value, number, rng)
    value[len(value) // 2] = message(number, rng)
    return value


def last_fifty(value: list[Any], number: int, rng: random.Random) -> list[Any]:
    return appended(value, number, rng)[-50:]


def with_key(value: Any, number: int, rng: random.Random) -> Any:
    return {**(value or {}), f"file {number}": message(number, rng)}


def anything(value: list[Any], number: int, rng: random.Random) -> list[Any]:
    value = list(value)
    for _ in range(rng.randrange(4)):
        place = rng.randrange(len(value) + 1)
        match rng.randrange(5):
            case 0:
                value.insert(place, message(number, rng))
            case 1:
                value.insert(place, rng.choice([None, 7, "short", [1, [2, {"x": b"y" * 70_000}]], {}, 2**40, 0.5]))
            case 2:
                del value[place : place + 3]
            case 3:
                rng.shuffle(value)
            case _:
                value += value[:place]
    return value[:400]


@pytest.mark.parametrize(
    ("change", "most"), [(appended, 8), (replaced, 8), (last_fifty, 8), (with_key, 8), (anything, None)]
)
@pytest.mark.parametrize("encoded", [msgspec.msgpack.encode, msgspec.json.encode])
def test_versions_read_back_and_stay_small(change: Change, most: int | None, encoded: Callable[[Any], bytes]) -> None:
    rng = random.Random(7)
    value: Any = []
    chain: list[tuple[int, bytes, elements.Value]] = []
    before: elements.Value | None = None
    distinct: set[bytes] = set()
    stored = 0
    for number in range(1, 1201 if most else 601):
        value = change(value, number, rng)
        data = encoded(value)
        version = elements.Value(data, before)
        while chain and chain[-1][0] > elements.base_number(number):
            chain.pop()
        instructions = elements.encode(version, chain[-1][2]) if chain and elements.base_number(number) else None
        if instructions is None:
            chain.clear()
        chain.append((number, instructions or data, version))
        assert elements.restore([part for _, part, _ in chain]) == data
        assert len(chain) <= number.bit_length()
        stored += len(instructions or data)
        items = value.items() if isinstance(value, dict) else value
        distinct.update(encoded(element) for element in items)
        before = version
    if most is not None:
        assert stored <= most * sum(map(len, distinct))


@pytest.mark.parametrize(
    "value", [None, True, 5, "text" * 1000, b"bytes" * 1000, 1.5, [], {}, [1, 2, 3], msgspec.Raw(b"\xc7\x05\x05aaaaa")]
)
def test_what_has_no_elements_or_is_small_is_stored_whole(value: Any) -> None:
    data = value if isinstance(value, msgspec.Raw) else msgspec.msgpack.encode(value)
    version = elements.Value(bytes(data))
    assert elements.encode(version, version) is None


def test_a_list_is_not_built_on_a_map_nor_on_another_value() -> None:
    rng = random.Random(1)
    listed = elements.Value(msgspec.msgpack.encode([message(n, rng) for n in range(20)]))
    mapped = elements.Value(msgspec.msgpack.encode({str(n): message(n, rng) for n in range(20)}))
    other = elements.Value(msgspec.msgpack.encode([message(n, rng) for n in range(20)]))
    assert elements.encode(mapped, listed) is None
    assert elements.encode(listed, mapped) is None
    assert elements.encode(listed, other) is None


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: data + b"\x01", lambda data: data[:3] + b"\xc1" * 2000]
)
def test_a_value_that_is_no_msgpack_has_no_elements(damage: Callable[[bytes], bytes]) -> None:
    whole = elements.Value(msgspec.msgpack.encode(["x" * 2000] * 20))
    damaged = elements.Value(damage(whole.data), whole)
    assert damaged.starts == []
    assert elements.encode(damaged, whole) is None


def test_a_value_of_very_many_short_elements_is_not_split() -> None:
    numbers = list(range(elements.MOST_SHORT))
    assert len(elements.Value(msgspec.msgpack.encode(numbers)).starts) == len(numbers) + 1
    assert elements.Value(msgspec.msgpack.encode([*numbers, 7])).starts == []
    assert elements.Value(msgspec.msgpack.encode([f"{number:040}" for number in [*numbers, 7]])).starts != []


def test_json_is_split_at_any_depth_and_not_too_finely() -> None:
    rng = random.Random(2)
    state = {
        "said": "x",
        "files": {str(n): "y" * 9000 for n in range(9)},
        "messages": [message(n, rng) for n in range(9)],
    }
    before = elements.Value(msgspec.json.encode({"timestamp": 1, "data": state}))
    state["files"]["4"] = "z"
    state["messages"].append(message(9, rng))
    data = msgspec.json.encode({"timestamp": 2, "data": state})
    instructions = elements.encode(elements.Value(data), before)
    assert instructions is not None
    assert len(instructions) < 1000
    assert elements.apply(instructions, before.data) == data
    short: list[Any] = [{}] * elements.MOST_SHORT
    assert elements.Value(msgspec.json.encode([*short, {}]), elements.Value(msgspec.json.encode(short))).starts == []
