"""Outputs of runs: what `wait` and `join` give of a run that has ended, and how it is stored.

The output of most runs is what the thread's state shows at the run's last checkpoint, where it is stored already. A long one
is stored as a reference to that checkpoint, with the questions that the state does not show.
"""

import threading
from collections import OrderedDict

from threadloom.engine.snapshot import Snapshot

SHORTEST_REFERRED = 4096
"""Bytes of an output from which it is stored as a reference."""

RECENT_BYTES = 16 * 1024 * 1024
"""Bytes of outputs that a process holds, for those who wait for the end of a run."""

_QUESTIONS = b',"__interrupt__":'


def stored_output(output: bytes, snapshot: Snapshot | None) -> tuple[bytes, str | None]:
    """An output as it is stored: its JSON and None; or the JSON of what it has beside the values of a state, and the id of the
    root checkpoint whose state that is.

    Args:
        output: the output as JSON.
        snapshot: the thread's state at the end of the run.
    """
    if (
        snapshot is None
        or snapshot.values_json is None
        or snapshot.checkpoint_id is None
        or len(output) < SHORTEST_REFERRED
    ):
        return output, None
    values = snapshot.values_json
    if output == values:
        return b"{}", snapshot.checkpoint_id
    shared = len(values) - 1
    if values.endswith(b"}") and output.startswith(values[:-1]) and output.startswith(_QUESTIONS, shared):
        return b"{" + output[shared + 1 :], snapshot.checkpoint_id
    return output, None


def whole_output(stored: bytes, values: bytes) -> bytes:
    """The output of what `stored_output` gave, and the values of the state at the checkpoint, both JSON."""
    return values if stored == b"{}" else values[:-1] + b"," + stored[1:]


class RecentOutputs:
    """The outputs of runs that ended in this process and are stored as references, the newest. For any thread."""

    def __init__(self) -> None:
        self._outputs: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def add(self, run_id: str, output: bytes) -> None:
        with self._lock:
            self._outputs[run_id] = output
            self._bytes += len(output)
            while self._bytes > RECENT_BYTES:
                self._bytes -= len(self._outputs.popitem(last=False)[1])

    def get(self, run_id: str) -> bytes | None:
        with self._lock:
            return self._outputs.get(run_id)
