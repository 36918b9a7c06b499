"""What a reader sees of a tree of copies in which some threads are not readable."""

from collections.abc import Collection, Mapping
from typing import NamedTuple


class Shown(NamedTuple):
    """A thread of the tree as it is shown.

    Attributes:
        seq: the number of the thread.
        parent: the number of the thread above it in what is shown; None for a root.
        depth: the number of threads above it in what is shown.
        hidden: whether the reader may not read it.
    """

    seq: int
    parent: int | None
    depth: int
    hidden: bool


def shown_tree(parents: Mapping[int, int | None], readable: Collection[int]) -> list[Shown]:
    """Returns the part of a tree that a reader sees, in preorder: each thread follows the one above it, with its depth.

    A thread that is not readable is shown, without anything of it, only where it connects readable ones. Adjacent ones become
    one, so that nobody can count them.

    Args:
        parents: number of each thread -> number of the thread that it is a copy of. A thread comes after its parent.
        readable: the numbers of the threads that the reader may read.
    """
    stands: dict[int, int] = {}  # for each thread itself, or the first of adjacent ones that are hidden
    children: dict[int | None, list[int]] = {}
    for seq, parent in parents.items():
        above = None if parent is None else stands.get(parent)
        if above is not None and above not in readable and seq not in readable:
            stands[seq] = above
        else:
            stands[seq] = seq
            children.setdefault(above, []).append(seq)
    roots = children.get(None, [])
    kept: set[int] = set()
    for seq in reversed(list(parents)):
        below = sum(child in kept for child in children.get(seq, ()))
        # A hidden thread below a readable one connects it with a single one below.
        if seq in readable or below > 1 or (below == 1 and stands[seq] == seq and seq not in roots):
            kept.add(seq)
    found: list[Shown] = []
    waiting: list[tuple[int, int | None, int]] = [(root, None, 0) for root in reversed(roots)]
    while waiting:
        seq, parent, depth = waiting.pop()
        inner: tuple[int | None, int] = (parent, depth)
        if seq in kept:
            found.append(Shown(seq, parent, depth, seq not in readable))
            inner = (seq, depth + 1)
        waiting.extend((child, *inner) for child in reversed(children.get(seq, ())))
    return found
