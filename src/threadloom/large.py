"""Reads and writes large JSON and msgpack values piece by piece, on threads of their own.

A JSON or msgpack parser holds Python's global lock until it is done. Parsing 20 MB in one call stops all other threads for a
tenth of a second or more, on whichever thread it runs. Between two pieces other threads can take the lock.
"""

import asyncio
import contextlib
import gc
import itertools
import re
import secrets
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import msgspec
import orjson

from threadloom.codec import MESSAGES

T = TypeVar("T")

LARGE = 500_000
"""Size in bytes from which a value is read in pieces. A smaller value is read within some milliseconds."""

PIECE = 128 * 1024
"""Bytes of JSON that are parsed in one call."""

HEAVY = 20_000
"""Number of nested values from which a value is written in pieces. Each piece has about this number of values."""

DEEPEST = 1000
"""Levels of nesting of JSON that the server itself wrote. Fewer are allowed in requests."""

_DUMPED_DEPTH = 100

_SCALARS = frozenset({int, float, bool, type(None), orjson.Fragment})
_PLAIN = frozenset({dict, list, tuple})

_SMALL_ITEM = 64
"""Average size in bytes of the items of a list. Below it, locating the items costs as much as parsing them."""

_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_CLOSER_OF = {"[": "]", "{": "}"}
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_UNPAIRED = re.compile(rb"([\]}]*)([\[{]*)")
_MEMBER = re.compile(rb"[ \t\n\r]*[^]} \t\n\r]")

_readers = ThreadPoolExecutor(max_workers=2, thread_name_prefix="large-values")
"""Two threads: a large value need not wait for a larger one, and the event loop shares the global lock with few threads."""


async def aside(work: Callable[..., T], *args: Any) -> T:
    """Calls `work(*args)` on a thread for large values and returns its result. Raises what `work` raises."""
    return await asyncio.get_running_loop().run_in_executor(_readers, partial(work, *args))


