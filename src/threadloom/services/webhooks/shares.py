"""Fair shares of the tries that a process makes at once, so that receivers which never answer keep nobody else waiting."""

from collections import Counter
from urllib.parse import urlsplit


class HostShares:
    """Tries under way, by host.

    A host may have as many as places are free. So one receiver alone gets half of all places, two get a third each, and as long
    as there are fewer slow receivers than places, one is free for another.

    Args:
        most: how many there are in all.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: Counter[str] = Counter()
        self._all_taken = 0

    @property
    def free(self) -> int:
        return max(0, self._most - self._all_taken)

    def may_start(self, host: str) -> bool:
        """Whether a try at this host may begin."""
        return self._taken[host] < self.free

    def start(self, host: str) -> None:
        """A try has begun."""
        self._taken[host] += 1
        self._all_taken += 1

    def end(self, host: str) -> None:
        """A try has ended."""
        self._all_taken -= 1
        self._taken[host] -= 1
        if not self._taken[host]:
            del self._taken[host]

    def saturated(self) -> list[str]:
        """The hosts at which no further try may begin now."""
        return [host for host in self._taken if not self.may_start(host)]

    def batch(self) -> int:
        """How many tries may begin at hosts that are not saturated, if all of them are at one host; 0: none is free."""
        free = self.free
        most_taken = max((taken for taken in self._taken.values() if taken < free), default=0)
        return max(1, (free - most_taken) // 2) if free else 0


def host_of(url: str) -> str:
    """The host of a webhook's URL; "" for a path of the server's own, and for what is no URL."""
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""
