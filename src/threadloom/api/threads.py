"""Routes of threads: create, read, change, delete, find, prune, copy."""

from collections.abc import Sequence
from typing import Any

from starlette.types import ASGIApp

from threadloom.api.http import Call, RawHeaders, answer, nothing
from threadloom.api.routing import Operation, Param
from threadloom.services import Services
from threadloom.services.records import select_fields, thread_record
from threadloom.services.requests import ThreadCopy, ThreadCount, ThreadCreate, ThreadPatch, ThreadPrune, ThreadSearch
from threadloom.services.responses import DeletedThreadsResponse, PrunedResponse, ThreadResponse, ThreadStorageResponse
from threadloom.services.threads import FoundThread

TEXT = {"type": "string"}
INCLUDE = Param("include", TEXT, "Comma-joined; `ttl` shows the time to live.")

CASCADE = Param(
    "cascade", {"enum": ["copies"]}, "`copies`: every thread that descends from it by copying is deleted too."
)
ERASED = {200: {"application/json": {"$ref": "#/components/schemas/DeletedThreads"}}}


def pages(following: int | None, total: int) -> RawHeaders:
    """The headers of a page of a list."""
    headers: RawHeaders = [(b"x-pagination-total", b"%d" % total)]
    if following is not None:
        headers.append((b"x-pagination-next", b"%d" % following))
    return headers


class Threads:
    """The handlers."""

    def __init__(self, services: Services) -> None:
        self.services = services

    async def create(self, call: Call) -> ASGIApp:
        request = await call.read(ThreadCreate)
        return answer(thread_record(await self.services.threads.create(call.caller, request)))

    async def get(self, call: Call) -> ASGIApp:
        thread_id = call.id("thread")
        wanted = (call.text("include") or "").split(",")
        thread = await self.services.threads.get(call.caller, thread_id)
        return answer(thread_record(thread, with_ttl="ttl" in [word.strip() for word in wanted]))

    async def patch(self, call: Call) -> ASGIApp:
        thread_id = call.id("thread")
        request = await call.read(ThreadPatch)
        thread = await self.services.threads.patch(call.caller, thread_id, request)
        return nothing() if call.header(b"prefer") == "return=minimal" else answer(thread_record(thread))

    async def delete(self, call: Call) -> ASGIApp:
        thread_id = call.id("thread")
        if call.word("cascade", ("copies",)) is None:
            await self.services.threads.delete(call.caller, thread_id)
            return nothing()
        return answer(DeletedThreadsResponse(thread_ids=await self.services.erasing.erase(call.caller, thread_id)))

    async def search(self, call: Call) -> ASGIApp:
        request = await call.read(ThreadSearch)
        found, following, total = await self.services.threads.search(call.caller, request)
        return answer([_found(one, request.select) for one in found], headers=pages(following, total))

    async def count(self, call: Call) -> ASGIApp:
        request = await call.read(ThreadCount)
        return answer(await self.services.threads.count(call.caller, request))

    async def prune(self, call: Call) -> ASGIApp:
        request = await call.read(ThreadPrune)
        return answer(PrunedResponse(pruned_count=await self.services.threads.prune(call.caller, request)))

    async def storage(self, call: Call) -> ASGIApp:
        return answer(await self.services.threads.storage(call.caller, call.id("thread")))

    async def copy(self, call: Call) -> ASGIApp:
        thread_id = call.id("thread")
        request = await call.read_optional(ThreadCopy)
        return answer(thread_record(await self.services.copying.copy(call.caller, thread_id, request or ThreadCopy())))

    def operations(self) -> list[Operation]:
        """The routes, for router and description."""

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
                told=ERASED,
            ),
            threads(
                "POST",
                one + "/copy",
                self.copy,
                "Copy a thread with its history, in constant time",
                body=ThreadCopy,
                body_optional=True,
                result=ThreadResponse,
                errors=(404, 409),
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
    """A thread as a search answers it: what was extracted is in it, whatever was selected."""
    record = thread_record(found.thread, extracted=found.extracted)
    return select_fields(record, [*fields, "extracted"] if fields and found.extracted is not None else fields)
