"""Routes of the runs of a thread, and the code that they share with stateless runs."""

from typing import Any, cast, get_args

import orjson
from starlette.types import ASGIApp

from threadloom.api.http import RawHeaders, Request, Response, empty_response, json_response
from threadloom.api.routing import Group, Operation, Param
from threadloom.api.sse import EVENT_HEADERS, HEARTBEAT_SECONDS, DeferredJsonResponse, EventStreamResponse, error_frame
from threadloom.errors import Invalid, NotFound
from threadloom.services import Services
from threadloom.services.records import run_record, select_fields
from threadloom.services.requests import RunCreate
from threadloom.services.requests.bounds import SELECT, check_count
from threadloom.services.responses import RunResponse
from threadloom.services.run_streams import RunNotFound
from threadloom.types import CancelAction, RunStatus

TEXT = {"type": "string"}
FLAG = {"type": "boolean"}
STATUSES = get_args(RunStatus)
ACTIONS = get_args(CancelAction)
FIELDS = (
    "run_id",
    "thread_id",
    "assistant_id",
    "created_at",
    "updated_at",
    "status",
    "metadata",
    "kwargs",
    "multitask_strategy",
    "langsmith_session_name",
)
THREAD_MODES = ("run_modes", "lifecycle", "state_update")
CANCEL_ON_DISCONNECT = Param("cancel_on_disconnect", FLAG, "Whether hanging up cancels the run.")
ACTION = Param(
    "action", {"enum": list(ACTIONS)}, "Whether the run's checkpoints stay (`interrupt`) or go (`rollback`)."
)
MODES = {"type": "array", "items": TEXT}
NAMESPACE = Param(
    "namespace",
    {"type": "array", "items": TEXT},
    "Only events of these graphs within the graph, each without those below it: segments of the form `node:task` with `|` "
    "between them, empty for the root; without its task a segment matches every task of the node.",
)
FOLLOW = (
    Param("stream_mode", MODES, "Only events of these modes."),
    NAMESPACE,
    Param(
        "checkpoint_id",
        TEXT,
        "A resumable run is told from after this checkpoint on; whole if it is none of the run's. A `Last-Event-ID` that names "
        "an event counts more.",
    ),
    CANCEL_ON_DISCONNECT,
)
EVENTS = "text/event-stream"
STREAMED: dict[str, Any] = {"query": (NAMESPACE,), "media": EVENTS, "result": Any}
"""Common arguments of the operations that create a run and stream it."""
NO_STREAM: dict[int, dict[str, dict[str, Any]]] = {404: {EVENTS: {}}}
NO_OUTPUT: dict[int, dict[str, dict[str, Any]]] = {
    404: {"application/json": {"anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in ("RunError", "Error")]}}
}


def location_headers(content: str, reconnect: str | None = None) -> RawHeaders:
    """Returns the headers that tell SDKs the URL of a run, and the URL for a reconnect."""
    headers: RawHeaders = [(b"content-location", content.encode())]
    if reconnect is not None:
        headers.append((b"location", reconnect.encode()))
    return headers


def modes_of(values: list[str]) -> list[str]:
    """Returns the stream modes of a query: repeated, comma-separated, or a JSON list.

    Raises:
        Invalid: a value begins like a JSON list, but is none.
    """
    modes: list[str] = []
    for value in values:
        if value.startswith("["):
            try:
                named = orjson.loads(value)
            except orjson.JSONDecodeError:
                named = [None]
            if not all(isinstance(mode, str) for mode in named):
                raise Invalid(f"stream_mode: {value!r:.100} is no JSON list of texts")
            modes.extend(named)
        else:
            modes.extend(mode.strip() for mode in value.split(",") if mode.strip())
    return modes


class StreamingRoutes:
    """Base of the routes of thread runs and of stateless runs: responses that last as long as a run."""

    def __init__(self, services: Services, heartbeat: float = HEARTBEAT_SECONDS) -> None:
        self.services = services
        self.heartbeat = heartbeat

    async def follow(self, request: Request, thread_id: str | None, run_id: str, headers: RawHeaders) -> ASGIApp:
        """Streams the events of an existing run."""
        modes = modes_of(request.all("stream_mode"))
        try:
            events = await self.services.streams.join_stream(
                request.caller,
                thread_id,
                run_id,
                modes=set(modes) or None,
                namespaces=request.all("namespace"),
                checkpoint_id=request.text("checkpoint_id"),
                last_event_id=request.header(b"last-event-id"),
                cancel_on_disconnect=request.flag("cancel_on_disconnect"),
            )
        except NotFound as missing:
            return Response(error_frame(missing), 404, EVENT_HEADERS.copy(), None)
        return EventStreamResponse(events, headers, ids=events.ids, seconds=self.heartbeat)


class RunRoutes(StreamingRoutes):
    """Request handlers of the run routes."""

    async def create(self, request: Request) -> ASGIApp:
        thread_id = request.id("thread")
        run = await self.services.starts.create(request.caller, thread_id, await request.read(RunCreate))
        return json_response(run_record(run), headers=location_headers(f"/threads/{thread_id}/runs/{run.run_id}"))

    async def stream(self, request: Request) -> ASGIApp:
        thread_id = request.id("thread")
        run, events = await self.services.streams.stream(
            request.caller, thread_id, await request.read(RunCreate), namespaces=request.all("namespace")
        )
        path = f"/threads/{thread_id}/runs/{run.run_id}"
        return EventStreamResponse(
            events, location_headers(path, path + "/stream"), ids=events.ids, seconds=self.heartbeat
        )

    async def wait(self, request: Request) -> ASGIApp:
        thread_id = request.id("thread")
        run, output = await self.services.streams.wait(request.caller, thread_id, await request.read(RunCreate))
        path = f"/threads/{thread_id}/runs/{run.run_id}"
        return DeferredJsonResponse(output, location_headers(path, path + "/join"), seconds=self.heartbeat)

    async def search(self, request: Request) -> ASGIApp:
        thread_id = request.id("thread")
        limit = request.integer("limit", 10)
        offset = request.integer("offset", 0)
        status = cast(RunStatus | None, request.choice("status", STATUSES))
        select = request.all("select")
        check_count(len(select), SELECT, "select")
        unknown = [name for name in select if name not in FIELDS]
        if unknown:
            raise Invalid(f"Invalid select columns: {unknown}. Expected: {', '.join(FIELDS)}")
        runs = await self.services.runs.list(request.caller, thread_id, limit=limit, offset=offset, status=status)
        return json_response([select_fields(run_record(run), select) for run in runs])

    async def get(self, request: Request) -> ASGIApp:
        thread_id, run_id = request.id("thread"), request.id("run")
        return json_response(run_record(await self.services.runs.get(request.caller, thread_id, run_id)))

    async def delete(self, request: Request) -> ASGIApp:
        thread_id, run_id = request.id("thread"), request.id("run")
        await self.services.runs.delete(request.caller, thread_id, run_id)
        return empty_response()

    async def cancel(self, request: Request) -> ASGIApp:
        thread_id, run_id = request.id("thread"), request.id("run")
        wait = request.flag("wait")
        action = cast(CancelAction, request.choice("action", ACTIONS) or "interrupt")
        await self.services.runs.cancel(request.caller, thread_id, run_id, action=action, wait=wait)
        if not wait:
            return empty_response(202)
        path = f"/threads/{thread_id}/runs/{run_id}"
        return json_response({}, headers=location_headers(path, path + "/join"))

    async def join(self, request: Request) -> ASGIApp:
        thread_id, run_id = request.id("thread"), request.id("run")
        cancel = request.flag("cancel_on_disconnect")
        try:
            output = await self.services.streams.join(request.caller, thread_id, run_id, cancel_on_disconnect=cancel)
        except RunNotFound as missing:
            payload = {"error": "HTTPException", "message": f"{missing.status}: {missing.detail}"}
            return json_response({"__error__": payload}, 404)
        path = f"/threads/{thread_id}/runs/{run_id}"
        return DeferredJsonResponse(output, location_headers(path, path + "/join"), seconds=self.heartbeat)

    async def join_stream(self, request: Request) -> ASGIApp:
        thread_id, run_id = request.id("thread"), request.id("run")
        path = f"/threads/{thread_id}/runs/{run_id}"
        return await self.follow(request, thread_id, run_id, location_headers(path, path + "/stream"))

    async def thread_stream(self, request: Request) -> ASGIApp:
        thread_id = request.id("thread")
        modes = modes_of([*request.all("stream_modes"), *request.all("stream_mode")]) or ["run_modes"]
        for mode in modes:
            if mode not in THREAD_MODES:
                raise Invalid(f"Invalid stream mode: {mode}")
        last = request.header(b"last-event-id")
        try:
            events = await self.services.streams.thread_stream(
                request.caller, thread_id, modes=set(modes), last_event_id=last
            )
        except NotFound as missing:
            return Response(error_frame(missing), 404, EVENT_HEADERS.copy(), None)
        return EventStreamResponse(events, ids=events.ids, endless=True, seconds=self.heartbeat)

    def operations(self) -> list[Operation]:
        """Returns the routes, for the router and the OpenAPI description."""

        def runs(method: Any, path: str, handler: Any, summary: str, **more: Any) -> Operation:
            group: Group = "runs" if path.startswith("/runs") else "threads"
            return Operation(
                method=method,
                path="/threads/{thread_id}" + path,
                handler=handler,
                summary=summary,
                tag="Thread Runs",
                group=group,
                **more,
            )

        one = "/runs/{run_id}"
        make = {"body": RunCreate, "errors": (400, 404, 409, 429)}
        listing = (
            Param("limit", {"type": "integer", "minimum": 0, "default": 10}),
            Param("offset", {"type": "integer", "minimum": 0, "default": 0}),
            Param("status", {"enum": list(STATUSES)}),
            Param("select", {"type": "array", "items": {"enum": list(FIELDS)}}, "Fields of the answer."),
        )
        listed = list[RunResponse]
        wait = Param("wait", FLAG, "Whether to answer only when the run has ended.")
        watch = Param("stream_modes", {"type": "array", "items": {"enum": list(THREAD_MODES)}})
        return [
            runs("POST", "/runs/wait", self.wait, "Make a run and wait for its output", result=Any, **make),
            runs(
                "POST",
                "/runs/stream",
                self.stream,
                "Make a run and stream its events",
                **STREAMED,
                **make,
            ),
            runs("POST", "/runs", self.create, "Make a run", result=RunResponse, **make),
            runs("GET", "/runs", self.search, "List runs, newest first", query=listing, result=listed, errors=(404,)),
            runs("GET", one, self.get, "Get a run", result=RunResponse, errors=(404,)),
            runs("DELETE", one, self.delete, "Delete a run and its checkpoints", status=204, errors=(404, 409)),
            runs(
                "POST",
                one + "/cancel",
                self.cancel,
                "Cancel a run (202 at once, or 200 when it has ended with `wait`)",
                query=(wait, ACTION),
                result=Any,
                errors=(202, 404),
            ),
            runs(
                "GET",
                one + "/join",
                self.join,
                "Wait for a run's output",
                query=(CANCEL_ON_DISCONNECT,),
                result=Any,
                errors=(404,),
                responses=NO_OUTPUT,
            ),
            runs(
                "GET",
                one + "/stream",
                self.join_stream,
                "Stream a run's events; `Last-Event-ID` resumes",
                query=FOLLOW,
                media=EVENTS,
                result=Any,
                errors=(404, 429),
                responses=NO_STREAM,
            ),
            runs(
                "GET",
                "/stream",
                self.thread_stream,
                "Stream the events of all runs of a thread",
                query=(watch,),
                media=EVENTS,
                result=Any,
                errors=(404, 429),
                responses=NO_STREAM,
            ),
        ]
