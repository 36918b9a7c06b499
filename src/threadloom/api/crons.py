"""Routes of crons: runs made again and again."""

from typing import Any

from starlette.types import ASGIApp

from threadloom.api import parse
from threadloom.api.http import Call, answer, nothing
from threadloom.api.routing import Operation
from threadloom.api.threads import pages
from threadloom.clock import iso
from threadloom.errors import BadRequest
from threadloom.services import Services
from threadloom.services.requests import CronCount, CronCreate, CronPatch, CronSearch
from threadloom.types import Cron


def record(cron: Cron) -> dict[str, Any]:
    """A cron as clients see it, with what became of its latest firing."""
    return {
        "cron_id": cron.cron_id,
        "assistant_id": cron.assistant_id,
        "thread_id": cron.thread_id,
        "user_id": cron.user_id or "",
        "schedule": cron.schedule,
        "timezone": cron.timezone,
        "end_time": cron.end_time,
        "payload": cron.payload,
        "next_run_date": None if cron.next_run_date is None else iso(cron.next_run_date),
        "metadata": cron.metadata,
        "on_run_completed": cron.on_run_completed,
        "enabled": cron.enabled,
        "created_at": iso(cron.created_at),
        "updated_at": iso(cron.updated_at),
        "last_fired_at": None if cron.last_fired_at is None else iso(cron.last_fired_at),
        "last_run_id": cron.last_run_id,
        "last_error": cron.last_error,
    }


class Crons:
    """The handlers. What a cron does not know of its body it keeps, so services get the body beside the struct."""

    def __init__(self, services: Services) -> None:
        self.services = services

    async def create(self, call: Call) -> ASGIApp:
        thread_id = call.id("thread") if "thread_id" in call.params else None
        body = await call.json()
        request: CronCreate = parse.shape(body, CronCreate)
        return answer(record(await self.services.crons.create(call.caller, thread_id, request, body)))

    async def get(self, call: Call) -> ASGIApp:
        return answer(record(await self.services.crons.get(call.caller, call.id("cron"))))

    async def patch(self, call: Call) -> ASGIApp:
        cron_id = call.id("cron")
        body = await call.json()
        request: CronPatch = parse.shape(body, CronPatch)
        if not body:
            raise BadRequest("Request body cannot be empty")
        return answer(record(await self.services.crons.patch(call.caller, cron_id, request, body)))

    async def delete(self, call: Call) -> ASGIApp:
        await self.services.crons.delete(call.caller, call.id("cron"))
        return nothing()

    async def search(self, call: Call) -> ASGIApp:
        request = await call.read(CronSearch)
        found, following, total = await self.services.crons.search(call.caller, request)
        shown = [record(cron) for cron in found]
        if request.select:
            shown = [{name: one[name] for name in request.select} for one in shown]
        return answer(shown, headers=pages(following, total))

    async def count(self, call: Call) -> ASGIApp:
        request = await call.read(CronCount)
        return answer(await self.services.crons.count(call.caller, request))

    def operations(self) -> list[Operation]:
        """The routes, for router and description."""

        def crons(method: Any, path: str, handler: Any, summary: str, **more: Any) -> Operation:
            return Operation(
                method=method, path=path, handler=handler, summary=summary, tag="Crons", group="runs", **more
            )

        make = {"body": CronCreate, "result": "Cron", "errors": (400, 404)}
        one = "/runs/crons/{cron_id}"
        listed = {"type": "array", "items": {"$ref": "#/components/schemas/Cron"}}
        return [
            crons("POST", "/runs/crons", self.create, "Make a cron, each firing on a thread of its own", **make),
            crons("POST", "/threads/{thread_id}/runs/crons", self.create, "Make a cron on a thread", **make),
            crons("POST", "/runs/crons/search", self.search, "Search crons", body=CronSearch, result=listed),
            crons("POST", "/runs/crons/count", self.count, "Count crons", body=CronCount, result={"type": "integer"}),
            crons("GET", one, self.get, "Get a cron", result="Cron", errors=(404,)),
            crons("PATCH", one, self.patch, "Change a cron", body=CronPatch, result="Cron", errors=(400, 404)),
            crons("DELETE", one, self.delete, "Delete a cron", status=204, errors=(404,)),
        ]
