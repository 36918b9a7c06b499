"""The log of deliveries: what webhooks were told, when, and what they answered; and telling them again."""

from collections.abc import Sequence

from threadloom.clock import Clock
from threadloom.errors import Conflict, NotFound
from threadloom.services.webhooks.delivery import Webhooks
from threadloom.storage.base import Storage, Tx
from threadloom.storage.deliveries import DeliveryQuery
from threadloom.types import Caller, Delivery


class DeliveryService:
    """Deliveries, found and made again."""

    def __init__(self, *, storage: Storage, clock: Clock, webhooks: Webhooks) -> None:
        self._storage = storage
        self._clock = clock
        self._webhooks = webhooks

    async def search(self, caller: Caller, query: DeliveryQuery) -> tuple[Sequence[Delivery], int | None, int]:
        """A page of deliveries without their bodies, the offset of the next page (None on the last), and how many there are."""

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
        if found is None:
            raise missing(delivery_id)
        return found

    async def redeliver(self, caller: Caller, delivery_id: str) -> Delivery:
        """Makes a delivery again from its first try, under the same id, whatever became of it before.

        Raises:
            NotFound: as `get`.
            Conflict: a try is under way.
        """
        await self.get(caller, delivery_id)
        now = self._clock.now()
        delivery = await self._storage.write(lambda tx: tx.deliveries.again(delivery_id, now, self._webhooks.tries))
        if delivery is None:
            raise Conflict(f"Delivery {delivery_id} is under way")
        self._webhooks.wake()
        return delivery


def missing(delivery_id: str) -> NotFound:
    """What is said of a delivery that is not there."""
    return NotFound(f"Delivery with ID {delivery_id} not found")
