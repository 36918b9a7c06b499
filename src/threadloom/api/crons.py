"""Routes of crons: runs made again and again."""

from typing import Any

from starlette.types import ASGIApp

from threadloom.api import parse
from threadloom.api.http import Call, answer, nothing
from threadloom.api.routing import Operation
from threadloom.api.threads import pages
from threadloom.services import Services
from threadloom.services.records import cron_record, select_fields
from threadloom.services.requests import CronCount, CronCreate, CronPatch, CronSearch
from threadloom.services.responses import CronResponse


class Crons:
    """The handlers. What a cron does not know of its body it keeps, so services get the body beside the struct."""

    def __init__(self, services: Services) -> None:
        self.services = services

    async def create(self, call: Call) -> ASGIApp:
        thread_id = call.id("thread") if "thread_id" in call.params else None
        body = await call.json()
        request: CronCreate = parse.shape(body, CronCreate)
        return answer(cron_record(await self.services.crons.create(call.caller, thread_id, request, body)))

    async def get(self, call: Call) -> ASGIApp:
        return answer(cron_record(await self.services.crons.get(call.caller, call.id("cron"))))

    async def patch(self, call: Call) -> ASGIApp:
        cron_id = call.id("cron")
        body = await call.json()
        request: CronPatch = parse.shape(body, CronPatch)
        return answer(cron_record(await self.services.crons.patch(call.caller, cron_id, request, body)))

    async def delete(self, call: Call) -> ASGIApp:
        await self.services.crons.delete(call.caller, call.id("cron"))
        return nothing()

    async def search(self, call: Call) -> ASGIApp:
        request = await call.read(CronSearch)
        found, following, total = await self.services.crons.search(call.caller, request)
        shown = [select_fields(cron_record(cron), request.select) for cron in found]
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

        make = {"body": CronCreate, "result": CronResponse, "errors": (400, 404)}
        one = "/runs/crons/{cron_id}"
        listed = list[CronResponse]
        return [
            crons("POST", "/runs/crons", self.create, "Make a cron, each firing on a thread of its own", **make),
            crons("POST", "/threads/{thread_id}/runs/crons", self.create, "Make a cron on a thread", **make),
            crons("POST", "/runs/crons/search", self.search, "Search crons", body=CronSearch, result=listed),
            crons("POST", "/runs/crons/count", self.count, "Count crons", body=CronCount, result=int),
            crons("GET", one, self.get, "Get a cron", result=CronResponse, errors=(404,)),
            crons("PATCH", one, self.patch, "Change a cron", body=CronPatch, result=CronResponse, errors=(400, 404)),
            crons("DELETE", one, self.delete, "Delete a cron", status=204, errors=(404,)),
        ]
