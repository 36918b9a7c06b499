"""Large values, read and written in pieces, are what they are as a whole."""

import random
import sys

import orjson
import ormsgpack
import pytest

from threadloom import large
from threadloom.codec import to_json

ATOMS = [1, -2.5, None, True, "", 'a"b', "\\", "x,y", "[", "}{", 'é\\"', '"', "a" * 30, "\n", 12345678901]
KEYS = ["a", "b", 'q"', "\\", ",", *map(str, range(50))]


def value(rng, level=0):
    kind = rng.random()
    if level > 6 or kind < 0.3:
        return rng.choice(ATOMS)
    if kind < 0.65:
        return [value(rng, level + 1) for _ in range(rng.randint(0, 5))]
    return {rng.choice(KEYS): value(rng, level + 1) for _ in range(rng.randint(0, 5))}


def text(rng, given):
    """JSON as clients may write it: with spaces, and with keys twice."""
    space = rng.choice(["", "", " ", "\n"])
    if isinstance(given, list):
        return f"[{space}" + f"{space},".join(text(rng, item) for item in given) + f"{space}]"
    if isinstance(given, dict):
        items = list(given.items())
        if items and rng.random() < 0.3:
            items.append((items[0][0], value(rng, 5)))
        return f"{{{space}" + ",".join(f"{text(rng, k)}{space}:{space}{text(rng, v)}" for k, v in items) + f"{space}}}"
    return orjson.dumps(given).decode()


def spoiled(rng, body):
    changed = bytearray(body)
    for _ in range(rng.randint(1, 2)):
        place = rng.randrange(len(changed) + 1)
        if rng.random() < 0.4:
            del changed[place : place + 1]
        else:
            changed.insert(place, rng.choice(b'[]{},:"\\ 1a'))
    return bytes(changed)


def read(loads, body):
    try:
        return orjson.dumps(loads(body))
    except ValueError:
        return "refused"


@pytest.mark.parametrize("seed", range(20))
def test_json_in_pieces_is_the_same_value_or_refused_as_well(seed):
    rng = random.Random(seed)
    for _ in range(60):
        body = text(rng, value(rng)).encode()
        for one in (body, spoiled(rng, body)):
            piece = rng.choice([1, 2, 5, 17, 60])
            assert read(lambda text: large.load_json(text, orjson.loads, 200, piece), one) == read(orjson.loads, one)  # noqa: B023


@pytest.mark.parametrize("levels", [200, 201])
def test_no_piece_hides_how_deep_a_text_is(levels):
    deep = b"[" * (levels - 1) + b"1,2" + b"]" * (levels - 1)
    body = b"[0," + deep + b"]"
    for piece in (3, 50, 1000):
        if levels > 200:
            with pytest.raises(large.TooDeepError):
                large.load_json(body, orjson.loads, 200, piece)
        else:
            assert large.load_json(body, orjson.loads, 200, piece) == orjson.loads(body)


@pytest.mark.parametrize(
    "body", [b'"a" ' * 200_000, b"[" * 2_000_000, b"[" * 1_000_000 + b"]" * 1_000_000, b"[[1,2]," * 200_000]
)
def test_what_is_no_json_is_refused_without_much_ado(body):
    with pytest.raises(ValueError):
        large.load_json(body, orjson.loads, 200)


MANY = {
    "text": "x" * 700_000,
    "list": [{"n": n, "word": f"{n} wörter"} for n in range(60_000)],
    7: [1, 2.5, None, b"x"],
}


def test_msgpack_in_pieces_is_the_same_value():
    for given in (MANY, MANY["list"], {"a": MANY["list"], "b": (1, 2)}, list(range(600_000)), MANY["text"]):
        packed = ormsgpack.packb(given, option=ormsgpack.OPT_NON_STR_KEYS)
        assert len(packed) > large.LARGE

        def loads(data):
            return ormsgpack.unpackb(data, option=ormsgpack.OPT_NON_STR_KEYS)

        assert large.load_msgpack(packed, loads) == loads(packed)


def test_json_is_written_in_pieces_as_it_is_as_a_whole():
    for given in (MANY, MANY["list"], [[MANY["list"]], {}, [], ()], {"a": {"b": MANY["list"], "c": 1}, 'q"': []}):
        assert large.is_heavy(given)
        assert large.write_json(given, to_json) == to_json(given)


def test_only_what_nobody_has_is_taken_apart():
    kept = [{"a": n} for n in range(30_000)]
    holder = [{"kept": kept, "gone": [{"a": n} for n in range(30_000)]}]
    large._take_apart(holder)
    assert holder == []
    assert len(kept) == 30_000
    assert sys.getrefcount(kept) == 2
