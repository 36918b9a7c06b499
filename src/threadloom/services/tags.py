"""Tags: names for checkpoints of a thread. A request may name a checkpoint by a tag wherever it may name it by its id.

`checkpoint_named` is the only place where a tag is looked up. An id, which is a UUID, costs no query.

See docs/contract/repository.md#tags.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import UNSET

from threadloom.auth.authorize import Guard
from threadloom.clock import Clock
from threadloom.errors import ApiError, Conflict, NotFound
from threadloom.services.permission import known_thread
from threadloom.services.requests import TagPut, is_tag_name
from threadloom.storage.base import Storage, Tx
from threadloom.storage.lineage import Tag
from threadloom.types import Caller

MOST_TAGS = 100
"""The largest number of tags of a thread: a prune keeps the state at each of them."""


async def checkpoint_named(tx: Tx, thread_id: str, text: str, *, unknown: type[ApiError] = NotFound) -> str:
    """Returns the id of the checkpoint that a request names by its id or by a tag.

    A text that can be neither is returned as it is: there is no such checkpoint.

    Args:
        unknown: the class of the error for a tag that does not exist.

    Raises:
        ApiError: of class `unknown`; there is no tag of this name. (A checkpoint of an import may have an id that is no UUID:
            then there is no error.)
    """
    if not is_tag_name(text):
        return text
    tag = await tx.lineage.tag(thread_id, text)
    if tag is not None:
        return tag.checkpoint_id
    if await tx.lineage.history(thread_id, checkpoint_id=text, limit=1):
        return text
    raise unknown(f"Tag {text} not found")


async def with_checkpoint(storage: Storage, thread_id: str, place: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the fields that name a checkpoint, with an id instead of a tag in `checkpoint_id`. Raises as `checkpoint_named`."""
    named = place.get("checkpoint_id")
    if not isinstance(named, str) or not is_tag_name(named):
        return place
    return {**place, "checkpoint_id": await storage.read(lambda tx: checkpoint_named(tx, thread_id, named))}


class TagService:
    """Sets, lists and deletes the tags of threads."""

    def __init__(self, *, storage: Storage, guard: Guard, clock: Clock) -> None:
        self._storage = storage
        self._guard = guard
        self._clock = clock

    async def put(self, caller: Caller, thread_id: str, name: str, request: TagPut) -> Tag:
        """Sets a tag at a root checkpoint, by default the newest one. It may also be one that only a former head shows.

        Raises:
            NotFound: there is no such thread, or no such checkpoint.
            Conflict: the tag exists and is not to be moved, the thread has no checkpoint, or has too many tags.
        """
        rule = await self._guard.ask(caller, "threads", "update", {"thread_id": thread_id})
        now = self._clock.now()

        async def work(tx: Tx) -> Tag:
            await known_thread(tx, thread_id, rule)
            existing = await tx.lineage.tag(thread_id, name)
            if existing is not None and request.if_exists == "raise":
                raise Conflict(f"Tag {name} already exists")
            if existing is None and len(await tx.lineage.tags(thread_id)) >= MOST_TAGS:
                raise Conflict(f"Thread with ID {thread_id} has {MOST_TAGS} tags, which is the limit")
            made = now if existing is None else existing.created_at
            tag = Tag(name, await self._checkpoint(tx, thread_id, request), made, now)
            await tx.lineage.set_tag(thread_id, tag)
            return tag

        return await self._storage.write(work)

    async def list(self, caller: Caller, thread_id: str) -> list[Tag]:
        """Returns the tags of a thread, by name. Raises NotFound for an unknown thread."""
        rule = await self._guard.ask(caller, "threads", "read", {"thread_id": thread_id})

        async def work(tx: Tx) -> list[Tag]:
            await known_thread(tx, thread_id, rule)
            return await tx.lineage.tags(thread_id)

        return await self._storage.read(work)

    async def delete(self, caller: Caller, thread_id: str, name: str) -> None:
        """Deletes a tag. Its checkpoint stays. Raises NotFound if there is no such thread, or no such tag."""
        rule = await self._guard.ask(caller, "threads", "update", {"thread_id": thread_id})

        async def work(tx: Tx) -> None:
            await known_thread(tx, thread_id, rule)
            if not await tx.lineage.drop_tag(thread_id, name):
                raise NotFound(f"Tag {name} not found")

        await self._storage.write(work)

    async def _checkpoint(self, tx: Tx, thread_id: str, request: TagPut) -> str:
        if request.checkpoint_id is UNSET:
            newest = await tx.lineage.latest(thread_id, "")
            if newest is None:
                raise Conflict(f"Thread with ID {thread_id} has no checkpoint")
            return newest.checkpoint_id
        checkpoint_id = await checkpoint_named(tx, thread_id, request.checkpoint_id)
        if await tx.lineage.showing(thread_id, checkpoint_id) is None:
            raise NotFound(f"Checkpoint {checkpoint_id} not found")
        return checkpoint_id
