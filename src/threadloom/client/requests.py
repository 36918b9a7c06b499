"""The requests of the operations: written once, sent by an asynchronous and by a synchronous client."""

from collections.abc import Mapping, Sequence
from typing import Any, Generic, Literal, TypedDict, TypeVar
from urllib.parse import quote

from threadloom.client.responses import Branches, Comparison, CopiedThread, ThreadAfterMove, ThreadLineage, ThreadTag

T = TypeVar("T")

At = Literal["before", "after"]
Keep = Literal["all", "latest"] | int


class Cutting(TypedDict, total=False):
    """Where a copy ends and what it keeps: docs/contract/repository.md#copy-anywhere.

    At most one of `checkpoint_id` (an id or a tag), `checkpoint` (`{checkpoint_ns, checkpoint_id}`, of any depth) and
    `message_id`.
    """

    checkpoint_id: str
    checkpoint: Mapping[str, str]
    message_id: str
    at: At
    on_split: Literal["move", "refuse"]
    keep: Keep
    assistant_id: str
    ttl: Mapping[str, Any]


class ServerRequest(Generic[T]):
    """A request whose response is a `T`."""

    def __init__(
        self, method: str, path: Sequence[str], *, body: Any = None, query: Mapping[str, Any] | None = None
    ) -> None:
        self.method = method
        self.path = "/" + "/".join(quote(part, safe="") for part in path)
        self.body = body
        self.query = {name: _text(value) for name, value in (query or {}).items() if value is not None}


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def branches(thread_id: str) -> ServerRequest[Branches]:
    return ServerRequest("GET", ("threads", thread_id, "branches"))


def lineage(thread_id: str) -> ServerRequest[ThreadLineage]:
    return ServerRequest("GET", ("threads", thread_id, "lineage"))


def compare(
    thread_id: str, other: str, *, state: bool, checkpoint_id: str | None, other_checkpoint_id: str | None
) -> ServerRequest[Comparison]:
    query = {"state": state or None, "a_checkpoint": checkpoint_id, "b_checkpoint": other_checkpoint_id}
    return ServerRequest("GET", ("threads", thread_id, "compare", other), query=query)


def copy(
    thread_id: str,
    cutting: Cutting,
    *,
    copy_id: str | None,
    if_exists: str | None,
    metadata: Mapping[str, Any] | None,
) -> ServerRequest[CopiedThread]:
    body = {**cutting, **_given(thread_id=copy_id, if_exists=if_exists, metadata=metadata)}
    return ServerRequest("POST", ("threads", thread_id, "copy"), body=body)


def copy_many(
    thread_id: str, count: int, cutting: Cutting, *, metadata: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None
) -> ServerRequest[list[CopiedThread]]:
    body = {**cutting, "count": count, **_given(metadata=metadata)}
    return ServerRequest("POST", ("threads", thread_id, "copy"), body=body)


def reset(thread_id: str, checkpoint_id: str) -> ServerRequest[ThreadAfterMove]:
    return ServerRequest("POST", ("threads", thread_id, "reset"), body={"checkpoint_id": checkpoint_id})


def undo(thread_id: str) -> ServerRequest[ThreadAfterMove]:
    return ServerRequest("POST", ("threads", thread_id, "reset"), body={"undo": True})


def promote(thread_id: str, copy_id: str) -> ServerRequest[ThreadAfterMove]:
    return ServerRequest("POST", ("threads", thread_id, "promote"), body={"thread_id": copy_id})


def append(
    thread_id: str,
    source: str,
    *,
    checkpoint_id: str | None,
    message_ids: Sequence[str] | None,
    values: Mapping[str, Any] | None,
    as_node: str | None,
) -> ServerRequest[dict[str, Any]]:
    body = _given(
        thread_id=source, checkpoint_id=checkpoint_id, message_ids=message_ids, values=values, as_node=as_node
    )
    return ServerRequest("POST", ("threads", thread_id, "append"), body=body)


def tags(thread_id: str) -> ServerRequest[list[ThreadTag]]:
    return ServerRequest("GET", ("threads", thread_id, "tags"))


def put_tag(thread_id: str, name: str, *, checkpoint_id: str | None, if_exists: str | None) -> ServerRequest[ThreadTag]:
    body = _given(checkpoint_id=checkpoint_id, if_exists=if_exists)
    return ServerRequest("PUT", ("threads", thread_id, "tags", name), body=body)


def delete_tag(thread_id: str, name: str) -> ServerRequest[None]:
    return ServerRequest("DELETE", ("threads", thread_id, "tags", name))
