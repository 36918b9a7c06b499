"""A typed client of what Threadloom adds to the LangGraph Server API, on top of the stock client.

    from langgraph_sdk import get_client
    from threadloom.client import ThreadRepository

    repository = ThreadRepository(get_client(url="http://127.0.0.1:2024"))
    [first, second] = await repository.copy_many(thread_id, 2, message_id="m1")

`SyncThreadRepository` takes a client of `get_sync_client` and has the same methods. Both raise what the stock client raises:
`langgraph_sdk.errors.NotFoundError`, `ConflictError`, `UnprocessableEntityError` and the others. See docs/contract/repository.md.
"""

from threadloom.client.repository import SyncThreadRepository, ThreadRepository
from threadloom.client.responses import (
    Branches,
    ChannelDifference,
    Comparison,
    CopiedThread,
    CopyEnd,
    LineageThread,
    MapTurn,
    MessageDifference,
    Move,
    ThreadAfterMove,
    ThreadLineage,
    ThreadTag,
)

__all__ = [
    "Branches",
    "ChannelDifference",
    "Comparison",
    "CopiedThread",
    "CopyEnd",
    "LineageThread",
    "MapTurn",
    "MessageDifference",
    "Move",
    "SyncThreadRepository",
    "ThreadAfterMove",
    "ThreadLineage",
    "ThreadRepository",
    "ThreadTag",
]
