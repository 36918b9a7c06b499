"""The thread whose copies are counted: it shows a state of 20 kB, and each of its checkpoints has a value of its own."""

from tests.clocks import ManualClock
from threadloom.auth.authorize import OPEN
from threadloom.services.copying import CopyService
from threadloom.services.requests.threads import CutCheckpoint
from threadloom.storage.lineage import Blob, CheckpointPut
from threadloom.types import Thread


def thread(name):
    return Thread(
        thread_id=name,
        created_at=1,
        updated_at=1,
        state_updated_at=1,
        metadata={"graph_id": "g"},
        values_json=b'"' + b"v" * 20_000 + b'"',
        interrupts_json=b"{}",
    )


def checkpoint(storage, name, checkpoint_id, parent):
    blob = Blob(storage.new_blob_id(), "bytes", b"b" * 50)
    return CheckpointPut(
        thread_id=name,
        namespace="",
        checkpoint_id=checkpoint_id,
        parent=parent,
        body_type="json",
        body=b"{}",
        refs={"messages": blob.id},
        blobs=[blob],
        meta=b"{}",
    )


INNER = "inner:1"


def inner_checkpoint(storage, name, root):
    """A checkpoint of a subgraph that was put under a root checkpoint."""
    put = checkpoint(storage, name, f"{root}-inner", None)
    put.namespace, put.meta = INNER, b'{"parents":{"":"%s"}}' % root.encode()
    return put


def inside(root):
    """The option of a copy that ends at `inner_checkpoint`."""
    return {"checkpoint": CutCheckpoint(checkpoint_id=f"{root}-inner", checkpoint_ns=INNER)}


def service(storage, guard=OPEN):
    """What copies threads that have no graph."""
    return CopyService(
        storage=storage, guard=guard, clock=ManualClock(), graphs=None, saver=None, assistants=None, ttl=None
    )
