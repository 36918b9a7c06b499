"""Routes of a thread's state and history."""

from typing import Any

from starlette.types import ASGIApp

from threadloom.api.http import Call, answer, answer_aside
from threadloom.api.routing import Operation, Param
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


class State:
    """The handlers."""

    def __init__(self, services: Services) -> None:
        self.services = services

    async def get(self, call: Call) -> ASGIApp:
        thread_id = call.id("thread")
        checkpoint_id = call.params.get("checkpoint_id")
        state = await self.services.state.get(
            call.caller,
            thread_id,
            checkpoint=None if checkpoint_id is None else {"checkpoint_id": checkpoint_id},
            subgraphs=call.says_true("subgraphs"),
            select=state_fields(call.all("select")),
        )
        return await answer_aside(state)

    async def at(self, call: Call) -> ASGIApp:
        thread_id = call.id("thread")
        request = await call.read(StateAt)
        select = request.select if isinstance(request.select, list) else None
        state = await self.services.state.get(
            call.caller, thread_id, checkpoint=request.checkpoint, subgraphs=request.subgraphs, select=select
        )
        return await answer_aside(state)

    async def update(self, call: Call) -> ASGIApp:
        thread_id = call.id("thread")
        request = await call.read(StateUpdate)
        return answer(await self.services.state.update(call.caller, thread_id, request))

    async def history(self, call: Call) -> ASGIApp:
        thread_id = call.id("thread")
        request = await call.read(HistoryQuery)
        return await answer_aside(await self.services.state.history(call.caller, thread_id, request))

    async def plain_history(self, call: Call) -> ASGIApp:
        thread_id = call.id("thread")
        try:
            limit = call.whole("limit", DEFAULT_LIMIT, least=None)
        except Invalid:
            raise Invalid(f"Invalid limit {call.text('limit')}") from None
        query = HistoryQuery(limit=limit, before=call.text("before") or "", select=call.all("select"))
        # The caller has the id in the path. Without it here, `map(del(.metadata.thread_id))` makes histories of copies equal.
        return await answer_aside(await self.services.state.history(call.caller, thread_id, query, tell_thread=False))

    def operations(self) -> list[Operation]:
        """The routes, for router and description."""

        def states(method: Any, path: str, handler: Any, summary: str, **more: Any) -> Operation:
            return Operation(
                method=method,
                path="/threads/{thread_id}" + path,
                handler=handler,
                summary=summary,
                tag="Threads",
                group="threads",
                **more,
            )

        query = (SUBGRAPHS, SELECT)
        listed = list[ThreadStateResponse]
        pages = (
            Param("limit", {"type": "integer", "default": DEFAULT_LIMIT}),
            Param("before", TEXT, "A checkpoint id."),
        )
        return [
            states(
                "GET",
                "/state",
                self.get,
                "Get the latest state",
                query=query,
                result=ThreadStateResponse,
                errors=(404,),
            ),
            states(
                "POST",
                "/state",
                self.update,
                "Write state as if a node had returned it",
                body=StateUpdate,
                result=StateWrittenResponse,
                errors=(400, 404, 409),
            ),
            states(
                "POST",
                "/state/checkpoint",
                self.at,
                "Get the state at a checkpoint",
                body=StateAt,
                result=ThreadStateResponse,
                errors=(400, 404),
            ),
            states(
                "GET",
                "/state/{checkpoint_id}",
                self.get,
                "Get the state at a checkpoint id",
                query=query,
                result=ThreadStateResponse,
                errors=(404,),
            ),
            states(
                "GET",
                "/history",
                self.plain_history,
                "List states, newest first; checkpoints do not name the thread",
                query=(*pages, SELECT),
                result=listed,
                errors=(404,),
            ),
            states(
                "POST",
                "/history",
                self.history,
                "List states, newest first, filtered",
                body=HistoryQuery,
                result=listed,
                errors=(404,),
            ),
        ]
