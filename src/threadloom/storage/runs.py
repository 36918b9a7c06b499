"""Runs in a storage."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from threadloom.storage.queue import Claim, Lease, Outlook, QueueFigures, Renewal, Standing
from threadloom.types import CancelAction, Outcome, Run, RunStatus


class Runs(Protocol):
    """Runs, their queue, and their outcomes."""

    async def insert(self, run: Run, claim: Claim | None = None) -> Run:
        """Stores a new run, sets its `order` and gives it back.

        With a claim, and where no other run of its thread is to end, it begins as if `take` had followed; what is given back is
        what `take` would have given.
        """
        ...

    async def get(self, run_id: str) -> Run | None: ...

    async def of_thread(
        self, thread_id: str, *, status: RunStatus | None = None, limit: int | None = None, offset: int = 0
    ) -> list[Run]:
        """Newest first."""
        ...

    async def active(self, thread_id: str, *, after: int = 0, limit: int | None = None) -> list[Run]:
        """Pending and running ones, oldest first; only those whose `order` is greater than `after`."""
        ...

    async def has_active(self, thread_id: str) -> bool: ...

    async def busy_threads(self) -> list[str]: ...

    async def count_active_of_user(self, user_id: str, *, besides: str | None = None) -> int:
        """How many runs of a user are still to end, those of one thread left out."""
        ...

    async def claim(
        self, worker: str, now: int, lease: int, limit: int, *, attempts: tuple[int, int | None] = (0, None)
    ) -> list[Run]:
        """Makes up to `limit` due pending runs running, each of a thread that has no other running: the smallest priority
        first, and of those the first made. Of one thread the first made goes first, whatever its priority.

        Each gets attempt + 1, a new fence and the lease. `attempts`: only those that had at least so many, and less than so
        many, attempts before. A run that was due once stays so, however clocks are set.
        """
        ...

    async def outlook(self, now: int) -> Outlook:
        """A cheap look before `claim` writes, and how long one may wait for the next."""
        ...

    async def delay_anew(self, now: int, ahead: int) -> int:
        """Begins the delay of some runs again, if it was reckoned more than `ahead` after now. Gives how many; 0: no more."""
        ...

    async def standing(self, run_id: str) -> Standing | None:
        """How a run stands, without what it was asked for."""
        ...

    async def take(self, run_id: str, worker: str, now: int, lease: int) -> Run | None:
        """Claims one pending run by id, as `claim` does. None when it is not pending."""
        ...

    async def holds(self, run_id: str, fence: int) -> bool:
        """Whether a run is running under this fence. It stays so until the transaction ends."""
        ...

    async def renew(self, held: Iterable[tuple[str, int]], lease: int) -> list[Renewal]:
        """Extends the leases of (run id, fence) pairs, as far as they are still held."""
        ...

    async def leases(self) -> list[Lease]: ...

    async def still_held(self, leases: Sequence[Lease]) -> list[Run]:
        """The runs of leases that were not renewed since, and will not be in this transaction; a portion if there are many."""
        ...

    async def set_status(self, run_id: str, status: RunStatus, *, updated_at: int, ended_at: int | None = None) -> None:
        """Sets the status; leaving `running` also ends the lease and the fence."""
        ...

    async def requeue(self, run_id: str, *, attempt: int) -> None:
        """Makes a running run pending again, in its old place; `attempt` is how many count as made."""
        ...

    async def request_cancel(self, run_id: str, action: CancelAction) -> None:
        """Writes down that a running run is to stop."""
        ...

    async def delete(self, run_id: str) -> None:
        """Removes the row; outcome and events go their own way."""
        ...

    async def delete_of_thread(self, thread_id: str) -> int:
        """Removes the rows of all runs of a thread, and gives how many there were."""
        ...

    async def put_outcome(self, outcome: Outcome) -> None: ...

    async def outcome(self, run_id: str) -> Outcome | None: ...

    async def expire_outcomes(self, thread_id: str, at: int) -> None:
        """Lets the outcomes of a thread that is about to go end at a moment."""
        ...

    async def drop_outcome(self, run_id: str) -> None: ...

    async def drop_expired_outcomes(self, now: int) -> int: ...

    async def ended_before(self, moment: int, limit: int) -> list[str]:
        """Ids of runs that ended earlier, the oldest first, but not those whose threads still wait for an answer to them."""
        ...

    async def queue(self, now: int) -> QueueFigures:
        """How many runs are still to end, and since when those wait that could begin."""
        ...
