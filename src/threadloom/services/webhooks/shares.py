"""Divides the attempts that a process makes at once among hosts, so that receivers which never respond do not delay others."""

from collections import Counter
from urllib.parse import urlsplit


class HostShares:
    """Counts the current attempts by host.

    A host may have at most as many attempts as there are free slots. So a single receiver gets half of all slots, two get a third
    each, and as long as there are fewer slow receivers than slots, one slot is free for another.

    Args:
        most: the number of slots.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: Counter[str] = Counter()
        self._all_taken = 0

    @property
    def free(self) -> int:
        return max(0, self._most - self._all_taken)

    def may_start(self, host: str) -> bool:
        """Returns whether an attempt at this host may begin."""
        return self._taken[host] < self.free

    def start(self, host: str) -> None:
        """Records that an attempt has begun."""
        self._taken[host] += 1
        self._all_taken += 1

    def end(self, host: str) -> None:
        """Records that an attempt has ended."""
        self._all_taken -= 1
        self._taken[host] -= 1
        if not self._taken[host]:
            del self._taken[host]

    def saturated(self) -> list[str]:
        """Returns the hosts at which no further attempt may begin now."""
        return [host for host in self._taken if not self.may_start(host)]

    def batch(self) -> int:
        """Returns how many attempts may begin if all are at one host that is not saturated; 0: no slot is free."""
        free = self.free
        most_taken = max((taken for taken in self._taken.values() if taken < free), default=0)
        return max(1, (free - most_taken) // 2) if free else 0


def host_of(url: str) -> str:
    """Returns the host of a webhook's URL; "" for a path of the server itself, and for an invalid URL."""
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""
