"""An open stream of events, whose reader has a place among those that a user may have."""

from collections.abc import AsyncGenerator, Sequence

from threadloom.broker.base import Follower
from threadloom.services.limits import StreamSlot
from threadloom.types import Event


class OpenStream:
    """Events of one run or of a thread, in batches as they come.

    Iterate it once, and close it when the reader is gone: that is how `on_disconnect` learns of it. `ids` tells whether
    the reader is to be given the events' ids.
    """

    def __init__(
        self, batches: AsyncGenerator[Sequence[Event], None], slot: StreamSlot, follower: Follower | None, *, ids: bool
    ) -> None:
        self._batches = batches
        self._slot = slot
        self._follower = follower
        self.ids = ids

    def __aiter__(self) -> "OpenStream":
        return self

    async def __anext__(self) -> Sequence[Event]:
        return await self._batches.__anext__()

    async def aclose(self) -> None:
        self._slot.close()
        await self._batches.aclose()
        if self._follower is not None:
            self._follower.close()  # batches that were never begun close nothing
