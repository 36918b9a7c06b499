"""Items of the long-term store, as the API asks for them."""

from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

import msgspec

from threadloom.codec import Fragment, to_json
from threadloom.errors import ApiError, Invalid
from threadloom.services.requests import ItemNamespaces, ItemSearch
from threadloom.storage.items import conditions
from threadloom.types import Caller

T = TypeVar("T")
Labels = list[str]


class MemoryStore(Protocol):
    """The calls of LangGraph's `BaseStore` that the API needs: ours, or one that a user brings (`store.path`)."""

    async def aput(self, *args: Any, **kwargs: Any) -> None: ...
    async def aget(self, *args: Any, **kwargs: Any) -> Any: ...
    async def adelete(self, *args: Any, **kwargs: Any) -> None: ...
    async def asearch(self, *args: Any, **kwargs: Any) -> Any: ...
    async def alist_namespaces(self, *args: Any, **kwargs: Any) -> Any: ...


class ItemService:
    """Puts, reads, deletes and lists items of the store that graphs use too.

    Every method raises `Invalid` for what the store refuses, and passes on its `ApiError`s.

    Args:
        store: the one store of the server.
    """

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def put(
        self,
        caller: Caller,
        namespace: Labels,
        key: str,
        value: dict[str, Any],
        index: bool | list[str] | None = None,
        ttl: float | None = None,
    ) -> None:
        """Stores a value in place of what was there. `ttl` in minutes; None is the configured one."""
        given = {} if ttl is None else {"ttl": ttl}
        await _asked(self._store.aput(tuple(namespace), key, value, index=index, **given))

    async def get(self, caller: Caller, namespace: Labels, key: str, refresh_ttl: bool | None = None) -> Any:
        """The item as the API shows it, or None. `refresh_ttl` None is the configured one."""
        item = await _asked(self._store.aget(tuple(namespace), key, refresh_ttl=refresh_ttl))
        return None if item is None else _shown(item)

    async def delete(self, caller: Caller, namespace: Labels, key: str) -> None:
        """Removes an item, if it is there."""
        await _asked(self._store.adelete(tuple(namespace), key))

    async def search(self, caller: Caller, request: ItemSearch) -> list[dict[str, Any]]:
        """A page of items as the API shows them, each with its score.

        Raises:
            UnsupportedOperator: the filter has an operator that there is not.
        """
        conditions(request.filter)
        items = await _asked(
            self._store.asearch(
                tuple(request.namespace_prefix or ()),
                query=request.query or None,
                filter=request.filter,
                limit=request.limit,
                offset=request.offset,
                refresh_ttl=request.refresh_ttl,
            )
        )
        return [_shown(item) | {"score": item.score} for item in items]

    async def namespaces(self, caller: Caller, request: ItemNamespaces) -> list[Labels]:
        """A page of the namespaces that hold items."""
        depth = None if request.max_depth is msgspec.UNSET else request.max_depth
        found = await _asked(
            self._store.alist_namespaces(
                prefix=tuple(request.prefix) or None,
                suffix=tuple(request.suffix) or None,
                max_depth=depth,
                limit=request.limit,
                offset=request.offset,
            )
        )
        return [list(namespace) for namespace in found]


async def _asked(call: Awaitable[T]) -> T:
    """What the store answers; what it refuses is the request's fault."""
    try:
        return await call
    except (ValueError, NotImplementedError) as refused:
        if isinstance(refused, ApiError):
            raise
        raise Invalid(str(refused)) from refused


def _shown(item: Any) -> dict[str, Any]:
    return {
        "namespace": list(item.namespace),
        "key": item.key,
        "value": Fragment(_exact(item.value)),
        "created_at": _moment(item.created_at),
        "updated_at": _moment(item.updated_at),
    }


def _exact(value: Any) -> bytes:
    """JSON with integers of any length; a user's own store may hold what only our codec knows."""
    try:
        return msgspec.json.encode(value)
    except (TypeError, UnicodeEncodeError):
        return to_json(value)


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
