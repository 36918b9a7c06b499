"""Routes of the long-term store."""

from typing import Any

from starlette.types import ASGIApp

from threadloom.api.http import Call, Reply, answer, nothing
from threadloom.api.routing import Operation, Param
from threadloom.services import Services
from threadloom.services.requests import ItemDelete, ItemNamespaces, ItemPut, ItemSearch, check_labels
from threadloom.services.responses import FoundItemsResponse, ItemResponse, NamespacesResponse

TEXT = {"type": "string"}
LABELS: dict[int, dict[str, dict[str, Any]]] = {422: {"text/plain": TEXT}}
NO_KEY = {"type": "object", "properties": {"error": TEXT, "detail": TEXT}}


class Store:
    """The handlers."""

    def __init__(self, services: Services) -> None:
        self.services = services

    async def put(self, call: Call) -> ASGIApp:
        request = await call.read(ItemPut)
        await self.services.items.put(
            call.caller, request.namespace, request.key, request.value, request.index, request.ttl
        )
        return nothing()

    async def get(self, call: Call) -> ASGIApp:
        given = call.all("namespace")
        labels = given if len(given) > 1 else (given[0] if given else "").split(".")
        check_labels(labels)
        key = call.text("key")
        if not key:
            return Reply(b'{"error":"Key is required"}', 400)
        refresh = call.flag("refresh_ttl") if call.text("refresh_ttl") else None
        return answer(await self.services.items.get(call.caller, labels, key, refresh))

    async def delete(self, call: Call) -> ASGIApp:
        request = await call.read(ItemDelete)
        await self.services.items.delete(call.caller, request.namespace, request.key)
        return nothing()

    async def search(self, call: Call) -> ASGIApp:
        request = await call.read(ItemSearch)
        return answer(FoundItemsResponse(items=await self.services.items.search(call.caller, request)))

    async def namespaces(self, call: Call) -> ASGIApp:
        request = await call.read(ItemNamespaces)
        return answer(NamespacesResponse(namespaces=await self.services.items.namespaces(call.caller, request)))

    def operations(self) -> list[Operation]:
        """The routes, for router and description."""

        def store(method: Any, path: str, handler: Any, summary: str, **more: Any) -> Operation:
            more["told"] = LABELS | more.get("told", {})
            return Operation(
                method=method,
                path="/store" + path,
                handler=handler,
                summary=summary,
                tag="Store",
                group="store",
                **more,
            )

        read = (
            Param("key", TEXT, required=True),
            Param("namespace", {"type": "array", "items": TEXT}, "Labels, or one text with the labels joined by `.`."),
            Param("refresh_ttl", {"type": "boolean"}, "Whether reading restarts the item's time to live."),
        )
        return [
            store("PUT", "/items", self.put, "Store an item", body=ItemPut, status=204, errors=(400,)),
            store(
                "GET",
                "/items",
                self.get,
                "Get an item, or null",
                query=read,
                result=ItemResponse | None,
                errors=(400,),
                told={400: {"application/json": NO_KEY}},
            ),
            store("DELETE", "/items", self.delete, "Delete an item", body=ItemDelete, status=204),
            store(
                "POST",
                "/items/search",
                self.search,
                "Search items",
                body=ItemSearch,
                result=FoundItemsResponse,
                errors=(400,),
            ),
            store(
                "POST",
                "/namespaces",
                self.namespaces,
                "List namespaces",
                body=ItemNamespaces,
                result=NamespacesResponse,
            ),
        ]
