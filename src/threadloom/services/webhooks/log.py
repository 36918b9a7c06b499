"""The log of deliveries: what was sent to webhooks, when, and the responses. Deliveries can be repeated."""

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
    """Reads and repeats deliveries. A caller who may read a thread may read its deliveries.

    Args:
        guard: authorizes callers.
    """

    def __init__(self, *, storage: Storage, guard: Guard, clock: Clock, webhooks: WebhookSender) -> None:
        self._storage = storage
        self._guard = guard
        self._clock = clock
        self._webhooks = webhooks

    async def search(self, caller: Caller, query: DeliveryQuery) -> tuple[Sequence[Delivery], int | None, int]:
        """Returns a page of deliveries without their bodies, the offset of the next page (None on the last), and the total
        number.
        """
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
        """Returns one delivery, with its body.

        Raises:
            NotFound: there is no such delivery (any more).
        """
        found = await self._storage.read(lambda tx: tx.deliveries.get(delivery_id))
        if found is None or not await self._may(caller, found.thread_id, "read"):
            raise missing(delivery_id)
        return found

    async def redeliver(self, caller: Caller, delivery_id: str) -> Delivery:
        """Restarts a delivery from its first attempt, under the same id, whatever its status was.

        Raises:
            NotFound: as `get`.
            Conflict: an attempt is being made.
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
        """Returns whether the caller has a permission on a thread. If the thread was deleted, a caller with a filter has no
        permission.
        """
        rule = await self._guard.ask(caller, "threads", action, {"thread_id": thread_id})
        return rule is None or await self._storage.read(lambda tx: visible_thread(tx, thread_id, rule)) is not None


def missing(delivery_id: str) -> NotFound:
    """Returns the error for a delivery that does not exist."""
    return NotFound(f"Delivery with ID {delivery_id} not found")
