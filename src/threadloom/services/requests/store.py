"""Bodies of the store routes."""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from threadloom.codec import to_json
from threadloom.errors import BadRequest, Invalid
from threadloom.services.requests import bounds
from threadloom.services.requests.bounds import check_count, check_filter
from threadloom.services.requests.common import Limit, Object, Offset, check_labels

Namespace = Annotated[list[str], Meta(description="Labels from the root down; none is empty or holds a period.")]
Paths = Annotated[
    list[Annotated[str, Meta(max_length=bounds.PATH.most)]],
    Meta(max_length=bounds.INDEX.most),
]
Minutes = Annotated[float, Meta(description="Minutes to live.")]


def _check_key(key: str) -> None:
    if not key:
        raise Invalid("key: must not be empty")


class ItemPut(Struct, kw_only=True):
    """An item to store. `index`: null as configured, false excludes it from semantic search."""

    namespace: Namespace
    key: str
    value: Object
    index: Annotated[bool | Paths | None, Meta(description="null, false, or the paths to embed.")] = None
    ttl: Minutes | None = None

    def __post_init__(self) -> None:
        if self.index is True:
            raise Invalid("index: must be null, false or a list of paths (got true)")
        if isinstance(self.index, list):
            self.index = list(dict.fromkeys(self.index))
            chosen = sum(1 + path.count(",") for path in self.index)
            if chosen > 1:  # each may be the whole value
                check_count(chosen * len(to_json(self.value)), bounds.INDEXED, "index")
        if not self.namespace:
            raise BadRequest("Namespace cannot be empty.")
        check_labels(self.namespace)
        if self.namespace[0] == "langgraph":
            raise BadRequest('Root label for namespace cannot be "langgraph".')
        _check_key(self.key)


class ItemDelete(Struct, kw_only=True):
    """The item to delete."""

    key: str
    namespace: Namespace = []

    def __post_init__(self) -> None:
        check_labels(self.namespace)
        _check_key(self.key)


class ItemSearch(Struct, kw_only=True):
    """Which items to find.

    After parsing, the prefix is a list; `refresh_ttl` None follows the configuration.
    """

    namespace_prefix: Namespace | None = []
    filter: (
        Annotated[Object, Meta(description="Top-level fields of the value: equal, or $eq $ne $gt $gte $lt $lte.")]
        | None
    ) = None
    query: (
        Annotated[str, Meta(max_length=bounds.QUERY.most, description="Orders by likeness; needs an index.")] | None
    ) = None
    limit: Limit = 10
    offset: Offset = 0
    refresh_ttl: bool | None = None

    def __post_init__(self) -> None:
        check_filter(self.filter, "filter")
        self.namespace_prefix = self.namespace_prefix or []
        check_labels(self.namespace_prefix)


class ItemNamespaces(Struct, kw_only=True):
    """Which namespaces to list. `*` in a prefix or suffix matches any one label."""

    prefix: Namespace = []
    suffix: Namespace = []
    max_depth: Annotated[int, Meta(ge=1, le=2**31 - 1)] | UnsetType = UNSET
    limit: Limit = 100
    offset: Offset = 0

    def __post_init__(self) -> None:
        check_labels(self.prefix)
        check_labels(self.suffix)


EXACT = (ItemPut, ItemSearch)
"""Bodies whose integers are exact at any length."""
