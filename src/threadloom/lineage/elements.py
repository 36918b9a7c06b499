"""Stores a version of a channel's value as instructions that build it from an earlier version.

A value is msgpack. A top-level list is split into its elements, a top-level map into its pairs of key and value, without decoding
them. Elements that both versions have are copied from the earlier one; the others are inserted. So a list that grows by one
element costs one element. The same holds for a list that is changed in the middle or trimmed at its start.

A value may also be the JSON text of an object or a list (of an event). It is split where objects begin, at any depth.
Texts that only look like such a place are split too: instructions name bytes, so any place will do that is the same in both
versions.

Version `n` of a channel builds on version `base_number(n)`. A chain of bases then has at most log2(n) links, and the n versions
of a growing list cost about n * log2(n) / 2 elements together.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Protocol

import msgpack  # type: ignore[import-untyped]
import msgspec

SMALLEST = 1024
"""Size in bytes below which a value is stored whole."""

GAIN = 2
"""Instructions are stored only if the whole value is at least this many times as long."""

_SHORTEST_COPY = 12
"""Smallest size in bytes of an element for which a copy instruction is shorter than the element."""

MOST_SHORT = 10_000
"""Largest number of elements that may be shorter than `SHORT` on average. A value with more is not split: splitting takes time
and memory for each element."""

SHORT = 32
"""Average size in bytes below which elements are short."""

OFFSET = 40
"""Approximate memory in bytes for the offset of an element."""

_LENGTHS = {0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}
"""First byte of a long list or map: how many bytes its element count has, which follows the first byte."""

_JSON_TEXTS = b'","'
"""Where JSON text is split that has few objects."""

_JSON_SPARSE = 4096
"""Average size in bytes of an element above which JSON text has few objects."""

_decode = msgspec.msgpack.Decoder(list[int | bytes]).decode


class Value:
    """The bytes of a value and the offsets of its elements.

    Attributes:
        data: the whole value.
        is_map: whether its elements are pairs of key and value.
        starts: the offset of each element, in order, and then the length of `data`. Empty if the value has no elements, has too
            many short ones, or is no valid msgpack.
        shared: with how many elements of the other version it begins. 0 without one.
    """

    __slots__ = ("data", "is_map", "shared", "starts")

    def __init__(self, data: bytes, before: "Value | None" = None) -> None:
        """Splits a value into its elements.

        Args:
            data: the value as msgpack or JSON text.
            before: another version that may begin with the same elements. Those elements are not parsed again.
        """
        self.data = data
        self.shared = 0
        self.is_map, _, width = _header(data)
        if _is_json(data):
            self.starts = _json_starts(data, before)
            return
        count = count_of(data)
        try:
            self.starts = [] if count == 0 else self._split(count, width, before)
        except (msgpack.UnpackException, ValueError):
            self.starts = []
        if self.starts and self.starts[-1] != len(data):
            self.starts = []

    def _split(self, count: int, width: int, before: "Value | None") -> list[int]:
        starts = [width]
        if before is not None and before.is_map == self.is_map and before.starts:
            shared = _common_start(self.data, width, before, count)
            self.shared = shared
            shift = width - before.starts[0]
            starts = [start + shift for start in before.starts[: shared + 1]]
        offset = starts[-1]
        unpacker = msgpack.Unpacker(max_buffer_size=len(self.data) or 1)
        unpacker.feed(self.data[offset:])
        skip, tell = unpacker.skip, unpacker.tell
        for _ in range(count - len(starts) + 1):
            skip()
            if self.is_map:
                skip()
            starts.append(offset + tell())
        return starts


def count_of(data: bytes) -> int:
    """Returns how many elements a value is split into, for JSON text at most. 0: it is not split."""
    count = _json_count(data) if _is_json(data) else _header(data)[1]
    return 0 if _is_too_fine(count, data) else count


def _is_too_fine(count: int, data: bytes) -> bool:
    """Returns whether a value has too many elements that are short."""
    return count > MOST_SHORT and len(data) < count * SHORT


def base_number(number: int) -> int:
    """Returns the number of the version that version `number` (from 1) builds on: `number` without its lowest set bit. 0: it is
    whole.
    """
    return number & (number - 1)


def encode(value: Value, base: Value) -> bytes | None:
    """Returns the instructions that build `value` from `base`; None if `value` is to be stored whole.

    Instructions are a msgpack list. Two numbers are the start and the end of bytes to copy from the base; bytes are inserted.
    """
    if len(value.data) < SMALLEST or not value.starts or not base.starts or value.is_map != base.is_map:
        return None
    first = value.starts[0]
    shared = _common_start(value.data, first, base, len(value.starts) - 1)
    start, base_start = first + base.starts[shared] - base.starts[0], base.starts[shared]
    tail = _common_end(value, start, base, shared)
    end, base_end = len(value.data) - tail, len(base.data) - tail
    parts = _Parts()
    parts.insert(value.data[:first])
    parts.copy(base.starts[0], base_start)
    if base_start == base_end:
        parts.insert(value.data[start:end])
    else:
        _middle(value, (start, end), base, (base_start, base_end), parts)
    parts.copy(base_end, len(base.data))
    instructions = parts.encode()
    return instructions if len(instructions) * GAIN <= len(value.data) else None


def apply(instructions: bytes, base: bytes) -> bytes:
    """Returns the value that the instructions build from the bytes of their base."""
    parts: list[bytes] = []
    start: int | None = None
    for part in _decode(instructions):
        if isinstance(part, bytes):
            parts.append(part)
        elif start is None:
            start = part
        else:
            parts.append(base[start:part])
            start = None
    return b"".join(parts)


def restore(chain: Sequence[bytes]) -> bytes:
    """Returns the newest version of a chain. The first item is a whole value; each other item is instructions over the one before
    it.
    """
    data = chain[0]
    for instructions in chain[1:]:
        data = apply(instructions, data)
    return data


class StoredValue(Protocol):
    """A version as it is stored: whole, or as instructions over the one with the id `base`."""

    @property
    def id(self) -> int:
        """The id of the version."""

    @property
    def base(self) -> int | None:
        """The id of the version that `data` are instructions over; None: `data` is whole."""

    @property
    def data(self) -> bytes:
        """The bytes, or the instructions."""


def whole(id_: int, stored: Mapping[int, StoredValue], known: dict[int, bytes]) -> bytes:
    """Returns a version as a whole.

    Args:
        id_: its id.
        stored: this version and all that it builds on, by their ids.
        known: versions that were restored before; those restored here are added.
    """
    chain: list[StoredValue] = []
    next_id: int | None = id_
    while next_id is not None and next_id not in known:
        chain.append(stored[next_id])
        next_id = chain[-1].base
    for version in reversed(chain):
        known[version.id] = version.data if version.base is None else apply(version.data, known[version.base])
    return known[id_]


class _Parts:
    """Collects instructions and joins adjacent ones."""

    def __init__(self) -> None:
        self._parts: list[int | bytes] = []
        self._inserted: list[bytes] = []

    def insert(self, data: bytes) -> None:
        if data:
            self._inserted.append(data)

    def copy(self, start: int, end: int) -> None:
        if start == end:
            return
        if not self._inserted and self._parts and self._parts[-1] == start:
            self._parts[-1] = end
            return
        self._flush()
        self._parts += (start, end)

    def encode(self) -> bytes:
        self._flush()
        return msgspec.msgpack.encode(self._parts)

    def _flush(self) -> None:
        if self._inserted:
            self._parts.append(b"".join(self._inserted))
            self._inserted.clear()


def _header(data: bytes) -> tuple[bool, int, int]:
    """Returns whether a value is a map, the number of its elements (0 for none), and the number of bytes before the first
    element.
    """
    kind = data[0] if data else 0
    if kind in _LENGTHS:
        width = 1 + _LENGTHS[kind]
        return kind >= 0xDE, int.from_bytes(data[1:width], "big"), width
    if kind & 0xE0 == 0x80:
        return kind < 0x90, kind & 0x0F, 1
    return False, 0, 0


def _is_json(data: bytes) -> bool:
    """Returns whether a value is JSON text: in msgpack these first bytes are numbers, of which nothing follows."""
    return len(data) > 1 and data[0] in b"{["


def _json_count(data: bytes) -> int:
    """Returns the number of objects in JSON text; of texts too, if there are few objects."""
    count = data.count(b"{")
    return count + data.count(_JSON_TEXTS) if count * _JSON_SPARSE < len(data) else count


def _json_starts(data: bytes, before: Value | None) -> list[int]:
    """Returns the offsets at which JSON text is split, and its length. What `before` begins with too is not searched again."""
    starts = [0]
    if before is not None and before.starts and before.starts[0] == 0:
        starts = before.starts[: _common_start(data, 0, before, len(before.starts) - 1) + 1]
    offset = starts.pop()
    rest = data[offset:]
    if _is_too_fine(_json_count(rest), rest) or _is_too_fine(len(starts), data):
        return []
    found = {offset, len(data)}
    end = offset
    for part, following in pairwise(rest.split(b"{")):
        end += len(part)
        if part.endswith(b","):
            found.add(end - 1)
        elif part.endswith(b"[") or (part.endswith(b":") and not following.startswith(b"}")):
            found.add(end)
        end += 1
    end = offset
    for part in rest.split(b"}]")[:-1]:
        end += len(part) + 1
        found.add(end)
        end += 1
    if len(found) * _JSON_SPARSE < len(rest):
        end = offset
        for part in rest.split(_JSON_TEXTS)[:-1]:
            end += len(part)
            found.add(end + 1)
            end += len(_JSON_TEXTS)
    return starts + sorted(found)


def _common_start(data: bytes, offset: int, base: Value, count: int) -> int:
    """Returns how many elements of the base, at most `count`, are also in the data, one after the other, from an offset on."""
    starts = base.starts
    first = starts[0]

    def differs(start: int, end: int) -> bool:
        return not data.startswith(base.data[starts[start] : starts[end]], offset + starts[start] - first)

    return _reach(min(count, len(starts) - 1), differs)


def _common_end(value: Value, start: int, base: Value, shared: int) -> int:
    """Returns the length in bytes of the last elements that value and base have in common. Elements counted by `shared` are left
    out.
    """
    starts, data, size = base.starts, value.data, len(base.data)
    most = len(starts) - 1 - shared
    while most and size - starts[-1 - most] > len(data) - start:
        most -= 1

    def differs(begin: int, end: int) -> bool:
        upto = len(data) - (size - starts[-1 - begin])
        return not data.endswith(base.data[starts[-1 - end] : starts[-1 - begin]], 0, upto)

    tail = size - starts[-1 - _reach(most, differs)]
    place = bisect_left(value.starts, len(data) - tail)
    return tail if value.starts[place] == len(data) - tail else 0


def _reach(most: int, differs: Callable[[int, int], bool]) -> int:
    """Returns the largest number, at most `most`, up to which nothing differs. Each part is compared about twice."""
    if not most or not differs(0, most):
        return most
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        if differs(low, middle):
            high = middle
        else:
            low = middle
    return low


def _middle(value: Value, span: tuple[int, int], base: Value, base_span: tuple[int, int], parts: _Parts) -> None:
    """Copies those elements of the base that are within a span of the value, in any order, and inserts the others."""
    elements = {base.data[start:end]: start for start, end in _within(base.starts, base_span)}
    for start, end in _within(value.starts, span):
        element = value.data[start:end]
        found = elements.get(element) if end - start >= _SHORTEST_COPY else None
        if found is None:
            parts.insert(element)
        else:
            parts.copy(found, found + end - start)


def _within(starts: list[int], span: tuple[int, int]) -> Sequence[tuple[int, int]]:
    """Returns start and end of each element within a span. The ends of the span need not be starts of elements: versions of JSON
    text may be split at different places.
    """
    inner = starts[bisect_right(starts, span[0]) : bisect_left(starts, span[1])]
    return list(pairwise([span[0], *inner, span[1]]))
