"""Items of the long-term store, as the API asks for them."""

from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from threadloom.auth.authorize import Guard
from threadloom.codec import Fragment, to_json
from threadloom.errors import ApiError, Invalid
from threadloom.large import dump_json
from threadloom.services.permission import handler_value
from threadloom.services.requests import ItemNamespaces, ItemSearch
from threadloom.services.responses import ItemResponse
from threadloom.storage.items import conditions
from threadloom.types import Caller

T = TypeVar("T")
Labels = list[str]


class MemoryStore(Protocol):
    """The calls of LangGraph's `BaseStore` that the API needs: ours, or one that a user brings (`store.path`)."""

    async def aput(self, *args: Any, **kwargs: Any) -> None:
        """Stores an item. Raises ValueError for what the store refuses."""
        ...

    async def aget(self, *args: Any, **kwargs: Any) -> Any:
        """Returns an item, or None."""
        ...

    async def adelete(self, *args: Any, **kwargs: Any) -> None:
        """Removes an item, if it is there."""
        ...

    async def asearch(self, *args: Any, **kwargs: Any) -> Any:
        """Returns one page of items with their scores."""
        ...

    async def alist_namespaces(self, *args: Any, **kwargs: Any) -> Any:
        """Returns one page of namespaces."""
        ...


class ItemService:
    """Puts, reads, deletes and lists items of the store that graphs use too.

    What a caller may do there, handlers say by changing where it is done: what they leave of the request counts, and a
    filter that they give does not, for items have no metadata.

    Every method raises `Invalid` for what the store refuses, and passes on its `ApiError`s.

    Args:
        store: the one store of the server.
        guard: what callers may do.
    """

    def __init__(self, store: MemoryStore, guard: Guard) -> None:
        self._store = store
        self._guard = guard

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
        asked = {"namespace": tuple(namespace), "key": key, "value": value, "index": index, "ttl": ttl}
        await self._guard.ask(caller, "store", "put", asked)
        place, key, value = _labels(asked), handler_value(asked, "key", str), handler_value(asked, "value", dict)
        given = {} if asked.get("ttl") is None else {"ttl": asked["ttl"]}
        await _asked(self._store.aput(place, key, value, index=asked.get("index"), **given))

    async def get(
        self, caller: Caller, namespace: Labels, key: str, refresh_ttl: bool | None = None
    ) -> ItemResponse | None:
        """The item as the API shows it, or None. `refresh_ttl` None is the configured one."""
        asked = {"namespace": tuple(namespace), "key": key, "refresh_ttl": refresh_ttl}
        await self._guard.ask(caller, "store", "get", asked)
        place, key = _labels(asked), handler_value(asked, "key", str)
        item = await _asked(self._store.aget(place, key, refresh_ttl=asked.get("refresh_ttl")))
        return None if item is None else await _shown(item)

    async def delete(self, caller: Caller, namespace: Labels, key: str) -> None:
        """Removes an item, if it is there."""
        asked = {"namespace": tuple(namespace), "key": key}
        await self._guard.ask(caller, "store", "delete", asked)
        await _asked(self._store.adelete(_labels(asked), handler_value(asked, "key", str)))

    async def search(self, caller: Caller, request: ItemSearch) -> list[ItemResponse]:
        """A page of items as the API shows them, each with its score.

        Raises:
            UnsupportedOperator: the filter has an operator that there is not.
        """
        asked: dict[str, Any] = {
            "namespace": tuple(request.namespace_prefix or ()),
            "filter": request.filter,
            "limit": request.limit,
            "offset": request.offset,
            "query": request.query or None,
            "refresh_ttl": request.refresh_ttl,
        }
        await self._guard.ask(caller, "store", "search", asked)
        conditions(asked.get("filter"))
        items = await _asked(
            self._store.asearch(
                _labels(asked),
                query=asked.get("query"),
                filter=asked.get("filter"),
                limit=handler_value(asked, "limit", int),
                offset=handler_value(asked, "offset", int),
                refresh_ttl=asked.get("refresh_ttl"),
            )
        )
        return [await _shown(item, item.score) for item in items]

    async def namespaces(self, caller: Caller, request: ItemNamespaces) -> list[Labels]:
        """A page of the namespaces that hold items."""
        depth = None if request.max_depth is msgspec.UNSET else request.max_depth
        asked: dict[str, Any] = {
            "namespace": tuple(request.prefix) or None,
            "suffix": tuple(request.suffix) or None,
            "max_depth": depth,
            "limit": request.limit,
            "offset": request.offset,
        }
        await self._guard.ask(caller, "store", "list_namespaces", asked)
        found = await _asked(
            self._store.alist_namespaces(
                prefix=None if asked.get("namespace") is None else _labels(asked) or None,
                suffix=asked.get("suffix"),
                max_depth=asked.get("max_depth"),
                limit=handler_value(asked, "limit", int),
                offset=handler_value(asked, "offset", int),
            )
        )
        return [list(namespace) for namespace in found]


def _labels(asked: dict[str, Any]) -> tuple[str, ...]:
    """The namespace that a handler left.

    Raises:
        Denied: status 500; it is no list of texts.
    """
    labels = asked.get("namespace")
    if not isinstance(labels, tuple | list) or not all(isinstance(label, str) for label in labels):
        labels = handler_value({}, "namespace", tuple)
    return tuple(labels)


async def _asked(call: Awaitable[T]) -> T:
    """What the store answers; what it refuses is the request's fault."""
    try:
        return await call
    except (ValueError, NotImplementedError) as refused:
        if isinstance(refused, ApiError):
            raise
        raise Invalid(str(refused)) from refused


async def _shown(item: Any, score: float | UnsetType | None = UNSET) -> ItemResponse:
    value: Any = Fragment(await dump_json(item.value, _exact))
    return ItemResponse(
        namespace=list(item.namespace),
        key=item.key,
        value=value,
        created_at=_moment(item.created_at),
        updated_at=_moment(item.updated_at),
        score=score,
    )


def _exact(value: Any) -> bytes:
    """JSON with integers of any length; a user's own store may hold what only our codec knows."""
    try:
        return msgspec.json.encode(value)
    except (TypeError, UnicodeEncodeError):
        return to_json(value)


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