class _Pause:
    """Disables the garbage collector while a large value is made. Otherwise it would scan the value again and again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            self._count += 1
            gc.disable()
        try:
            yield
        finally:
            with self._lock:
                self._count -= 1
                if not self._count:
                    # Together these two calls move all objects to the oldest generation without scanning them.
                    gc.freeze()
                    gc.unfreeze()
                    gc.enable()


collector_paused = _Pause()


# --- JSON ---


class TooDeepError(ValueError):
    """A JSON text is nested more deeply than allowed."""


def load_json(body: bytes, loads: Callable[[bytes], Any], deepest: int, piece: int = PIECE) -> Any:
    """Parses a JSON text with `loads`, piece by piece.

    The text is cut at commas. Each piece is prefixed with the brackets that are open at its beginning, and followed by the
    brackets that close what is open at its end. So each piece is a JSON text, and its parsed value is merged into the containers
    that are still open.

    Args:
        deepest: levels of nesting that are allowed.
        piece: bytes that are parsed in one call. A piece is longer where there is no comma, as in a long text.

    Raises:
        TooDeepError: the text has more levels.
        ValueError: the text is not JSON; raised by `loads`.
    """
    with collector_paused():
        reader = _Pieces(loads, deepest)
        start = 0
        while True:
            cut, brackets = _cut(body, start, piece, deepest)
            if cut < 0:
                return reader.last(body[start:])
            reader.add(body[start:cut], brackets)
            start = cut + 1


def read_json(text: bytes | str) -> Any:
    """Parses JSON that the server itself wrote (`codec.to_json`), piece by piece if it is large."""
    if len(text) < LARGE:
        return orjson.loads(text)
    return load_json(text.encode() if isinstance(text, str) else text, orjson.loads, DEEPEST)


class _Pieces:
    """The parser's state between two pieces of a JSON text.

    Args:
        loads, deepest: see `load_json`.
    """

    def __init__(self, loads: Callable[[bytes], Any], deepest: int) -> None:
        self._loads = loads
        self._deepest = deepest
        self._stack = ""
        """The open brackets."""
        self._opened: list[Any] = []
        """The containers of the open brackets. Each is, or will be, an item of the one before."""
        self._spine = secrets.token_hex()
        """The key that is put before an open container within an object at the beginning of a piece."""
        self._end = secrets.token_hex()
        """A marker at the end of the last container that a piece opened, to locate that container in the parsed value."""

    def add(self, part: bytes, brackets: bytes) -> None:
        """Parses the text up to the next comma.

        Args:
            brackets: the brackets of the piece, except those in its strings.
        """
        closers, openers = self._unpaired(brackets)
        kept = self._stack[: len(self._stack) - len(closers)]
        after = kept + openers
        if not after:
            raise ValueError("a comma behind the value")
        behind = "".join(_CLOSER_OF[opener] for opener in reversed(after))
        if openers:
            behind = (f',"{self._end}":0' if after[-1] == "{" else f',"{self._end}"') + behind
        value = self._read(part, behind)
        if not self._stack:
            self._opened = [value, *self._path(value, len(openers) - 1)]
        else:
            place = value
            for opener in kept[:-1]:
                place = place[self._spine] if opener == "{" else place[0]
            found = self._path(place, len(openers)) if openers else []
            self._merge(value)
            self._opened[len(kept) :] = found
        self._stack = after

    def last(self, part: bytes) -> Any:
        """Parses the rest of the text and returns the whole value."""
        closers, openers = self._unpaired(_outside(part).translate(None, _NOT_BRACKETS))
        if openers or len(closers) != len(self._stack):
            raise ValueError("brackets are not closed")
        value = self._read(part, "")
        if not self._stack:
            return value
        self._merge(value)
        return self._opened[0]

    def _read(self, part: bytes, behind: str) -> Any:
        if self._stack and not _MEMBER.match(part):
            raise ValueError("nothing behind a comma")
        in_front = "".join(f'{{"{self._spine}":' if opener == "{" else "[" for opener in self._stack[:-1])
        return self._loads((in_front + self._stack[-1:]).encode() + part + behind.encode())

    def _merge(self, value: Any) -> None:
        """Merges a parsed piece into the open containers."""
        for container in self._opened[:-1]:
            if isinstance(container, dict):
                inner = value.pop(self._spine)
                container.update(value)
            else:
                inner = value[0]
                container.extend(itertools.islice(value, 1, None))
            value = inner
        if isinstance(value, dict):
            self._opened[-1].update(value)
        else:
            self._opened[-1].extend(value)

    def _path(self, value: Any, depth: int) -> list[Any]:
        """Returns the containers that are open at the end of `value`, down to `depth` levels. Removes the end marker."""
        found = self._ended(value, depth)
        assert found is not None
        innermost = found[-1] if found else value
        if isinstance(innermost, dict):
            del innermost[self._end]
        else:
            innermost.pop()
        return found

    def _ended(self, value: Any, depth: int) -> list[Any] | None:
        if depth == 0:
            ended = self._end in value if isinstance(value, dict) else value[-1:] == [self._end]
            return [] if ended else None
        # The container is the last member, unless its key was in the object before.
        for inner in reversed(value.values() if isinstance(value, dict) else value):
            if isinstance(inner, dict | list) and (found := self._ended(inner, depth - 1)) is not None:
                return [inner, *found]
        return None

    def _unpaired(self, brackets: bytes) -> tuple[str, str]:
        """Returns the brackets that close earlier ones, and those that stay open."""
        paired, before = 0, b""
        rest = brackets
        while rest != before:
            if paired > self._deepest:
                raise TooDeepError
            before = rest
            rest = rest.replace(b"{}", b"").replace(b"[]", b"")
            paired += 1
        found = _UNPAIRED.fullmatch(rest)
        if found is None:
            raise ValueError("brackets do not match")
        closers, openers = found[1].decode(), found[2].decode()
        open_ones = self._stack[len(self._stack) - len(closers) :] if closers else ""
        if len(open_ones) != len(closers) or any(
            _CLOSER_OF[opener] != closer for opener, closer in zip(reversed(open_ones), closers, strict=True)
        ):
            raise ValueError("brackets do not match")
        if len(self._stack) + paired + len(openers) > self._deepest:
            levels = itertools.accumulate(map(_STEP.__getitem__, brackets), initial=len(self._stack))
            if max(levels) > self._deepest:
                raise TooDeepError
        return closers, openers


def _cut(body: bytes, start: int, piece: int, deepest: int) -> tuple[int, bytes]:
    """Returns the position of a comma outside of strings, about `piece` bytes after `start`, and the brackets before it. The
    position is -1 if the rest of the text is not larger than a piece, or has no comma.

    Raises:
        ValueError: the text is not JSON: it has more strings without a comma between them than one key and one value per level.
    """
    while start + piece < len(body):
        parts = _unescaped(body[start : start + piece]).split(b'"')
        place = start + piece
        for number in range(len(parts) - 1, -1, -1):
            place -= len(parts[number])
            if number % 2 == 0 and (comma := parts[number].rfind(b",")) >= 0:
                outside = b"".join((*parts[0:number:2], parts[number][:comma]))
                return place + comma, outside.translate(None, _NOT_BRACKETS)
            place -= 1
        if len(parts) > 4 * (deepest + 1):
            raise ValueError("no comma between strings")
        piece *= 2
    return -1, b""


def _outside(text: bytes) -> bytes:
    """Returns a JSON text without its strings."""
    return b"".join(_unescaped(text).split(b'"')[::2])


def _unescaped(text: bytes) -> bytes:
    """Returns a JSON text of the same length, without quotes inside strings."""
    return text.replace(b"\\\\", b"__").replace(b'\\"', b"__") if b"\\" in text else text


# --- freeing ---


def let_go(holder: list[Any]) -> None:
    """Frees a large JSON value piece by piece, on the thread for large values. Python would free it in one step and hold the
    global lock.

    Args:
        holder: a list with the value. Nothing else may refer to the value; parts that are referred to from elsewhere are not
            freed.
    """
    _readers.submit(_take_apart, holder)


def _take_apart(waiting: list[Any]) -> None:
    with collector_paused():
        while waiting:
            value = waiting.pop()
            if _weight(value) < HEAVY or sys.getrefcount(value) > 2:
                continue  # freed in the next step, unless something else refers to it
            if isinstance(value, dict):
                waiting.extend(value.values())
            elif isinstance(value, list):
                waiting.extend(value)


# --- writing JSON ---


async def dump_json(value: Any, dumps: Callable[[Any], bytes]) -> bytes:
    """Encodes a value with `dumps`; a large one on another thread. The value must not be changed meanwhile."""
    return await aside(write_json, value, dumps) if is_heavy(value) else dumps(value)


def is_heavy(value: Any) -> bool:
    """Returns whether a value is so large that encoding it would block the event loop for too long."""
    return _weight(value) >= HEAVY


def write_json(value: Any, dumps: Callable[[Any], bytes]) -> bytes:
    """Encodes a value with `dumps`, piece by piece if it is large."""
    parts: list[bytes] = []
    _dump(value, dumps, parts, 0)
    return b"".join(parts)


def _dump(value: Any, dumps: Callable[[Any], bytes], parts: list[bytes], depth: int) -> None:
    mapping = isinstance(value, dict)
    if depth > _DUMPED_DEPTH or not (mapping or type(value) in (list, tuple)) or _weight(value) < HEAVY:
        parts.append(dumps(value))
        return
    batch: Any = {} if mapping else []
    weight = 0
    between = b"{" if mapping else b"["

    def write_batch() -> None:
        nonlocal between, batch, weight
        if batch:
            parts.extend((between, dumps(batch)[1:-1]))
            between, batch, weight = b",", type(batch)(), 0

    for key, item in value.items() if mapping else enumerate(value):
        own = _weight(item)
        if own >= HEAVY:
            write_batch()
            parts.append(between)
            if mapping:
                parts.append(dumps({key: None})[1:-5])
            _dump(item, dumps, parts, depth + 1)
            between = b","
            continue
        if mapping:
            batch[key] = item
        else:
            batch.append(item)
        weight += own
        if weight >= HEAVY:
            write_batch()
    write_batch()
    parts.append(b"}" if mapping else b"]")


def _weight(value: Any) -> int:
    """Returns about how many values a value consists of, short texts included. Stops counting soon after `HEAVY`."""
    containers = [value]
    parts: Collection[Any]
    weight = 1
    # This runs for every response with a state. So only containers are collected, and a message costs no general look-up.
    for container in containers:  # the list grows during the loop
        kind = type(container)
        if kind is dict:
            parts = container.values()
        elif kind is list or kind is tuple:
            parts = container
        elif kind in MESSAGES:
            parts = container.__dict__.values()
        else:
            parts = _parts(container)
        weight += len(parts)
        if weight > HEAVY:
            return HEAVY
        for part in parts:
            kind = type(part)
            if kind is str:
                if len(part) >= 64:
                    weight += len(part) // 64
            elif kind not in _SCALARS and (kind not in _PLAIN or part):
                containers.append(part)
    return min(weight, HEAVY)


def _parts(value: Any) -> list[Any]:
    """Returns the parts of an object of another type, as far as they can be found cheaply."""
    if isinstance(value, Mapping):
        return list(itertools.islice(value.values(), HEAVY))
    if isinstance(value, str | bytes):
        return [None] * min(len(value) // 64, HEAVY)
    if isinstance(value, list | tuple | Set):
        return list(itertools.islice(value, HEAVY))
    return list(getattr(value, "__dict__", {}).values())


# --- msgpack ---


def load_msgpack(data: Any, loads: Callable[[Any], Any]) -> Any:
    """Parses msgpack (any buffer) with `loads`. Each item of the lists and maps of a large value is parsed by itself."""
    if len(data) < LARGE:
        return loads(data)
    with collector_paused():
        return _items(data, loads)


def _items(data: Any, loads: Callable[[Any], Any]) -> Any:
    if len(data) < LARGE:
        return loads(data)
    first = data[0]
    if first & 0xF0 in (0x80, 0x90):
        count = first & 0x0F
    elif first in (0xDC, 0xDE):
        count = int.from_bytes(data[1:3], "big")
    elif first in (0xDD, 0xDF):
        count = int.from_bytes(data[1:5], "big")
    else:
        return loads(data)
    if not count or len(data) // count < _SMALL_ITEM:
        return loads(data)
    try:
        if first & 0xF0 == 0x80 or first in (0xDE, 0xDF):
            named = msgspec.msgpack.decode(data, type=dict[str, msgspec.Raw])
            return {name: _items(memoryview(item), loads) for name, item in named.items()}
        return [_items(memoryview(item), loads) for item in msgspec.msgpack.decode(data, type=list[msgspec.Raw])]
    except msgspec.MsgspecError:  # keys that are not texts
        return loads(data)
