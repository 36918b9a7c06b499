"""Former heads and tags in the operations on histories: what shows a checkpoint or a run, and what goes with it."""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from threadloom.lineage.branches import Views
from threadloom.lineage.segments import Chain, segment_of
from threadloom.storage.lineage.moves import FormerHead

if TYPE_CHECKING:
    from threadloom.storage.lineage.primitives import Segments, StoredRow


async def forget(on: "Segments", former: FormerHead) -> None:
    """Drops a former head, and what it alone sees."""
    await on.free(await on.drop_former(former.head))


async def drop_lost_tags(on: "Segments", thread_id: str) -> None:
    """Drops the tags of checkpoints that are gone."""
    for tag in await on.tags(thread_id):
        if await on.showing(thread_id, tag.checkpoint_id) is None:
            await on.drop_tag(thread_id, tag.name)


class RunRows(NamedTuple):
    """What a chain shows from the first row of a run on: all rows, and the positions of those that the run put."""

    rows: "Sequence[StoredRow]"
    put: Collection[int]


async def rows_of_run(on: "Segments", chain: Chain, run_id: str, first: int, end: int) -> RunRows:
    """Returns what a run put: its checkpoints with all their pending writes, and its pending writes on other checkpoints.

    Runs of a thread never overlap. So pending writes in `[first, end)` are the run's, whatever checkpoint they are on, if they
    are in the segment that the run wrote to. In a chain that was promoted, other segments are of a thread whose runs wrote at the
    same time.

    Args:
        first: the position of the run's first row.
        end: the position of the first row of the next run.
    """
    doomed = await on.run_checkpoints(chain, run_id, first)
    ids = {(namespace, checkpoint_id) for _, namespace, checkpoint_id in doomed}
    places = {pos for pos, _, _ in doomed}
    rows = await on.rows_after(chain, min([first, *places]) - 1)
    if any(row.pos == first for row in rows):
        places.add(first)
    own = {segment_of(chain, pos) for pos in places} | {
        first
    }  # a run that begins a branch begins with the segment itself
    put = {
        row.pos
        for row in rows
        if (row.namespace, row.checkpoint_id) in ids
        or (not row.is_checkpoint and first <= row.pos < end and segment_of(chain, row.pos) in own)
    }
    return RunRows(rows, put)


async def runs_shown(on: "Segments", chain: Chain, spans: Mapping[str, int]) -> list[str]:
    """Returns those of these runs, with the positions of their first rows, of which a chain shows anything. Other rows at such
    positions are of a thread that was promoted.
    """
    if not spans:
        return []
    there = {row.pos for row in await on.rows_after(chain, min(spans.values()) - 1)} | {segment for segment, _ in chain}
    return [run for run, first in spans.items() if first in there or await on.run_checkpoints(chain, run, first)]


async def tagged_chains(on: "Segments", thread_id: str) -> tuple[list[Chain] | None, set[str]]:
    """Returns what the thread showed at each checkpoint with a tag, and the former heads that alone show such a checkpoint.

    None instead of the first: a tag is on a branch that the thread left in place.
    """
    cuts: list[Chain] = []
    pinned: set[str] = set()
    tags = await on.tags(thread_id)
    if not tags:
        return cuts, pinned
    chain = await on.chain(thread_id)
    views = Views(chain, await on.branches(chain))
    shown = views.current()
    for tag in tags:
        head = await on.showing(thread_id, tag.checkpoint_id)
        if head == thread_id and (place := await on.place(head, tag.checkpoint_id)):
            if not views.shows(shown, place[1]):
                return None, pinned
            cuts.append(views.current(place[1]))
        elif head is not None:
            pinned.add(head)
    return cuts, pinned
