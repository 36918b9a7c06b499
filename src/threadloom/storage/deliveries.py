"""Deliveries: what webhooks are to be told, kept until they were."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from threadloom.storage.filters import Filter
from threadloom.types import Delivery, DeliveryStatus


class DeliveryQuery(msgspec.Struct, kw_only=True):
    """Which deliveries, the newest first.

    `threads` is of whose threads the caller may see any; those of a thread that is gone nobody sees then.
    """

    threads: Filter | None = None
    run_id: str | None = None
    thread_id: str | None = None
    status: DeliveryStatus | None = None
    limit: int = 10
    offset: int = 0


class Deliveries(Protocol):
    """Deliveries. Whoever claims one makes a try; nobody else does until it wrote down how that went, or its claim is over."""

    async def insert(self, delivery: Delivery) -> None:
        """Stores a new delivery. Its id is not taken."""
        ...

    async def get(self, delivery_id: str) -> Delivery | None:
        """Returns a delivery with its body, or None."""
        ...

    async def next_due(self, passed: Sequence[str] = ()) -> int | None:
        """Returns when the next pending delivery is due (microseconds), which may be in the past; None if there is
        none.

        Args:
            passed: hosts whose deliveries do not count.
        """
        ...

    async def claim(self, worker: str, now: int, until: int, limit: int, passed: Sequence[str] = ()) -> list[Delivery]:
        """Claims at most `limit` pending deliveries that are due and not claimed, the longest overdue first.

        The cost does not grow with the number of deliveries to the hosts in `passed`.

        Args:
            worker: the name of who claims.
            now: moment of the claim (microseconds).
            until: when the claim ends (microseconds).
            passed: hosts whose deliveries are left out.

        Returns:
            The deliveries with their bodies and the new number in `claims`.
        """
        ...

    async def note(self, delivery: Delivery) -> bool:
        """Stores how a try went: status, due date, tries and expiry. The claim ends.

        Returns:
            False when another worker has claimed the delivery since (`claims` differs), or it is gone; nothing was
            stored then. An earlier expiry that its thread's deletion has set is kept.
        """
        ...

    async def again(self, delivery_id: str, now: int, left: int) -> Delivery | None:
        """Makes a delivery due now with `left` tries, whatever became of it before.

        Returns:
            The delivery as it is then; None when there is none or a try is under way.
        """
        ...

    async def release(self, now: int) -> None:
        """Makes all claimed deliveries due now. Only for a storage that no other process uses: nobody can hold a
        claim.
        """
        ...

    async def recompute_due(self, now: int, ahead: int, until: int) -> None:
        """Corrects dates after the clock was set back. Pending deliveries whose date was computed from a moment more
        than `ahead` microseconds after `now` become due now; claims that end more than `ahead` after `until` end at
        `until`.
        """
        ...

    async def delete_of_run(self, run_id: str, now: int) -> None:
        """Removes the deliveries of a run. One that is pending is made first, and expires then."""
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
