"""Routes of the log of webhook deliveries. No other server of this API has them."""

from typing import Any

from starlette.types import ASGIApp

from threadloom.api.http import Request, json_response
from threadloom.api.routing import Operation, Param
from threadloom.api.threads import pages
from threadloom.clock import iso
from threadloom.codec import Fragment
from threadloom.services import Services
from threadloom.services.requests import canonical
from threadloom.services.responses import DeliveryInFullResponse, DeliveryResponse, TryResponse
from threadloom.services.webhooks.delivery import shown
from threadloom.storage.deliveries import DeliveryQuery
from threadloom.types import Delivery

STATUSES = ("pending", "delivered", "failed")
MOST = 1000


def record(delivery: Delivery) -> DeliveryResponse:
    """Returns a delivery as clients see it. Its URL has no query, which may hold a secret."""
    pending = delivery.status == "pending"
    return DeliveryResponse(
        delivery_id=delivery.delivery_id,
        run_id=delivery.run_id,
        thread_id=delivery.thread_id,
        url=shown(delivery.url),
        status=delivery.status,
        created_at=iso(delivery.created_at),
        updated_at=iso(delivery.updated_at),
        next_try_at=iso(delivery.due) if pending and delivery.worker is None else None,
        tries_left=delivery.tries_left if pending else 0,
        tries=[
            TryResponse(at=iso(one["at"]), status=one.get("status"), error=one.get("error")) for one in delivery.tries
        ],
    )


class WebhookRoutes:
    """Request handlers of the delivery routes."""

    def __init__(self, services: Services) -> None:
        self.services = services

    async def search(self, request: Request) -> ASGIApp:
        limit = request.integer("limit", 10, least=1, most=MOST)
        query = DeliveryQuery(limit=limit, offset=request.integer("offset", 0))
        query.status = request.choice("status", STATUSES)  # type: ignore[assignment]
        for kind in ("run", "thread"):
            if (text := request.text(f"{kind}_id")) is not None:
                setattr(query, f"{kind}_id", canonical(kind, text))
        found, following, total = await self.services.deliveries.search(request.caller, query)
        return json_response([record(one) for one in found], headers=pages(following, total))

    async def get(self, request: Request) -> ASGIApp:
        found = await self.services.deliveries.get(request.caller, request.id("delivery"))
        payload: Any = Fragment(found.body_json)
        return json_response(DeliveryInFullResponse(**record(found).fields(), payload=payload))

    async def redeliver(self, request: Request) -> ASGIApp:
        return json_response(
            record(await self.services.deliveries.redeliver(request.caller, request.id("delivery"))), 202
        )

    def operations(self) -> list[Operation]:
        """Returns the routes, for the router and the OpenAPI description."""

        def webhooks(method: Any, path: str, handler: Any, summary: str, **more: Any) -> Operation:
            return Operation(
                method=method, path=path, handler=handler, summary=summary, tag="Webhooks", group="webhooks", **more
            )

        ids = tuple(Param(f"{kind}_id", {"type": "string", "format": "uuid"}) for kind in ("run", "thread"))
        query = (
            *ids,
            Param("status", {"enum": list(STATUSES)}),
            Param("limit", {"type": "integer", "minimum": 1, "maximum": MOST, "default": 10}),
            Param("offset", {"type": "integer", "minimum": 0, "default": 0}),
        )
        one = "/webhooks/deliveries/{delivery_id}"
        listed = list[DeliveryResponse]
        return [
            webhooks(
                "GET",
                "/webhooks/deliveries",
                self.search,
                "List what webhooks were told, newest first",
                query=query,
                result=listed,
            ),
            webhooks(
                "GET", one, self.get, "Get a delivery with its payload", result=DeliveryInFullResponse, errors=(404,)
            ),
            webhooks(
                "POST",
                one + "/redeliver",
                self.redeliver,
                "Tell a webhook again, under the same id",
                result=DeliveryResponse,
                status=202,
                errors=(404, 409),
            ),
        ]
