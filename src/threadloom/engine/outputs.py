"""Outputs of runs: the responses of `wait` and `join` for a run that has ended, and how they are stored.

The output of most runs equals the thread's state at the run's last checkpoint, where it is stored already. A long output is
stored as a reference to that checkpoint, with the questions that the state does not contain.
"""

import threading
from collections import OrderedDict

from threadloom.engine.snapshot import Snapshot

SHORTEST_REFERRED = 4096
"""Bytes from which an output is stored as a reference."""

RECENT_BYTES = 16 * 1024 * 1024
"""Bytes of outputs that a process caches for clients that wait for the end of a run."""

ENTRY_BYTES = 256
"""Approximate memory in bytes that the cache needs for each output in addition."""

_QUESTIONS = b',"__interrupt__":'


def stored_output(output: bytes, snapshot: Snapshot | None) -> tuple[bytes, str | None]:
    """Returns the stored form of an output: its JSON and None; or the JSON of its part that is not in the values of a state, and
    the id of the root checkpoint with that state.

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
    """Returns the complete output from its stored form and the values of the state at the checkpoint, both JSON."""
    if stored == b"{}":
        return values
    return stored if values == b"{}" else values[:-1] + b"," + stored[1:]


class RecentOutputs:
    """The newest outputs of runs that ended in this process. Thread-safe."""

    def __init__(self) -> None:
        self._outputs: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def add(self, run_id: str, output: bytes) -> None:
        """Caches the output of a run. Called after its end is committed."""
        with self._lock:
            replaced = self._outputs.pop(run_id, None)
            if replaced is not None:
                self._bytes -= len(replaced) + ENTRY_BYTES
            self._outputs[run_id] = output
            self._bytes += len(output) + ENTRY_BYTES
            while self._bytes > RECENT_BYTES:
                self._bytes -= len(self._outputs.popitem(last=False)[1]) + ENTRY_BYTES

    def get(self, run_id: str) -> bytes | None:
        """Returns the output of a run; None if it is not cached."""
        with self._lock:
            return self._outputs.get(run_id)
