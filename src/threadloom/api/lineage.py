"""Routes of trees of copies: lineage, compare."""

from typing import Any

from starlette.types import ASGIApp

from threadloom.api.http import Request, answer_aside, json_response
from threadloom.api.routing import Operation, Param
from threadloom.errors import Invalid
from threadloom.services import Services
from threadloom.services.lineage import Side
from threadloom.services.requests.common import canonical
from threadloom.services.responses import ComparisonResponse, DigestsResponse, LineageResponse
from threadloom.services.verification import MOST_CHECKPOINTS

STATE = Param("state", {"type": "boolean"}, "Whether the states are compared too, by channel and by message.")
CHECKPOINTS = tuple(
    Param(f"{side}_checkpoint", {"type": "string"}, f"The root checkpoint at which `{side}` is compared; the newest.")
    for side in ("a", "b")
)
BYTES = Param("bytes", {"type": "boolean"}, "Whether to read the content and tell what differs from what was recorded.")
DEFAULT_LIMIT = 100
LIMIT = Param("limit", {"type": "integer", "minimum": 1, "maximum": MOST_CHECKPOINTS, "default": DEFAULT_LIMIT})
BEFORE = Param("before", {"type": "string"}, "Only checkpoints before this one: `next` of the page before.")


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

    async def digests(self, request: Request) -> ASGIApp:
        limit = request.integer("limit", DEFAULT_LIMIT, least=1)
        if limit > MOST_CHECKPOINTS:
            raise Invalid(f"limit: must be at most {MOST_CHECKPOINTS}")
        return json_response(
            await self.services.verification.digests(
                request.caller,
                request.id("thread"),
                before=request.text("before") or None,
                limit=limit,
                recompute=request.flag("bytes"),
            )
        )

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
            threads(
                one + "/digests",
                self.digests,
                "Show the digests of a history, and check its bytes against them",
                query=(BYTES, LIMIT, BEFORE),
                result=DigestsResponse,
                errors=(404,),
            ),
        ]
