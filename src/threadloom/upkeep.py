"""What can be done to the data beside a server: the storage's own means, chosen here as `wiring` chooses it for serving.

Apart from `wiring` because it needs nothing of a server, and a command line that waits for one to be imported is slow.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from threadloom.storage.sqlite.care import (
    FILE,
    Held,
    apply_requests,
    backup,
    check,
    locked,
    request_restore,
    request_vacuum,
    requests,
)

if TYPE_CHECKING:
    from threadloom.config import Settings

__all__ = [
    "FILE",
    "Held",
    "apply_requests",
    "backup",
    "check",
    "locked",
    "rekey",
    "request_restore",
    "request_vacuum",
    "requests",
]


def rekey(settings: "Settings", progress: Callable[[float], None]) -> int:
    """Seals all content anew with the key of the settings, and gives how many places changed. Without a key, but with an old
    one, all is left in clear. No server may use the data meanwhile.

    Raises:
        ConfigError: the content is sealed with a key that is not given. Nothing was changed.
        StartError: somebody uses the data.
        UndecipherableError: something cannot be opened.
    """
    from threadloom.encryption import rekey as work
    from threadloom.encryption.keys import keys_of
    from threadloom.storage.sqlite import SqliteStorage

    async def all_of_it() -> int:
        storage = SqliteStorage(settings.data)
        await storage.open()
        try:
            return await work.rekey(storage, keys_of(settings), progress)
        finally:
            await storage.close()

    return asyncio.run(all_of_it())
