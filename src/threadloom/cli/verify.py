"""Compares two histories by their digests, and checks histories for damage."""

import itertools
from collections.abc import Iterator
from typing import Any

import msgspec

from threadloom.cli.client import Client, ServerRefusal
from threadloom.cli.compare import first_difference
from threadloom.cli.progress import working


class Verification(msgspec.Struct):
    """The result of `verify`.

    Attributes:
        checkpoints: how many were read of each thread.
        equal: whether the histories are equal; None if only one was read, or if it cannot be told without their bytes.
        difference: the first difference, for people; None for none.
        damage: what is not as it was stored: thread, checkpoint and what of it.
    """

    checkpoints: list[int]
    equal: bool | None = None
    difference: str | None = None
    damage: list[dict[str, str]] = msgspec.field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing is damaged, and what was to be compared is equal."""
        return not self.damage and self.difference is None

    def fields(self) -> dict[str, Any]:
        """Returns the result as JSON."""
        return {"good": self.good, **msgspec.structs.asdict(self)}

    def text(self) -> str:
        """Returns the result for people."""
        lines = [
            f"Damaged: {one['what']}\n  thread      {one['thread_id']}\n  checkpoint  {one['checkpoint_id']}"
            for one in self.damage
        ]
        if self.difference is not None:
            lines.append(self.difference)
        elif self.equal:
            lines.append("The histories are the same.")
        if len(self.checkpoints) == 1 and not self.damage:
            lines.append(f"Nothing is damaged: {self.checkpoints[0]} checkpoints were read.")
        return "\n".join(lines)


def verify(client: Client, first: str, second: str | None, *, read_bytes: bool) -> Verification:
    """Compares the histories of two threads, or reads one.

    Args:
        second: None: only the first one is read.
        read_bytes: also compute the digests from the content.

    Raises:
        ServerRefusal: there is no such thread, or the server cannot be reached.
    """
    names = [name for name in (first, second) if name is not None]
    result = Verification([0] * len(names))
    total = sum(client.get(f"/threads/{name}/storage")["checkpoints"]["count"] for name in names)
    with working("verifying") as tell:
        sides = [_digests(client, name, read_bytes, result, place) for place, name in enumerate(names)]
        for rows in itertools.zip_longest(*sides):
            tell(min(sum(result.checkpoints) / (total or 1), 1))
            if len(rows) == 2 and result.difference is None:
                result.difference = _difference(client, names, rows, max(result.checkpoints))
                if result.difference is not None and not read_bytes:
                    break
    if second is not None and not (result.difference is None and result.damage):
        result.equal = result.difference is None
    return result


def _digests(client: Client, name: str, read_bytes: bool, result: Verification, place: int) -> Iterator[dict[str, Any]]:
    """Yields the digests of a thread. Counts them and adds their damage to the result."""
    for row in client.digests(name, read_bytes=read_bytes):
        result.checkpoints[place] += 1
        for what in row["damage"]:
            result.damage.append({"thread_id": name, "checkpoint_id": row["checkpoint_id"], "what": what})
        yield row


def _difference(client: Client, names: list[str], rows: tuple[Any, ...], number: int) -> str | None:
    """Describes how the states with a number differ; None if they are equal."""
    one, other = rows
    if one is None or other is None:
        which = "first" if other is None else "second"
        return f"Only the {which} history has a checkpoint {number} (counted from the newest)."
    if one["damage"] or other["damage"]:
        return None
    for row, name in zip(rows, names, strict=True):
        if row["digest"] is None:
            raise ServerRefusal(
                f"checkpoint {row['checkpoint_id']} of thread {name} has no digest: compare with --bytes"
            )
    if one["digest"] == other["digest"]:
        return None
    place = {key: one[key] for key in ("checkpoint_ns", "checkpoint_id")}
    if place != {key: other[key] for key in place}:
        return (
            f"The histories differ in checkpoint {number} (counted from the newest):\n"
            f"  first   {_named(one)}\n  second  {_named(other)}"
        )
    states = [client.post(f"/threads/{name}/state/checkpoint", {"checkpoint": place}) for name in names]
    shown = first_difference(states[:1], states[1:])
    found = f"The histories differ in checkpoint {number} (counted from the newest): {_named(one)}"
    return found if shown is None else "\n".join([found, *shown.splitlines()[1:]])


def _named(row: dict[str, Any]) -> str:
    namespace = f" in namespace {row['checkpoint_ns']}" if row["checkpoint_ns"] else ""
    return f"{row['checkpoint_id']}{namespace}"
