"""The map of a thread: its turns as a tree, made of what is recorded of each root checkpoint (`lineage.messages`).

Each message is one turn. Two messages are alternatives at the same point if the same message is before them, and they are the
first such messages on different branches of the checkpoints (a re-run, an edit that replaces the message) or have the same id
(an edit that keeps it). Branches are told by the parents of checkpoints, never by time. A removed or trimmed message keeps
its turn.

Of a thread without messages that have ids, each checkpoint with an input is a turn.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from threadloom.lineage.messages import NO_MESSAGES

Row = int
"""The index of a checkpoint in the list of rows."""


class RootCheckpoint(msgspec.Struct, frozen=True, gc=False):
    """What the map needs of a checkpoint of the root graph.

    Attributes:
        pos: its position.
        source: what LangGraph put it for: `input`, `loop`, `update` or `fork`.
        messages: the record of its messages; None if they are those of its parent.
    """

    pos: int
    checkpoint_id: str
    parent: str | None
    source: str | None
    step: int | None
    run_id: str | None
    messages: bytes | None


class Turn(msgspec.Struct, gc=False):
    """A message, or the input of a thread without messages.

    Attributes:
        id, role, digest: of the message; the id is None for an input.
        calls: ids of the tool calls that it makes, or the id of the tool call that it answers.
        before: the index of the turn before it.
        row: the oldest checkpoint that has it.
    """

    id: str | None
    role: str | None
    digest: str
    calls: Sequence[str] | str
    before: int | None
    row: Row


_parts = msgspec.json.Decoder(list[list[Any]]).decode


class Turns:
    """The turns of a thread.

    Args:
        rows: its root checkpoints, oldest first, each once.
        base: the turns of the first ones of these. Only one may be made of a base at a time.

    Attributes:
        turns: in the order in which they were stored. A turn comes after the one before it.
    """

    def __init__(self, rows: Sequence[RootCheckpoint], base: "Turns | None" = None) -> None:
        self.rows = rows
        self.turns: list[Turn] = []
        self._places: dict[str | None, Row] = {}
        self._parents: list[Row] = []
        # What a checkpoint shows are the first `_lengths` of a list of turns, which its descendants share and extend. -1 stands
        # for an element without an id.
        self._lists: list[list[int]] = []
        self._lengths: list[int] = []
        self._known: dict[tuple[int | None, str, str], int] = {}
        self._again: dict[int, list[Row]] = {}
        self._siblings: dict[int, Sequence[int]] = {}
        first = 0
        if base is not None and base.turns and base.turns[0].id is not None:
            first = len(base.rows)
            self._begin_with(base)
        places, parents, lists, lengths = self._places, self._parents, self._lists, self._lengths
        for row, checkpoint in enumerate(rows[first:], first):
            parent = places.get(checkpoint.parent, -1)
            turns, length = ([], 0) if parent < 0 else (lists[parent], lengths[parent])
            if checkpoint.messages is not None:
                turns, length = self._read(row, turns, length, _parts(checkpoint.messages))
            parents.append(parent)
            lists.append(turns)
            lengths.append(length)
            places[checkpoint.checkpoint_id] = row
        if not self.turns:
            self._take_inputs()
        self._find_siblings()

    # --- building ---

    def _begin_with(self, base: "Turns") -> None:
        self.turns = list(base.turns)
        self._places = dict(base._places)
        self._parents = list(base._parents)
        self._lists = list(base._lists)
        self._lengths = list(base._lengths)
        self._known = dict(base._known)
        self._again = {number: list(rows) for number, rows in base._again.items()}

    def _read(self, row: Row, turns: list[int], length: int, parts: list[list[Any]]) -> tuple[list[int], int]:
        """Returns what a checkpoint shows, given what its parent shows."""
        if not parts or parts[0] != [0, length]:
            return self._mixed(row, turns[:length], parts)
        if len(turns) > length:
            turns = turns[:length]
        before = turns[-1] if turns[-1] >= 0 else _last(turns, length)
        for entry in parts[1:]:
            number = self._turn(row, before, entry)
            turns.append(number)
            if number >= 0:
                before = number
        return turns, len(turns)

    def _mixed(self, row: Row, inherited: list[int], parts: list[list[Any]]) -> tuple[list[int], int]:
        """The same for a list that is not its parent's with more messages at its end."""
        there = {(self.turns[number].id, self.turns[number].digest): number for number in inherited if number >= 0}
        turns: list[int] = []
        before: int | None = None
        for part in parts:
            if len(part) == 2:
                turns += inherited[part[0] : part[1]]
                before = _last(turns, len(turns))
            else:
                kept = there.get((part[0], part[2]))
                number = self._turn(row, before, part) if kept is None else kept
                turns.append(number)
                before = number if number >= 0 else before
        return turns, len(turns)

    def _turn(self, row: Row, before: int | None, entry: Sequence[Any]) -> int:
        """Returns the turn of a message that a checkpoint's parent does not have; -1 for one without an id."""
        id_, role, digest, *calls = entry
        if id_ is None:
            return -1
        turns = self.turns
        new = len(turns)
        number = self._known.setdefault((before, id_, digest), new)
        if number == new:
            turns.append(Turn(id_, role, digest, calls[0] if calls else (), before, row))
        else:
            self._again.setdefault(number, []).append(row)
        return number

    def _take_inputs(self) -> None:
        """Makes a turn of each checkpoint with an input. A checkpoint then shows the last one on its path."""
        for row, checkpoint in enumerate(self.rows):
            parent = self._parents[row]
            shown = [] if parent < 0 else self._lists[parent]
            if checkpoint.source == "input":
                self.turns.append(Turn(None, None, "", (), shown[0] if shown else None, row))
                shown = [len(self.turns) - 1]
            self._lists[row], self._lengths[row] = shown, len(shown)

    def _find_siblings(self) -> None:
        groups: dict[int | None, list[int]] = {}
        firsts: dict[int | None, int] = {}
        for number, turn in enumerate(self.turns):
            before = turn.before
            first = firsts.setdefault(before, number)
            if first != number:
                groups.setdefault(before, [first]).append(number)
        if groups:
            spans = self._spans()
            for group in groups.values():
                self._part(group, spans)

    def _part(self, group: Sequence[int], spans: Sequence[tuple[int, int]]) -> None:
        """Finds the alternatives among turns that have the same turn before them: those with the same nearest one of these turns
        on the path above them, or with the same id.
        """
        same: dict[int, int] = {}
        classes: dict[int | str | None, int] = {}

        def root(number: int) -> int:
            while number in same:
                number = same[number]
            return number

        def join(key: int | str | None, number: int) -> None:
            one, other = root(classes.setdefault(key, number)), root(number)
            if one != other:
                same[max(one, other)] = min(one, other)

        above: list[tuple[int, int]] = []
        places = sorted((spans[row], member) for member in group for row in self._rows_of(member))
        for (begin, end), number in places:
            while above and above[-1][0] <= begin:
                above.pop()
            join(above[-1][1] if above else None, number)
            above.append((end, number))
        found: dict[int, list[int]] = {}
        for member in group:
            if (id_ := self.turns[member].id) is not None:
                join(id_, member)
        for member in group:
            found.setdefault(root(member), []).append(member)
        for members in found.values():
            self._siblings.update(dict.fromkeys(members, members))

    def _rows_of(self, number: int) -> Sequence[Row]:
        """Returns the checkpoints that first have a turn, one of each branch that does."""
        return [self.turns[number].row, *self._again.get(number, ())]

    def _spans(self) -> list[tuple[int, int]]:
        """Returns for each checkpoint a range of numbers that contains the ranges of its descendants, and no others."""
        parents = self._parents
        sizes = [1] * len(parents)
        for row in range(len(parents) - 1, -1, -1):
            if parents[row] >= 0:
                sizes[parents[row]] += sizes[row]
        spans: list[tuple[int, int]] = []
        free: list[int] = []
        next_root = 0
        for row, parent in enumerate(parents):
            if parent < 0:
                begin = next_root
                next_root += sizes[row]
            else:
                begin = free[parent]
                free[parent] += sizes[row]
            spans.append((begin, begin + sizes[row]))
            free.append(begin + 1)
        return spans

    # --- reading ---

    def siblings(self, number: int) -> Sequence[int]:
        """Returns the alternatives at the point of a turn, oldest first, with the turn itself."""
        return self._siblings.get(number) or (number,)

    def active(self) -> set[int]:
        """Returns the turns that the newest checkpoint shows; of a thread without messages, the inputs on its path."""
        found = set(self._shown(len(self.rows) - 1)) if self.rows else set()
        if self.turns and self.turns[0].id is None:
            for number in list(found):
                before = self.turns[number].before
                while before is not None:
                    found.add(before)
                    before = self.turns[before].before
        return found

    def _shown(self, row: Row) -> list[int]:
        return [number for number in self._lists[row][: self._lengths[row]] if number >= 0]

    def after(self, turn: Turn) -> str:
        """Returns the id of the oldest checkpoint that has a turn."""
        return self.rows[turn.row].checkpoint_id

    def before(self, turn: Turn) -> str | None:
        """Returns the id of the checkpoint to fork from so that a turn is replaced. None: no checkpoint is before it.

        A message that came as input is replaced by another input at the checkpoint before. The checkpoint that LangGraph put with
        the input itself is passed over, unless it is the thread's first one, where another input takes its place too. Any other
        message is made again by the step that began with its checkpoint's parent.
        """
        rows, parents = self.rows, self._parents
        row = turn.row
        if turn.id is not None:
            above = parents[row]
            if above < 0:
                # The parent was removed, but another checkpoint may end with the message before.
                last = None if turn.before is None else self.turns[turn.before].row
                return None if last is None or last == row else rows[last].checkpoint_id
            if rows[above].source != "input":
                return rows[above].checkpoint_id
            row = above
        return rows[parents[row] if parents[row] >= 0 else row].checkpoint_id

    def is_first(self, checkpoint_id: str) -> bool:
        """Returns whether a checkpoint is the one with the first input of the thread: nothing is before that."""
        row = self._places[checkpoint_id]
        return self.rows[row].parent is None and self.rows[row].source == "input" and not self._lengths[row]

    def last_at(self, checkpoint_id: str) -> int | None:
        """Returns the last turn that a checkpoint shows; None if it shows none.

        Raises:
            KeyError: there is no such checkpoint.
        """
        row = self._places[checkpoint_id]
        return _last(self._lists[row], self._lengths[row])

    def find(self, message_id: str) -> int | None:
        """Returns the turn of a message: that of the newest state, or else the newest with this id; None if there is none."""
        found = [number for number, turn in enumerate(self.turns) if turn.id == message_id]
        active = self.active()
        return max(found, key=lambda number: (number in active, number), default=None)

    def open_calls(self, checkpoint_id: str) -> int | None:
        """Returns the assistant message with tool calls of which a checkpoint does not show all results, though a later one
        does; None if there is none.
        """
        answered: set[str] = set()
        for number in reversed(self._shown(self._places[checkpoint_id])):
            calls = self.turns[number].calls
            if isinstance(calls, str):
                answered.add(calls)
            elif calls:
                missing = set(calls) - answered
                results = (turn.calls for turn in self.turns[number:])
                return number if any(isinstance(call, str) and call in missing for call in results) else None
        return None


