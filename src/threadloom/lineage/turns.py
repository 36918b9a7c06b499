"""The map of a thread: its turns as a tree, made of what is recorded of each root checkpoint (`lineage.messages`).

Each message is one turn. Two messages are alternatives at the same point if the same message is before them, and they are the
first such messages on different branches of the checkpoints (a re-run, an edit that replaces the message) or have the same id
(an edit that keeps it). Branches are told by the parents of checkpoints, never by time. A removed or trimmed message keeps
its turn.

Of a thread without messages that have ids, each checkpoint with an input is a turn.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from threadloom.lineage.messages import NO_MESSAGES

Row = int
"""The index of a checkpoint in the list of rows."""


class RootCheckpoint(msgspec.Struct, frozen=True):
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


class Turn(msgspec.Struct):
    """A message, or the input of a thread without messages.

    Attributes:
        id, role, digest: of the message; the id is None for an input.
        calls: ids of the tool calls that it makes.
        answers: the id of the tool call that it answers.
        before: the index of the turn before it.
        rows: the checkpoints that first have it, one of each branch that does. The first one is the oldest.
        siblings: the indices of the alternatives at this point, oldest first, with its own.
    """

    id: str | None
    role: str | None
    digest: str
    calls: Sequence[str]
    answers: str | None
    before: int | None
    rows: list[Row]
    siblings: Sequence[int] = ()


class _Shown:
    """The turns that a checkpoint shows: the first `length` of `turns`, a list that its descendants share and extend. -1 stands
    for an element without an id.
    """

    __slots__ = ("length", "turns")

    def __init__(self, turns: list[int], length: int) -> None:
        self.turns = turns
        self.length = length

    def all(self) -> list[int]:
        return self.turns[: self.length]

    def last(self) -> int | None:
        turns = self.turns
        for place in range(self.length - 1, -1, -1):
            if turns[place] >= 0:
                return turns[place]
        return None


_NOTHING = _Shown([], 0)

_parts = msgspec.json.Decoder(list[list[Any]]).decode


class Turns:
    """The turns of a thread.

    Args:
        rows: its root checkpoints, oldest first, each once.

    Attributes:
        turns: in the order in which they were stored. A turn comes after the one before it.
    """

    def __init__(self, rows: Sequence[RootCheckpoint]) -> None:
        self.rows = rows
        self.turns: list[Turn] = []
        self._places: dict[str, Row] = {}
        self._parents: list[Row | None] = []
        self._shown: list[_Shown] = []
        self._known: dict[tuple[int | None, str, str], int] = {}
        for row, checkpoint in enumerate(rows):
            parent = None if checkpoint.parent is None else self._places.get(checkpoint.parent)
            self._parents.append(parent)
            above = _NOTHING if parent is None else self._shown[parent]
            record = checkpoint.messages
            self._shown.append(above if record is None else self._read(row, above, _parts(record)))
            self._places[checkpoint.checkpoint_id] = row
        if not self.turns:
            self._take_inputs()
        self._find_siblings()

    # --- building ---

    def _read(self, row: Row, above: _Shown, parts: list[list[Any]]) -> _Shown:
        """Returns what a checkpoint shows, given what its parent shows."""
        first = parts[0] if parts else None
        if first is not None and len(first) == 2 and first[0] == 0 and first[1] == above.length:
            turns = above.turns if len(above.turns) == above.length else above.all()
            shown = _Shown(turns, above.length)
            before = shown.last()
            for part in parts[1:]:
                number = self._turn(row, before, part)
                turns.append(number)
                before = number if number >= 0 else before
            shown.length = len(turns)
            return shown
        return self._mixed(row, above, parts)

    def _mixed(self, row: Row, above: _Shown, parts: list[list[Any]]) -> _Shown:
        """The same for a list that is not its parent's with more messages at its end."""
        inherited = above.all()
        there = {(self.turns[number].id, self.turns[number].digest): number for number in inherited if number >= 0}
        turns: list[int] = []
        before: int | None = None
        for part in parts:
            if len(part) == 2:
                turns += inherited[part[0] : part[1]]
                before = next((number for number in reversed(turns) if number >= 0), None)
            else:
                kept = there.get((part[0], part[2]))
                number = self._turn(row, before, part) if kept is None else kept
                turns.append(number)
                before = number if number >= 0 else before
        return _Shown(turns, len(turns))

    def _turn(self, row: Row, before: int | None, entry: Sequence[Any]) -> int:
        """Returns the turn of a message that a checkpoint's parent does not have; -1 for one without an id."""
        id_, role, digest, *more = entry
        if id_ is None:
            return -1
        number = self._known.setdefault((before, id_, digest), len(self.turns))
        if number < len(self.turns):
            self.turns[number].rows.append(row)
            return number
        last = more[0] if more else ()
        calls, answers = ((), last) if isinstance(last, str) else (last, None)
        self.turns.append(Turn(id_, role, digest, calls, answers, before, [row]))
        return number

    def _take_inputs(self) -> None:
        """Makes a turn of each checkpoint with an input."""
        for row, checkpoint in enumerate(self.rows):
            parent = self._parents[row]
            above = _NOTHING if parent is None else self._shown[parent]
            if checkpoint.source == "input":
                self.turns.append(Turn(None, None, "", (), None, above.last(), [row]))
                above = _Shown([*above.all()[-1:], len(self.turns) - 1], len(above.all()[-1:]) + 1)
            self._shown[row] = above

    def _find_siblings(self) -> None:
        groups: dict[int | None, list[int]] = {}
        for number, turn in enumerate(self.turns):
            groups.setdefault(turn.before, []).append(number)
            turn.siblings = (number,)
        if len(groups) < len(self.turns):
            spans = self._spans()
            for group in groups.values():
                if len(group) > 1:
                    self._part(group, spans)

    def _part(self, group: Sequence[int], spans: Sequence[tuple[int, int]]) -> None:
        """Finds the alternatives among turns that have the same turn before them: those with the same nearest one of these turns
        on the path above them, or with the same id.
        """
        classes: dict[Any, int] = {}
        same: dict[int, int] = {}

        def root(number: int) -> int:
            while same.get(number, number) != number:
                number = same[number]
            return number

        def join(key: Any, number: int) -> None:
            one, other = root(classes.setdefault(key, number)), root(number)
            same[max(one, other)] = min(one, other)

        above: list[tuple[int, int]] = []
        places = sorted((spans[row], number) for number in group for row in self.turns[number].rows)
        for (begin, end), member in places:
            while above and above[-1][0] <= begin:
                above.pop()
            join(above[-1][1] if above else None, member)
            above.append((end, member))
        found: dict[int, list[int]] = {}
        for number in group:
            if (id_ := self.turns[number].id) is not None:
                join((id_,), number)
        for number in group:
            found.setdefault(root(number), []).append(number)
        for numbers in found.values():
            for number in numbers:
                self.turns[number].siblings = numbers

    def _spans(self) -> list[tuple[int, int]]:
        """Returns for each checkpoint a range of numbers that contains the ranges of its descendants, and no others."""
        sizes = [1] * len(self.rows)
        for row in range(len(self.rows) - 1, -1, -1):
            if (parent := self._parents[row]) is not None:
                sizes[parent] += sizes[row]
        spans: list[tuple[int, int]] = []
        free: list[int] = []
        next_root = 0
        for row, parent in enumerate(self._parents):
            if parent is None:
                begin = next_root
                next_root += sizes[row]
            else:
                begin = free[parent]
                free[parent] += sizes[row]
            spans.append((begin, begin + sizes[row]))
            free.append(begin + 1)
        return spans

    # --- reading ---

    @property
    def head(self) -> Row | None:
        """The newest checkpoint."""
        return len(self.rows) - 1 if self.rows else None

    def active(self) -> set[int]:
        """Returns the turns that the newest checkpoint shows; of a thread without messages, the inputs on its path."""
        if not self.rows:
            return set()
        found = set(self._shown[-1].all())
        if self.turns and self.turns[0].id is None:
            for number in list(found):
                before = self.turns[number].before
                while before is not None:
                    found.add(before)
                    before = self.turns[before].before
        return found - {-1}

    def after(self, turn: Turn) -> str:
        """Returns the id of the oldest checkpoint that has a turn."""
        return self.rows[turn.rows[0]].checkpoint_id

    def before(self, turn: Turn) -> str | None:
        """Returns the id of the checkpoint to fork from so that a turn is replaced. None: the thread begins with the turn.

        A message that came as input is replaced by another input at the checkpoint before; the checkpoint that LangGraph put with
        the input itself is passed over. Any other message is made again by the step that began with its checkpoint's parent.
        """
        row = turn.rows[0]
        if turn.id is not None:
            above = self._parents[row]
            if above is None:
                return None
            if self.rows[above].source != "input":
                return self.rows[above].checkpoint_id
            row = above
        parent = self._parents[row]
        if parent is not None:
            return self.rows[parent].checkpoint_id
        # The checkpoint before the input was removed: at the input, another one takes its place too.
        return None if self.rows[row].parent is None else self.rows[row].checkpoint_id

    def last_at(self, checkpoint_id: str) -> int | None:
        """Returns the last turn that a checkpoint shows; None if it shows none.

        Raises:
            KeyError: there is no such checkpoint.
        """
        return self._shown[self._places[checkpoint_id]].last()

    def find(self, message_id: str) -> int | None:
        """Returns the turn of a message: that of the newest state, or else the newest with this id; None if there is none."""
        found = [number for number, turn in enumerate(self.turns) if turn.id == message_id]
        active = self.active()
        return max(found, key=lambda number: (number in active, number), default=None)

    def opens_tool_calls(self, checkpoint_id: str) -> int | None:
        """Returns the assistant message with tool calls of which a checkpoint does not show all results, though a later one
        does; None if there is none.
        """
        shown = self._shown[self._places[checkpoint_id]].all()
        answered: set[str | None] = set()
        for number in reversed(shown):
            if number < 0:
                continue
            turn = self.turns[number]
            if turn.calls:
                missing = set(turn.calls) - answered
                results = (other.answers for other in self.turns[number:])
                return number if missing and any(answer in missing for answer in results) else None
            answered.add(turn.answers)
        return None


def unread(rows: Sequence[RootCheckpoint]) -> list[Row]:
    """Returns the checkpoints whose messages are not known from their records, because their parents were removed: by a prune, or
    with a run. Their values have to be read. The first checkpoint of a thread is none of them.
    """
    known: set[str] = set()
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
    while place is not None and (open_ := turns.opens_tool_calls(place)) is not None:
        group = turns.turns[open_]
        place = turns.before(group)
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
