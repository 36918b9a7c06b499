"""What can be done to the data beside a server: the storage's own means, chosen here as `wiring` chooses it for serving.

Apart from `wiring` because it needs nothing of a server, and a command line that waits for one to be imported is slow.
"""

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

__all__ = [
    "FILE",
    "Held",
    "apply_requests",
    "backup",
    "check",
    "locked",
    "request_restore",
    "request_vacuum",
    "requests",
]