def _last(turns: list[int], length: int) -> int | None:
    """Returns the last turn among the first of a list."""
    for place in range(length - 1, -1, -1):
        if turns[place] >= 0:
            return turns[place]
    return None


def unread(rows: Sequence[RootCheckpoint], before: Collection[str] = ()) -> list[Row]:
    """Returns the checkpoints whose messages are not known from their records, because their parents were removed: by a prune, or
    with a run. Their values have to be read. The first checkpoint of a thread is none of them.

    Args:
        before: the ids of checkpoints whose messages are known.
    """
    known: set[str | None] = set(before)
    found: list[Row] = []
    for row, checkpoint in enumerate(rows):
        if checkpoint.parent not in known and not _is_whole(checkpoint):
            found.append(row)
        known.add(checkpoint.checkpoint_id)
    return found


def _is_whole(checkpoint: RootCheckpoint) -> bool:
    if checkpoint.messages is None:
        return checkpoint.parent is None and checkpoint.source == "input" and checkpoint.step == -1
    return checkpoint.messages == NO_MESSAGES or all(len(part) > 2 for part in _parts(checkpoint.messages))


class Cut(msgspec.Struct, frozen=True):
    """Where a thread is cut at a message.

    Attributes:
        checkpoint_id: the last checkpoint before the cut. None: nothing is before it.
        namespace: of the checkpoint; `""`, the root graph.
        moved: whether the cut was moved to before `group`.
        message_role: the role of the message.
        at: `before` or `after` the message, as asked for or by default.
        shown_at: a checkpoint whose state has the message.
        group: id of the assistant message with the tool calls that the cut would have separated from their results.
    """

    checkpoint_id: str | None
    namespace: str
    moved: bool
    message_role: str | None
    at: str
    shown_at: str
    group: str | None = None


