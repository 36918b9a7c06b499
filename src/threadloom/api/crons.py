"""Routes of crons: schedules that start runs."""

from typing import Any

from starlette.types import ASGIApp

from threadloom.api import parse
from threadloom.api.http import Request, empty_response, json_response
from threadloom.api.routing import Operation
from threadloom.api.threads import pages
from threadloom.services import Services
from threadloom.services.records import cron_record, select_fields
from threadloom.services.requests import CronCount, CronCreate, CronPatch, CronSearch
from threadloom.services.responses import CronResponse


class CronRoutes:
    """Request handlers of the cron routes. A cron keeps unknown fields of the body, so services get the body in addition to the
    struct.
    """

    def __init__(self, services: Services) -> None:
        self.services = services

    async def create(self, request: Request) -> ASGIApp:
        thread_id = request.id("thread") if "thread_id" in request.params else None
        body = await request.json()
        fields: CronCreate = parse.shape(body, CronCreate)
        return json_response(cron_record(await self.services.crons.create(request.caller, thread_id, fields, body)))

    async def get(self, request: Request) -> ASGIApp:
        return json_response(cron_record(await self.services.crons.get(request.caller, request.id("cron"))))

    async def patch(self, request: Request) -> ASGIApp:
        cron_id = request.id("cron")
        body = await request.json()
        fields: CronPatch = parse.shape(body, CronPatch)
        return json_response(cron_record(await self.services.crons.patch(request.caller, cron_id, fields, body)))

    async def delete(self, request: Request) -> ASGIApp:
        await self.services.crons.delete(request.caller, request.id("cron"))
        return empty_response()

    async def search(self, request: Request) -> ASGIApp:
        fields = await request.read(CronSearch)
        found, following, total = await self.services.crons.search(request.caller, fields)
        shown = [select_fields(cron_record(cron), fields.select) for cron in found]
        return json_response(shown, headers=pages(following, total))

    async def count(self, request: Request) -> ASGIApp:
        fields = await request.read(CronCount)
        return json_response(await self.services.crons.count(request.caller, fields))

    def operations(self) -> list[Operation]:
        """Returns the routes, for the router and the OpenAPI description."""

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
