"""Routes of a thread's state and history."""

from starlette.types import ASGIApp

from threadloom.api.http import Request, answer_aside, json_response
from threadloom.api.routing import Operation, Param, of_a_thread
from threadloom.errors import Invalid
from threadloom.services import Services
from threadloom.services.requests import HistoryQuery, StateAt, StateUpdate, state_fields
from threadloom.services.responses import StateWrittenResponse, ThreadStateResponse

TEXT = {"type": "string"}
SUBGRAPHS = Param("subgraphs", {"type": "boolean"}, "Whether to show the states of running subgraphs in place.")
SELECT = Param(
    "select",
    {"type": "array", "items": TEXT},
    "Fields of the answer: `values`, `next`, `tasks`, `checkpoint`, `metadata`, `created_at`, `parent_checkpoint`, "
    "`interrupts`, `values.<key>`.",
)
DEFAULT_LIMIT = 10


class StateRoutes:
    """Request handlers of the state routes."""

    def __init__(self, services: Services) -> None:
        self.services = services

    async def get(self, request: Request) -> ASGIApp:
        thread_id = request.id("thread")
        checkpoint_id = request.params.get("checkpoint_id")
        state = await self.services.state.get(
            request.caller,
            thread_id,
            checkpoint=None if checkpoint_id is None else {"checkpoint_id": checkpoint_id},
            subgraphs=request.says_true("subgraphs"),
            select=state_fields(request.all("select")),
        )
        return await answer_aside(state)

    async def at(self, request: Request) -> ASGIApp:
        thread_id = request.id("thread")
        body = await request.read(StateAt)
        select = body.select if isinstance(body.select, list) else None
        state = await self.services.state.get(
            request.caller, thread_id, checkpoint=body.checkpoint, subgraphs=body.subgraphs, select=select
        )
        return await answer_aside(state)

    async def update(self, request: Request) -> ASGIApp:
        thread_id = request.id("thread")
        body = await request.read(StateUpdate)
        return json_response(await self.services.state.update(request.caller, thread_id, body))

    async def history(self, request: Request) -> ASGIApp:
        thread_id = request.id("thread")
        body = await request.read(HistoryQuery)
        return await answer_aside(await self.services.state.history(request.caller, thread_id, body))

    async def plain_history(self, request: Request) -> ASGIApp:
        thread_id = request.id("thread")
        try:
            limit = request.integer("limit", DEFAULT_LIMIT, least=None)
        except Invalid:
            raise Invalid(f"Invalid limit {request.text('limit')}") from None
        query = HistoryQuery(limit=limit, before=request.text("before") or "", select=request.all("select"))
        # The caller knows the id from the path. Without it, `map(del(.metadata.thread_id))` makes the histories of copies equal.
        return await answer_aside(
            await self.services.state.history(request.caller, thread_id, query, tell_thread=False)
        )

    def operations(self) -> list[Operation]:
        """Returns the routes, for the router and the OpenAPI description."""

        query = (SUBGRAPHS, SELECT)
        listed = list[ThreadStateResponse]
        pages = (
            Param("limit", {"type": "integer", "default": DEFAULT_LIMIT}),
            Param("before", TEXT, "A checkpoint id."),
        )
        return [
            of_a_thread(
                "GET",
                "/state",
                self.get,
                "Get the latest state",
                query=query,
                result=ThreadStateResponse,
                errors=(404,),
            ),
            of_a_thread(
                "POST",
                "/state",
                self.update,
                "Write state as if a node had returned it",
                body=StateUpdate,
                result=StateWrittenResponse,
                errors=(400, 404, 409),
            ),
            of_a_thread(
                "POST",
                "/state/checkpoint",
                self.at,
                "Get the state at a checkpoint",
                body=StateAt,
                result=ThreadStateResponse,
                errors=(400, 404),
            ),
            of_a_thread(
                "GET",
                "/state/{checkpoint_id}",
                self.get,
                "Get the state at a checkpoint id",
                query=query,
                result=ThreadStateResponse,
                errors=(404,),
            ),
            of_a_thread(
                "GET",
                "/history",
                self.plain_history,
                "List states, newest first; checkpoints do not name the thread",
                query=(*pages, SELECT),
                result=listed,
                errors=(404,),
            ),
            of_a_thread(
                "POST",
                "/history",
                self.history,
                "List states, newest first, filtered",
                body=HistoryQuery,
                result=listed,
                errors=(404,),
            ),
        ]