def cut(turns: Turns, message_id: str, at: str | None) -> Cut | None:
    """Returns where a thread is cut at a message. None if no checkpoint has the message.

    A cut never separates tool calls from their results: it is moved to before the message that makes the calls.

    Args:
        at: `before` or `after` the message. None: before a human message, after any other.
    """
    number = turns.find(message_id)
    if number is None:
        return None
    turn = turns.turns[number]
    at = at or ("before" if turn.role == "human" else "after")
    shown_at = turns.after(turn)
    place = turns.before(turn) if at == "before" else shown_at
    group: Turn | None = None
    while place is not None and (open_ := turns.open_calls(place)) is not None:
        group = turns.turns[open_]
        place = turns.before(group)
    if place is not None and turns.is_first(place):
        place = None
    return Cut(place, "", group is not None, turn.role, at, shown_at, None if group is None else group.id)


def copies_by_turn(turns: Turns, copies: Mapping[str, str | None]) -> tuple[dict[int, list[str]], list[str]]:
    """Assigns each copy to the turn after which it left.

    Args:
        copies: the newest root checkpoint that each copy has of the thread, by the id of the copy.

    Returns:
        The copies of each turn, and those that left before the first turn, or at a checkpoint that was removed.
    """
    found: dict[int, list[str]] = {}
    rest: list[str] = []
    for thread_id, checkpoint_id in copies.items():
        try:
            number = None if checkpoint_id is None else turns.last_at(checkpoint_id)
        except KeyError:
            number = None
        (rest if number is None else found.setdefault(number, [])).append(thread_id)
    return found, rest
