"""Routes of the long-term store."""

from typing import Any

from starlette.types import ASGIApp

from threadloom.api.http import Request, Response, empty_response, json_response
from threadloom.api.routing import Operation, Param
from threadloom.services import Services
from threadloom.services.requests import ItemDelete, ItemNamespaces, ItemPut, ItemSearch, check_labels
from threadloom.services.responses import FoundItemsResponse, ItemResponse, NamespacesResponse

TEXT = {"type": "string"}
LABELS: dict[int, dict[str, dict[str, Any]]] = {422: {"text/plain": TEXT}}
NO_KEY = {"type": "object", "properties": {"error": TEXT, "detail": TEXT}}


class StoreRoutes:
    """Request handlers of the store routes."""

    def __init__(self, services: Services) -> None:
        self.services = services

    async def put(self, request: Request) -> ASGIApp:
        body = await request.read(ItemPut)
        await self.services.items.put(request.caller, body.namespace, body.key, body.value, body.index, body.ttl)
        return empty_response()

    async def get(self, request: Request) -> ASGIApp:
        given = request.all("namespace")
        labels = given if len(given) > 1 else (given[0] if given else "").split(".")
        check_labels(labels)
        key = request.text("key")
        if not key:
            return Response(b'{"error":"Key is required"}', 400)
        refresh = request.flag("refresh_ttl") if request.text("refresh_ttl") else None
        return json_response(await self.services.items.get(request.caller, labels, key, refresh))

    async def delete(self, request: Request) -> ASGIApp:
        body = await request.read(ItemDelete)
        await self.services.items.delete(request.caller, body.namespace, body.key)
        return empty_response()

    async def search(self, request: Request) -> ASGIApp:
        body = await request.read(ItemSearch)
        return json_response(FoundItemsResponse(items=await self.services.items.search(request.caller, body)))

    async def namespaces(self, request: Request) -> ASGIApp:
        body = await request.read(ItemNamespaces)
        return json_response(NamespacesResponse(namespaces=await self.services.items.namespaces(request.caller, body)))

    def operations(self) -> list[Operation]:
        """Returns the routes, for the router and the OpenAPI description."""

        def store(method: Any, path: str, handler: Any, summary: str, **more: Any) -> Operation:
            more["responses"] = LABELS | more.get("responses", {})
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
                responses={400: {"application/json": NO_KEY}},
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
