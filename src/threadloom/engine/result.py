"""How an attempt of a run ended."""

from typing import Any, Literal

import msgspec

from threadloom.checkpointer.deferred_puts import DeferredPuts
from threadloom.engine.snapshot import Snapshot

Kind = Literal["success", "error", "timeout", "cancelled", "rolled back"]


class Result(msgspec.Struct, kw_only=True):
    """How an attempt of a run ended.

    Attributes:
        kind: `cancelled` means that the attempt was stopped from outside.
        output_json: the response of `wait`.
        snapshot: the thread's newest state; None when it could not be read or is not needed.
        refusal: why `strict_resume` refused an answer.
        deferred_puts: the attempt's deferred puts.
    """

    kind: Kind
    output_json: bytes = b"{}"
    error: dict[str, Any] | None = None
    snapshot: Snapshot | None = None
    refusal: dict[str, Any] = {}
    deferred_puts: DeferredPuts | None = None
