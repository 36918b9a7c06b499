"""The log of deliveries: what webhooks were told, when, and what they answered; and telling them again."""

from collections.abc import Sequence
from typing import Any, Literal

from threadloom.auth.authorize import Guard
from threadloom.clock import Clock
from threadloom.errors import Conflict, NotFound
from threadloom.services.permission import visible_thread
from threadloom.services.webhooks.delivery import WebhookSender
from threadloom.storage.base import Storage, Tx
from threadloom.storage.deliveries import DeliveryQuery
from threadloom.types import Caller, Delivery


class DeliveryService:
    """Deliveries, found and made again. Whoever may read a thread may know of its deliveries.

    Args:
        guard: what callers may do.
    """

    def __init__(self, *, storage: Storage, guard: Guard, clock: Clock, webhooks: WebhookSender) -> None:
        self._storage = storage
        self._guard = guard
        self._clock = clock
        self._webhooks = webhooks

    async def search(self, caller: Caller, query: DeliveryQuery) -> tuple[Sequence[Delivery], int | None, int]:
        """A page of deliveries without their bodies, the offset of the next page (None on the last), and how many there are."""
        value: dict[str, Any] = {
            "thread_id": query.thread_id,
            "metadata": {},
            "limit": query.limit,
            "offset": query.offset,
        }
        query.threads = await self._guard.ask(caller, "threads", "search", value)

        async def work(tx: Tx) -> tuple[Sequence[Delivery], int]:
            return await tx.deliveries.search(query), await tx.deliveries.count(query)

        found, total = await self._storage.read(work)
        following = query.offset + len(found)
        return found, following if found and following < total else None, total

    async def get(self, caller: Caller, delivery_id: str) -> Delivery:
        """One delivery, with its body.

        Raises:
            NotFound: there is none, or not any more.
        """
        found = await self._storage.read(lambda tx: tx.deliveries.get(delivery_id))
        if found is None or not await self._may(caller, found.thread_id, "read"):
            raise missing(delivery_id)
        return found

    async def redeliver(self, caller: Caller, delivery_id: str) -> Delivery:
        """Makes a delivery again from its first try, under the same id, whatever became of it before.

        Raises:
            NotFound: as `get`.
            Conflict: a try is under way.
        """
        found = await self.get(caller, delivery_id)
        if not await self._may(caller, found.thread_id, "update"):
            raise missing(delivery_id)
        now = self._clock.now()
        delivery = await self._storage.write(lambda tx: tx.deliveries.again(delivery_id, now, self._webhooks.tries))
        if delivery is None:
            raise Conflict(f"Delivery {delivery_id} is under way")
        self._webhooks.wake()
        return delivery

    async def _may(self, caller: Caller, thread_id: str, action: Literal["read", "update"]) -> bool:
        """Whether the caller may do something to a thread; to one that is gone, nobody may of whom more is asked than that."""
        rule = await self._guard.ask(caller, "threads", action, {"thread_id": thread_id})
        return rule is None or await self._storage.read(lambda tx: visible_thread(tx, thread_id, rule)) is not None


def missing(delivery_id: str) -> NotFound:
    """What is said of a delivery that is not there."""
    return NotFound(f"Delivery with ID {delivery_id} not found")
