"""How much one user may have at once: runs that are still to end, and open event streams.

Without auth everybody is one user. With it, calls from inside the process have no user and no limit. Runs are counted in the
database, so that all processes count together and a restart forgets none; streams are counted by the process that sends them.
"""

import threading
from collections import Counter

from threadloom.config.settings import LimitSettings
from threadloom.errors import TooMany
from threadloom.storage.base import Tx
from threadloom.types import Caller, MultitaskStrategy


class Limits:
    """Keeps users within what the settings allow.

    Args:
        told_apart: whether users are known (auth).
    """

    def __init__(self, settings: LimitSettings, *, per_user: bool = False) -> None:
        self.apply_settings(settings, per_user=per_user)
        self._streams: Counter[str] = Counter()
        self._lock = threading.Lock()

    def apply_settings(self, settings: LimitSettings, *, per_user: bool) -> None:
        """Follows these settings from now on."""
        self._settings = settings
        self._per_user = per_user

    def _most(self, caller: Caller, setting: int | None) -> int | None:
        """What a setting means for a caller; None: any number."""
        return None if self._per_user and caller.trusted and not caller.user_id else setting

    async def admit_run(self, tx: Tx, caller: Caller, thread_id: str, strategy: MultitaskStrategy) -> None:
        """Lets a run be made on a thread. Those that it is to replace there do not count.

        Raises:
            TooMany: the caller has as many as may be.
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
        """Lets a stream be opened; the place is to be given back when it is closed.

        Raises:
            TooMany: the caller has as many as may be.
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
    """A place among a user's open streams, until it is closed or nobody holds it any more."""

    def __init__(self, limits: Limits, user: str) -> None:
        self._limits: Limits | None = limits
        self._user = user

    def close(self) -> None:
        """Gives the place back; again does nothing."""
        limits, self._limits = self._limits, None
        if limits is not None:
            limits._leave(self._user)

    def __del__(self) -> None:
        self.close()
