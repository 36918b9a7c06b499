"""How an attempt of a run ended."""

from typing import Any, Literal

import msgspec

from threadloom.checkpointer.deferred_puts import DeferredPuts
from threadloom.engine.snapshot import Snapshot

Kind = Literal["success", "error", "timeout", "cancelled", "rolled back"]


class Result(msgspec.Struct, kw_only=True):
    """How an attempt ended.

    `output_json` is what `wait` answers. `snapshot` is what the thread looks like now; None when it could not be read or
    is not needed. A `cancelled` attempt was stopped from outside. `refusal` is why `strict_resume` refused an answer.
    `deferred_puts` holds what it put and did not wait for.
    """

    kind: Kind
    output_json: bytes = b"{}"
    error: dict[str, Any] | None = None
    snapshot: Snapshot | None = None
    refusal: dict[str, Any] = {}
    deferred_puts: DeferredPuts | None = None
