"""Deliveries: the notifications of webhooks, kept until they are delivered."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from threadloom.storage.filters import Filter
from threadloom.types import Delivery, DeliveryStatus


class DeliveryQuery(msgspec.Struct, kw_only=True):
    """The conditions and page of a search for deliveries, the newest first.

    `threads` is the caller's filter on threads. With it, deliveries of deleted threads do not match.
    """

    threads: Filter | None = None
    run_id: str | None = None
    thread_id: str | None = None
    status: DeliveryStatus | None = None
    limit: int = 10
    offset: int = 0


class Deliveries(Protocol):
    """Deliveries. A worker claims a delivery before it makes a try. No other worker claims it until the result is stored or the
    claim ends.
    """

    async def insert(self, delivery: Delivery) -> None:
        """Stores a new delivery. Its id is not taken."""
        ...

    async def get(self, delivery_id: str) -> Delivery | None:
        """Returns a delivery with its body, or None."""
        ...

    async def next_due(self, passed: Sequence[str] = ()) -> int | None:
        """Returns when the next pending delivery is due (microseconds), which may be in the past; None if there is none.

        Args:
            passed: hosts whose deliveries are left out.
        """
        ...

    async def claim(self, worker: str, now: int, until: int, limit: int, passed: Sequence[str] = ()) -> list[Delivery]:
        """Claims at most `limit` pending deliveries that are due and not claimed, the longest overdue first.

        The cost does not grow with the number of deliveries to the hosts in `passed`.

        Args:
            worker: the name of the worker that claims.
            now: moment of the claim (microseconds).
            until: when the claim ends (microseconds).
            passed: hosts whose deliveries are left out.

        Returns:
            The deliveries with their bodies and the new number in `claims`.
        """
        ...

    async def note(self, delivery: Delivery) -> bool:
        """Stores the result of a try: status, due date, tries and expiry. The claim ends.

        Returns:
            False when another worker has claimed the delivery since (`claims` differs), or it was deleted; then nothing was
            stored. An earlier expiry that the deletion of its thread has set is kept.
        """
        ...

    async def again(self, delivery_id: str, now: int, left: int) -> Delivery | None:
        """Makes a delivery due now with `left` tries, whatever its status was.

        Returns:
            The delivery after the change; None when there is none or a try is in progress.
        """
        ...

    async def release(self, now: int) -> None:
        """Makes all claimed deliveries due now. Only for a storage that no other process uses: no claim can be valid then."""
        ...

    async def recompute_due(self, now: int, ahead: int, until: int) -> None:
        """Corrects dates after the clock was set back. Pending deliveries whose date was computed from a moment more than `ahead`
        microseconds after `now` become due now. Claims that end more than `ahead` after `until` end at `until`.
        """
        ...

    async def delete_of_run(self, run_id: str, now: int) -> None:
        """Removes the deliveries of a run. A pending delivery is still made, and expires after that."""
        ...

    async def delete_of_thread(self, thread_id: str, now: int) -> None:
        """Removes the deliveries of a thread, as `delete_of_run` does."""
        ...

    async def delete_expired(self, now: int) -> int:
        """Removes deliveries that expired at or before `now` and are not pending. Returns how many."""
        ...

    async def search(self, query: DeliveryQuery) -> Sequence[Delivery]:
        """Returns one page of deliveries, the newest first, without their bodies."""
        ...

    async def count(self, query: DeliveryQuery) -> int:
        """Returns how many deliveries match; `limit` and `offset` have no effect."""
        ...
