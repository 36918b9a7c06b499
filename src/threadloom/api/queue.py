"""The route of the queue."""

from starlette.types import ASGIApp

from threadloom.api.http import Request, json_response
from threadloom.api.routing import Operation, Param
from threadloom.services import Services
from threadloom.services.requests import canonical
from threadloom.services.responses import QueuedRunResponse

MOST = 1000


class QueueRoutes:
    """Request handler of the queue."""

    def __init__(self, services: Services) -> None:
        self.services = services

    async def show(self, request: Request) -> ASGIApp:
        limit = request.integer("limit", 100, least=1, most=MOST)
        text = request.text("thread_id")
        thread_id = None if text is None else canonical("thread", text)
        return json_response(await self.services.queue.runs(request.caller, thread_id=thread_id, limit=limit))

    def operations(self) -> list[Operation]:
        """Returns the route, for the router and the OpenAPI description."""
        query = (
            Param("thread_id", {"type": "string", "format": "uuid"}, "Only runs of this thread."),
            Param("limit", {"type": "integer", "minimum": 1, "maximum": MOST, "default": 100}),
        )
        return [
            Operation(
                method="GET",
                path="/queue",
                handler=self.show,
                summary="List pending and running runs, in the order in which they start",
                tag="Thread Runs",
                group="runs",
                query=query,
                result=list[QueuedRunResponse],
                errors=(404,),
            )
        ]
