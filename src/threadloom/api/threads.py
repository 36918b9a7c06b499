"""Routes of threads: create, read, update, delete, search, prune, copy."""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET
from starlette.types import ASGIApp

from threadloom.api.http import RawHeaders, Request, Response, empty_response, json_response
from threadloom.api.routing import Operation, Param
from threadloom.large import aside
from threadloom.services import Services
from threadloom.services.records import copy_records, select_fields, thread_record
from threadloom.services.requests import ThreadCopy, ThreadCount, ThreadCreate, ThreadPatch, ThreadPrune, ThreadSearch
from threadloom.services.responses import (
    BranchesResponse,
    DeletedThreadsResponse,
    PrunedResponse,
    ThreadResponse,
    ThreadStorageResponse,
)
from threadloom.services.threads import FoundThread

TEXT = {"type": "string"}
INCLUDE = Param("include", TEXT, "Comma-joined; `ttl` shows the time to live.")

CASCADE = Param(
    "cascade", {"enum": ["copies"]}, "`copies`: every thread that descends from it by copying is deleted too."
)
CASCADE_DELETED = {200: {"application/json": {"$ref": "#/components/schemas/DeletedThreads"}}}


def pages(following: int | None, total: int) -> RawHeaders:
    """Returns the pagination headers of a list."""
    headers: RawHeaders = [(b"x-pagination-total", b"%d" % total)]
    if following is not None:
        headers.append((b"x-pagination-next", b"%d" % following))
    return headers


class ThreadRoutes:
    """Request handlers of the thread routes."""

    def __init__(self, services: Services) -> None:
        self.services = services

    async def create(self, request: Request) -> ASGIApp:
        body = await request.read(ThreadCreate)
        return json_response(thread_record(await self.services.threads.create(request.caller, body)))

    async def get(self, request: Request) -> ASGIApp:
        thread_id = request.id("thread")
        wanted = (request.text("include") or "").split(",")
        thread = await self.services.threads.get(request.caller, thread_id)
        return json_response(thread_record(thread, with_ttl="ttl" in [word.strip() for word in wanted]))

    async def patch(self, request: Request) -> ASGIApp:
        thread_id = request.id("thread")
        body = await request.read(ThreadPatch)
        thread = await self.services.threads.patch(request.caller, thread_id, body)
        return (
            empty_response() if request.header(b"prefer") == "return=minimal" else json_response(thread_record(thread))
        )

    async def delete(self, request: Request) -> ASGIApp:
        thread_id = request.id("thread")
        if request.choice("cascade", ("copies",)) is None:
            await self.services.threads.delete(request.caller, thread_id)
            return empty_response()
        return json_response(
            DeletedThreadsResponse(
                thread_ids=await self.services.cascade_delete.delete_with_copies(request.caller, thread_id)
            )
        )

    async def search(self, request: Request) -> ASGIApp:
        body = await request.read(ThreadSearch)
        found, following, total = await self.services.threads.search(request.caller, body)
        return json_response([_found(one, body.select) for one in found], headers=pages(following, total))

    async def count(self, request: Request) -> ASGIApp:
        body = await request.read(ThreadCount)
        return json_response(await self.services.threads.count(request.caller, body))

    async def prune(self, request: Request) -> ASGIApp:
        body = await request.read(ThreadPrune)
        return json_response(PrunedResponse(pruned_count=await self.services.threads.prune(request.caller, body)))

    async def branches(self, request: Request) -> ASGIApp:
        found = await self.services.branches.branches(request.caller, request.id("thread"))
        return Response(await aside(msgspec.json.encode, found))

    async def storage(self, request: Request) -> ASGIApp:
        return json_response(await self.services.threads.storage(request.caller, request.id("thread")))

    async def copy(self, request: Request) -> ASGIApp:
        thread_id = request.id("thread")
        body = await request.read_optional(ThreadCopy) or ThreadCopy()
        copies = await self.services.copying.copy(request.caller, thread_id, body)
        records = copy_records(copies.threads, UNSET if copies.cut is None else copies.cut.response())
        return json_response(records[0] if body.count is UNSET else records)

    def operations(self) -> list[Operation]:
        """Returns the routes, for the router and the OpenAPI description."""

        def threads(method: Any, path: str, handler: Any, summary: str, **more: Any) -> Operation:
            return Operation(
                method=method, path=path, handler=handler, summary=summary, tag="Threads", group="threads", **more
            )

        one = "/threads/{thread_id}"
        listed = list[ThreadResponse]
        return [
            threads(
                "POST",
                "/threads",
                self.create,
                "Create a thread",
                body=ThreadCreate,
                result=ThreadResponse,
                errors=(400, 404, 409),
            ),
            threads("POST", "/threads/search", self.search, "Search threads", body=ThreadSearch, result=listed),
            threads("POST", "/threads/count", self.count, "Count threads", body=ThreadCount, result=int),
            threads("POST", "/threads/prune", self.prune, "Prune threads", body=ThreadPrune, result=PrunedResponse),
            threads("GET", one, self.get, "Get a thread", query=(INCLUDE,), result=ThreadResponse, errors=(404,)),
            threads(
                "PATCH",
                one,
                self.patch,
                "Change a thread (`Prefer: return=minimal` answers 204 without a body)",
                body=ThreadPatch,
                result=ThreadResponse,
                errors=(204, 404),
            ),
            threads(
                "DELETE",
                one,
                self.delete,
                "Delete a thread with all it has; its copies keep what they share with it, unless they are deleted too",
                query=(CASCADE,),
                status=204,
                errors=(404, 409),
                responses=CASCADE_DELETED,
            ),
            threads(
                "POST",
                one + "/copy",
                self.copy,
                "Copy a thread with its history, in constant time; with `count` many times, and the answer is a list",
                body=ThreadCopy,
                body_optional=True,
                result=ThreadResponse | listed,
                errors=(404, 409),
            ),
            threads(
                "GET",
                one + "/branches",
                self.branches,
                "Map a thread: its turns, where each can be replaced, and its copies, without any values",
                result=BranchesResponse,
                errors=(404,),
            ),
            threads(
                "GET",
                one + "/storage",
                self.storage,
                "Tell what a thread's history takes up",
                result=ThreadStorageResponse,
                errors=(404, 501),
            ),
        ]


def _found(found: FoundThread, fields: Sequence[str]) -> Any:
    """Returns a thread as a search result. Extracted values are always included, whatever fields are selected."""
    record = thread_record(found.thread, extracted=found.extracted)
    if not fields:
        return record
    return select_fields(record, [*fields, "extracted"] if found.extracted is not None else fields)
