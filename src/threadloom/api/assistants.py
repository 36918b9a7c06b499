"""Routes of assistants."""

from typing import Any

from starlette.types import ASGIApp

from threadloom.api.http import Call, answer, nothing
from threadloom.api.routing import Operation, Param
from threadloom.api.threads import pages
from threadloom.services import Services
from threadloom.services.records import assistant_record, assistant_version_record, select_fields
from threadloom.services.requests import (
    AssistantCount,
    AssistantCreate,
    AssistantLatest,
    AssistantPatch,
    AssistantSearch,
    AssistantVersions,
)
from threadloom.services.responses import (
    AssistantResponse,
    AssistantVersionResponse,
    DrawingResponse,
    SchemasResponse,
    SubgraphResponse,
)

TEXT = {"type": "string"}
FLAG = {"type": "boolean"}


class Assistants:
    """The handlers."""

    def __init__(self, services: Services) -> None:
        self.services = services

    async def create(self, call: Call) -> ASGIApp:
        request = await call.read(AssistantCreate)
        return answer(assistant_record(await self.services.assistants.create(call.caller, request)))

    async def get(self, call: Call) -> ASGIApp:
        return answer(assistant_record(await self.services.assistants.get(call.caller, call.id("assistant"))))

    async def patch(self, call: Call) -> ASGIApp:
        assistant_id = call.id("assistant")
        request = await call.read(AssistantPatch)
        return answer(assistant_record(await self.services.assistants.patch(call.caller, assistant_id, request)))

    async def delete(self, call: Call) -> ASGIApp:
        assistant_id = call.id("assistant")
        threads = call.says_true("delete_threads")
        await self.services.assistants.delete(call.caller, assistant_id, delete_threads=threads)
        return nothing()

    async def search(self, call: Call) -> ASGIApp:
        request = await call.read(AssistantSearch)
        found, following, total = await self.services.assistants.search(call.caller, request)
        shown = [select_fields(assistant_record(assistant), request.select) for assistant in found]
        return answer(shown, headers=pages(following, total))

    async def count(self, call: Call) -> ASGIApp:
        request = await call.read(AssistantCount)
        return answer(await self.services.assistants.count(call.caller, request))

    async def versions(self, call: Call) -> ASGIApp:
        assistant_id = call.id("assistant")
        request = await call.read(AssistantVersions)
        found = await self.services.assistants.versions(call.caller, assistant_id, request)
        return answer([assistant_version_record(assistant) for assistant in found])

    async def latest(self, call: Call) -> ASGIApp:
        assistant_id = call.id("assistant")
        request = await call.read(AssistantLatest)
        return answer(assistant_record(await self.services.assistants.set_latest(call.caller, assistant_id, request)))

    async def graph(self, call: Call) -> ASGIApp:
        name = call.params["assistant_id"]
        return answer(await self.services.assistants.graph(call.caller, name, xray=call.text("xray") or ""))

    async def subgraphs(self, call: Call) -> ASGIApp:
        name = call.params["assistant_id"]
        namespace = call.params.get("namespace")
        recurse = call.says_true("recurse")
        return answer(await self.services.assistants.subgraphs(call.caller, name, namespace=namespace, recurse=recurse))

    async def schemas(self, call: Call) -> ASGIApp:
        return answer(await self.services.assistants.schemas(call.caller, call.params["assistant_id"]))

    def operations(self) -> list[Operation]:
        """The routes, for router and description."""

        def assistants(method: Any, path: str, handler: Any, summary: str, **more: Any) -> Operation:
            return Operation(
                method=method,
                path="/assistants" + path,
                handler=handler,
                summary=summary,
                tag="Assistants",
                group="assistants",
                **more,
            )

        one = "/{assistant_id}"
        listed = list[AssistantResponse]
        changed = {"result": AssistantResponse, "errors": (400, 404)}
        recurse = Param("recurse", FLAG, "Whether to go into subgraphs of subgraphs.")
        xray = Param("xray", {"type": ["boolean", "integer"]}, "How many levels of subgraphs to show in place.")
        return [
            assistants(
                "POST",
                "",
                self.create,
                "Create an assistant",
                body=AssistantCreate,
                result=AssistantResponse,
                errors=(400, 404, 409),
            ),
            assistants(
                "POST", "/search", self.search, "Search assistants", body=AssistantSearch, result=listed, errors=(404,)
            ),
            assistants(
                "POST",
                "/count",
                self.count,
                "Count assistants",
                body=AssistantCount,
                result=int,
                errors=(404,),
            ),
            assistants("GET", one, self.get, "Get an assistant", result=AssistantResponse, errors=(404,)),
            assistants("PATCH", one, self.patch, "Make a new version", body=AssistantPatch, **changed),
            assistants(
                "DELETE",
                one,
                self.delete,
                "Delete an assistant",
                query=(Param("delete_threads", FLAG, "Whether the threads it last ran on go with it."),),
                status=204,
                errors=(404, 409),
            ),
            assistants(
                "POST",
                one + "/versions",
                self.versions,
                "List versions, newest first",
                body=AssistantVersions,
                result=list[AssistantVersionResponse],
                errors=(404,),
            ),
            assistants("POST", one + "/latest", self.latest, "Go to a version", body=AssistantLatest, **changed),
            assistants(
                "GET",
                one + "/graph",
                self.graph,
                "Draw the graph",
                query=(xray,),
                result=DrawingResponse,
                errors=(404, 424),
            ),
            assistants(
                "GET",
                one + "/subgraphs",
                self.subgraphs,
                "List the schemas of subgraphs",
                query=(recurse,),
                result=dict[str, SubgraphResponse],
                errors=(404, 424),
            ),
            assistants(
                "GET",
                one + "/subgraphs/{namespace:path}",
                self.subgraphs,
                "List the schemas of a subgraph",
                query=(recurse,),
                result=dict[str, SubgraphResponse],
                errors=(404, 424),
            ),
            assistants(
                "GET",
                one + "/schemas",
                self.schemas,
                "Get the graph's schemas",
                result=SchemasResponse,
                errors=(404, 424),
            ),
        ]
