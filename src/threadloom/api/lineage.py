"""Routes of trees of copies: lineage, compare."""

from typing import Any

from starlette.types import ASGIApp

from threadloom.api.http import Request, answer_aside
from threadloom.api.routing import Operation, Param
from threadloom.services import Services
from threadloom.services.lineage import Side
from threadloom.services.requests.common import canonical
from threadloom.services.responses import ComparisonResponse, LineageResponse

STATE = Param("state", {"type": "boolean"}, "Whether the states are compared too, by channel and by message.")
CHECKPOINTS = tuple(
    Param(f"{side}_checkpoint", {"type": "string"}, f"The root checkpoint at which `{side}` is compared; the newest.")
    for side in ("a", "b")
)


class LineageRoutes:
    """Request handlers of the routes of trees of copies."""

    def __init__(self, services: Services) -> None:
        self.services = services

    async def lineage(self, request: Request) -> ASGIApp:
        found = await self.services.lineage.lineage(request.caller, request.id("thread"))
        return await answer_aside({**found.fields(), "threads": [one.fields() for one in found.threads]})

    async def compare(self, request: Request) -> ASGIApp:
        a = Side(request.id("thread"), request.text("a_checkpoint") or None)
        b = Side(canonical("thread", request.params["other_id"]), request.text("b_checkpoint") or None)
        with_state = request.flag("state")
        answer = await self.services.lineage.compare(request.caller, a, b, with_state=with_state)
        return await answer_aside(answer.fields())

    def operations(self) -> list[Operation]:
        """Returns the routes, for the router and the OpenAPI description."""

        def threads(path: str, handler: Any, summary: str, **more: Any) -> Operation:
            return Operation(
                method="GET", path=path, handler=handler, summary=summary, tag="Threads", group="threads", **more
            )

        one = "/threads/{thread_id}"
        return [
            threads(
                one + "/lineage",
                self.lineage,
                "Show the tree of copies that a thread belongs to",
                result=LineageResponse,
                errors=(404,),
            ),
            threads(
                one + "/compare/{other_id}",
                self.compare,
                "Tell where two histories part, and how their states differ",
                query=(STATE, *CHECKPOINTS),
                result=ComparisonResponse,
                errors=(404,),
            ),
        ]
