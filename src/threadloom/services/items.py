"""Operations on items of the long-term store, for the API."""

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
    """The methods of LangGraph's `BaseStore` that the API needs. Implemented by the built-in store and by custom stores
    (`store.path`).
    """

    async def aput(self, *args: Any, **kwargs: Any) -> None:
        """Stores an item. Raises ValueError if the store rejects it."""
        ...

    async def aget(self, *args: Any, **kwargs: Any) -> Any:
        """Returns an item, or None."""
        ...

    async def adelete(self, *args: Any, **kwargs: Any) -> None:
        """Deletes an item if it exists."""
        ...

    async def asearch(self, *args: Any, **kwargs: Any) -> Any:
        """Returns one page of items with their scores."""
        ...

    async def alist_namespaces(self, *args: Any, **kwargs: Any) -> Any:
        """Returns one page of namespaces."""
        ...


class ItemService:
    """Puts, reads, deletes and lists items of the store that graphs use too.

    Handlers restrict a caller by changing the request's value (the namespace, for instance): the changed value is used. Their
    filters are ignored, because items have no metadata.

    Every method raises `Invalid` for what the store rejects. An `ApiError` of the store is raised unchanged.

    Args:
        store: the store of the server.
        guard: authorizes callers.
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
        """Stores a value, replacing an existing one. `ttl` is in minutes; None: the configured one."""
        asked = {"namespace": tuple(namespace), "key": key, "value": value, "index": index, "ttl": ttl}
        await self._guard.ask(caller, "store", "put", asked)
        place, key, value = _labels(asked), handler_value(asked, "key", str), handler_value(asked, "value", dict)
        given = {} if asked.get("ttl") is None else {"ttl": asked["ttl"]}
        await _asked(self._store.aput(place, key, value, index=asked.get("index"), **given))

    async def get(
        self, caller: Caller, namespace: Labels, key: str, refresh_ttl: bool | None = None
    ) -> ItemResponse | None:
        """Returns the item as the API shows it, or None. `refresh_ttl` None: as configured."""
        asked = {"namespace": tuple(namespace), "key": key, "refresh_ttl": refresh_ttl}
        await self._guard.ask(caller, "store", "get", asked)
        place, key = _labels(asked), handler_value(asked, "key", str)
        item = await _asked(self._store.aget(place, key, refresh_ttl=asked.get("refresh_ttl")))
        return None if item is None else await _shown(item)

    async def delete(self, caller: Caller, namespace: Labels, key: str) -> None:
        """Deletes an item if it exists."""
        asked = {"namespace": tuple(namespace), "key": key}
        await self._guard.ask(caller, "store", "delete", asked)
        await _asked(self._store.adelete(_labels(asked), handler_value(asked, "key", str)))

    async def search(self, caller: Caller, request: ItemSearch) -> list[ItemResponse]:
        """Returns a page of items as the API shows them, each with its score.

        Raises:
            UnsupportedOperator: the filter has an unknown operator.
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
        """Returns a page of the namespaces that have items."""
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
    """Returns the namespace, which a handler may have changed.

    Raises:
        Denied: status 500; the namespace is not a list of texts.
    """
    labels = asked.get("namespace")
    if not isinstance(labels, tuple | list) or not all(isinstance(label, str) for label in labels):
        labels = handler_value({}, "namespace", tuple)
    return tuple(labels)


async def _asked(call: Awaitable[T]) -> T:
    """Awaits a call of the store. A ValueError of the store becomes `Invalid`."""
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
    """Returns JSON with integers of any length. Items of a custom store may have values that only `codec` can encode."""
    try:
        return msgspec.json.encode(value)
    except (TypeError, UnicodeEncodeError):
        return to_json(value)


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
