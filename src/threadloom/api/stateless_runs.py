"""Routes of runs without a thread of the caller's: each has a throw-away thread of its own."""

from typing import Any, cast

import msgspec
from starlette.types import ASGIApp

from threadloom.api import parse
from threadloom.api.http import Call, answer, nothing
from threadloom.api.routing import Operation
from threadloom.api.runs import (
    ACTION,
    ACTIONS,
    EVENTS,
    FOLLOW,
    NO_STREAM,
    STREAMED,
    Watching,
    places,
)
from threadloom.api.sse import EventStream, LateJson
from threadloom.errors import Invalid
from threadloom.services.records import run_record
from threadloom.services.requests import CancelRuns, RunCreate, bounds
from threadloom.services.requests.bounds import check_count
from threadloom.services.responses import RunResponse
from threadloom.types import CancelAction


class StatelessRuns(Watching):
    """The handlers."""

    async def create(self, call: Call) -> ASGIApp:
        run = await self.services.starts.create(call.caller, None, await call.read(RunCreate))
        return answer(run_record(run), headers=places(f"/runs/{run.run_id}"))

    async def stream(self, call: Call) -> ASGIApp:
        run, events = await self.services.streams.stream(
            call.caller, None, await call.read(RunCreate), namespaces=call.all("namespace")
        )
        path = f"/runs/{run.run_id}"
        return EventStream(events, places(path, path + "/stream"), ids=events.ids, seconds=self.heartbeat)

    async def wait(self, call: Call) -> ASGIApp:
        run, output = await self.services.streams.wait(call.caller, None, await call.read(RunCreate))
        path = f"/threads/{run.thread_id}/runs/{run.run_id}"
        return LateJson(output, places(path, path + "/join"), seconds=self.heartbeat)

    async def batch(self, call: Call) -> ASGIApp:
        body = await call.json()
        if isinstance(body, list):
            check_count(len(body), bounds.BATCH, "request body")
        requests: list[RunCreate] = parse.shape(body, list[RunCreate])
        if not requests:
            raise Invalid("request body: a batch needs at least one run (got [])")
        runs = await self.services.starts.create_batch(call.caller, requests)
        return answer([run_record(run) for run in runs])

    async def cancel(self, call: Call) -> ASGIApp:
        action = cast(CancelAction, call.word("action", ACTIONS) or "interrupt")
        request = await call.read(CancelRuns)
        await self.services.runs.cancel_many(
            call.caller,
            status=None if request.status is msgspec.UNSET else request.status,
            thread_id=None if request.thread_id is msgspec.UNSET else request.thread_id,
            run_ids=None if request.run_ids is msgspec.UNSET else request.run_ids,
            action=action,
        )
        return nothing()

    async def join_stream(self, call: Call) -> ASGIApp:
        run_id = call.id("run")
        path = f"/runs/{run_id}"
        return await self.follow(call, None, run_id, places(path, path + "/stream"))

    def operations(self) -> list[Operation]:
        """The routes, for router and description."""

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
                told=NO_STREAM,
            ),
        ]
