"""Limits per user: the number of active runs and of open event streams.

Without auth all callers are one user. With auth, calls from inside the process have no user and no limit. Runs are counted in the
database, so the count includes all processes and survives a restart. Streams are counted by the process that sends them.
"""

import threading
from collections import Counter

from threadloom.config.settings import LimitSettings
from threadloom.errors import TooMany
from threadloom.storage.base import Tx
from threadloom.types import Caller, MultitaskStrategy


class Limits:
    """Enforces the limits of the settings.

    Args:
        per_user: whether users are known (auth).
    """

    def __init__(self, settings: LimitSettings, *, per_user: bool = False) -> None:
        self.apply_settings(settings, per_user=per_user)
        self._streams: Counter[str] = Counter()
        self._lock = threading.Lock()

    def apply_settings(self, settings: LimitSettings, *, per_user: bool) -> None:
        """Replaces the settings."""
        self._settings = settings
        self._per_user = per_user

    def _most(self, caller: Caller, setting: int | None) -> int | None:
        """Returns the value of a setting for a caller; None: no limit."""
        return None if self._per_user and caller.trusted and not caller.user_id else setting

    async def admit_run(self, tx: Tx, caller: Caller, thread_id: str, strategy: MultitaskStrategy) -> None:
        """Checks that the caller may create a run on a thread. Runs that it will replace there are not counted.

        Raises:
            TooMany: the caller has reached the limit.
        """
        most = self._most(caller, self._settings.runs_per_user)
        if most is None:
            return
        replaced = thread_id if strategy in ("interrupt", "rollback") else None
        if await tx.runs.count_active_of_user(caller.user_id, besides=replaced) >= most:
            raise TooMany(
                f"You have {most} runs that have not ended, and may not have more (threadloom.limits.runs_per_user)"
            )

    def open_stream(self, caller: Caller) -> "StreamSlot":
        """Reserves a slot for a stream. Close the slot when the stream is closed.

        Raises:
            TooMany: the caller has reached the limit.
        """
        most, user = self._most(caller, self._settings.streams_per_user), caller.user_id
        with self._lock:
            if most is not None and self._streams[user] >= most:
                raise TooMany(
                    f"You have {most} open streams, and may not have more (threadloom.limits.streams_per_user)"
                )
            self._streams[user] += 1
        return StreamSlot(self, user)

    def _leave(self, user: str) -> None:
        with self._lock:
            self._streams[user] -= 1
            if not self._streams[user]:
                del self._streams[user]


class StreamSlot:
    """One of the open streams that a user may have. Released by `close`, or when no reference to it is left."""

    def __init__(self, limits: Limits, user: str) -> None:
        self._limits: Limits | None = limits
        self._user = user

    def close(self) -> None:
        """Releases the slot. Further calls do nothing."""
        limits, self._limits = self._limits, None
        if limits is not None:
            limits._leave(self._user)

    def __del__(self) -> None:
        self.close()
