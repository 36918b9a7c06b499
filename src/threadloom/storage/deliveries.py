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

    async def insert(self, delivery: Delivery) -> None: ...

    async def get(self, delivery_id: str) -> Delivery | None: ...

    async def next_due(self, passed: Sequence[str] = ()) -> int | None:
        """When the first pending one is due, which may be over. Those of the hosts in `passed` do not count."""
        ...

    async def claim(self, worker: str, now: int, until: int, limit: int, passed: Sequence[str] = ()) -> list[Delivery]:
        """Claims up to `limit` pending ones that are due, the longest overdue first, but for those of the hosts in `passed`.
        What it costs does not grow with the number of deliveries that wait for these."""
        ...

    async def note(self, delivery: Delivery) -> bool:
        """Writes down how a try went: all that can change. It stays claimed by nobody.

        False: another claimed it since (`claims` grew), or it is gone. An earlier end of its keeping (its thread is gone)
        stays.
        """
        ...

    async def again(self, delivery_id: str, now: int, left: int) -> Delivery | None:
        """Makes one due now, with `left` tries. None: it is not there, or a try is under way."""
        ...

    async def release(self, now: int) -> None:
        """Makes all claimed ones due now: nobody is left who could hold a claim."""
        ...

    async def due_anew(self, now: int, ahead: int, until: int) -> None:
        """Makes those due now whose date was reckoned more than `ahead` after now, and lets no claim last longer than `until`."""
        ...

    async def delete_of_run(self, run_id: str, now: int) -> None:
        """Removes those of a run. One that is still pending is made first, and goes then."""
        ...

    async def delete_of_thread(self, thread_id: str, now: int) -> None:
        """Removes those of a thread, as `delete_of_run` does."""
        ...

    async def drop_expired(self, now: int) -> int:
        """Removes those whose keeping is over, and gives how many."""
        ...

    async def search(self, query: DeliveryQuery) -> Sequence[Delivery]:
        """Without their bodies."""
        ...

    async def count(self, query: DeliveryQuery) -> int:
        """How many there are, whatever `limit` and `offset` say."""
        ...
