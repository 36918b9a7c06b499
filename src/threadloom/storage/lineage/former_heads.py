"""Former heads and tags in the operations on histories: what shows a checkpoint or a run, and what goes with it."""

from typing import TYPE_CHECKING

from threadloom.lineage.branches import Views
from threadloom.lineage.segments import Chain
from threadloom.storage.lineage.moves import FormerHead

if TYPE_CHECKING:
    from threadloom.storage.lineage.primitives import Segments


async def forget(on: "Segments", former: FormerHead) -> None:
    """Drops a former head, and what it alone sees."""
    await on.free(await on.drop_former(former.head))


async def drop_lost_tags(on: "Segments", thread_id: str) -> None:
    """Drops the tags of checkpoints that are gone."""
    for tag in await on.tags(thread_id):
        if await on.showing(thread_id, tag.checkpoint_id) is None:
            await on.drop_tag(thread_id, tag.name)


async def shows_run(on: "Segments", chain: Chain, run_id: str, first: int, end: int) -> bool:
    """Returns whether a chain shows anything that a run put at or after `first`; pending writes before `end`."""
    if await on.run_checkpoints(chain, run_id, first):
        return True
    return any(first <= row.pos < end for row in await on.rows_after(chain, first - 1) if not row.is_checkpoint)


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
