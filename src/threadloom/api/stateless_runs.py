"""Routes of stateless runs: each creates a temporary thread of its own."""

from typing import Any, cast

import msgspec
from starlette.types import ASGIApp

from threadloom.api import parse
from threadloom.api.http import Request, empty_response, json_response
from threadloom.api.routing import Operation
from threadloom.api.runs import (
    ACTION,
    ACTIONS,
    EVENTS,
    FOLLOW,
    NO_STREAM,
    STREAMED,
    StreamingRoutes,
    location_headers,
)
from threadloom.api.sse import DeferredJsonResponse, EventStreamResponse
from threadloom.errors import Invalid
from threadloom.services.records import run_record
from threadloom.services.requests import CancelRuns, RunCreate, bounds
from threadloom.services.requests.bounds import check_count
from threadloom.services.responses import RunResponse
from threadloom.types import CancelAction


class StatelessRunRoutes(StreamingRoutes):
    """Request handlers of the stateless run routes."""

    async def create(self, request: Request) -> ASGIApp:
        run = await self.services.starts.create(request.caller, None, await request.read(RunCreate))
        return json_response(run_record(run), headers=location_headers(f"/runs/{run.run_id}"))

    async def stream(self, request: Request) -> ASGIApp:
        run, events = await self.services.streams.stream(
            request.caller, None, await request.read(RunCreate), namespaces=request.all("namespace")
        )
        path = f"/runs/{run.run_id}"
        return EventStreamResponse(
            events, location_headers(path, path + "/stream"), ids=events.ids, seconds=self.heartbeat
        )

    async def wait(self, request: Request) -> ASGIApp:
        run, output = await self.services.streams.wait(request.caller, None, await request.read(RunCreate))
        path = f"/threads/{run.thread_id}/runs/{run.run_id}"
        return DeferredJsonResponse(output, location_headers(path, path + "/join"), seconds=self.heartbeat)

    async def batch(self, request: Request) -> ASGIApp:
        body = await request.json()
        if isinstance(body, list):
            check_count(len(body), bounds.BATCH, "request body")
        requests: list[RunCreate] = parse.shape(body, list[RunCreate])
        if not requests:
            raise Invalid("request body: a batch needs at least one run (got [])")
        runs = await self.services.starts.create_batch(request.caller, requests)
        return json_response([run_record(run) for run in runs])

    async def cancel(self, request: Request) -> ASGIApp:
        action = cast(CancelAction, request.choice("action", ACTIONS) or "interrupt")
        body = await request.read(CancelRuns)
        await self.services.runs.cancel_many(
            request.caller,
            status=None if body.status is msgspec.UNSET else body.status,
            thread_id=None if body.thread_id is msgspec.UNSET else body.thread_id,
            run_ids=None if body.run_ids is msgspec.UNSET else body.run_ids,
            action=action,
        )
        return empty_response()

    async def join_stream(self, request: Request) -> ASGIApp:
        run_id = request.id("run")
        path = f"/runs/{run_id}"
        return await self.follow(request, None, run_id, location_headers(path, path + "/stream"))

    def operations(self) -> list[Operation]:
        """Returns the routes, for the router and the OpenAPI description."""

        def runs(method: Any, path: str, handler: Any, summary: str, **more: Any) -> Operation:
            return Operation(
                method=method, path=path, handler=handler, summary=summary, tag="Stateless Runs", group="runs", **more
            )

        make = {"body": RunCreate, "errors": (400, 404, 429)}
        listed = list[RunResponse]
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
            runs(
                "POST",
                "/runs/batch",
                self.batch,
                "Make several runs, or none if one is refused",
                body=list[RunCreate],
                result=listed,
                errors=(400, 404, 429),
            ),
            runs(
                "POST",
                "/runs/cancel",
                self.cancel,
                "Cancel several runs",
                body=CancelRuns,
                query=(ACTION,),
                status=204,
                errors=(404,),
            ),
            runs(
                "GET",
                "/runs/{run_id}/stream",
                self.join_stream,
                "Stream a run's events; `Last-Event-ID` resumes",
                query=FOLLOW,
                media=EVENTS,
                result=Any,
                errors=(404, 429),
                responses=NO_STREAM,
            ),
        ]
