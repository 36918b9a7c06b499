"""The whole users of this process's runs, in memory alone: what a user's mapping holds is never stored."""

from collections import OrderedDict
from typing import Any

from threadloom.auth.user import User

MOST = 10_000
"""Runs whose users are remembered; the oldest go first, and are shown to their graphs as what is stored of them."""


class RunUsers:
    """For whom runs are made. May be asked from any thread."""

    def __init__(self) -> None:
        self._users: OrderedDict[str, Any] = OrderedDict()

    def remember(self, run_id: str, user: Any) -> None:
        """Keeps the user of a run until the run has ended."""
        if user is None:
            return
        self._users[run_id] = user
        while len(self._users) > MOST:
            self._users.popitem(last=False)

    def forget(self, run_id: str) -> None:
        """Lets go of the user of a run that has ended."""
        self._users.pop(run_id, None)

    def of(self, run_id: str, stored: Any) -> Any:
        """The user of a run: the whole one, or one made of what is stored with the run (in another process, after a restart).

        Args:
            stored: what stands in the run's `configurable.langgraph_auth_user`.
        """
        user = self._users.get(run_id)
        if user is not None or not isinstance(stored, dict) or "identity" not in stored:
            return user
        return restored(stored)


def restored(stored: dict[str, Any]) -> User:
    """A user made of what is kept of one."""
    return User(stored["identity"], stored.get("display_name"), stored.get("permissions") or ())
