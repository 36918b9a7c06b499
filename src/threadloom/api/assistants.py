"""Routes of assistants."""

from typing import Any

from starlette.types import ASGIApp

from threadloom.api.http import Request, empty_response, json_response
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


class AssistantRoutes:
    """Request handlers of the assistant routes."""

    def __init__(self, services: Services) -> None:
        self.services = services

    async def create(self, request: Request) -> ASGIApp:
        body = await request.read(AssistantCreate)
        return json_response(assistant_record(await self.services.assistants.create(request.caller, body)))

    async def get(self, request: Request) -> ASGIApp:
        return json_response(
            assistant_record(await self.services.assistants.get(request.caller, request.id("assistant")))
        )

    async def patch(self, request: Request) -> ASGIApp:
        assistant_id = request.id("assistant")
        body = await request.read(AssistantPatch)
        return json_response(assistant_record(await self.services.assistants.patch(request.caller, assistant_id, body)))

    async def delete(self, request: Request) -> ASGIApp:
        assistant_id = request.id("assistant")
        threads = request.says_true("delete_threads")
        await self.services.assistants.delete(request.caller, assistant_id, delete_threads=threads)
        return empty_response()

    async def search(self, request: Request) -> ASGIApp:
        body = await request.read(AssistantSearch)
        found, following, total = await self.services.assistants.search(request.caller, body)
        shown = [select_fields(assistant_record(assistant), body.select) for assistant in found]
        return json_response(shown, headers=pages(following, total))

    async def count(self, request: Request) -> ASGIApp:
        body = await request.read(AssistantCount)
        return json_response(await self.services.assistants.count(request.caller, body))

    async def versions(self, request: Request) -> ASGIApp:
        assistant_id = request.id("assistant")
        body = await request.read(AssistantVersions)
        found = await self.services.assistants.versions(request.caller, assistant_id, body)
        return json_response([assistant_version_record(assistant) for assistant in found])

    async def latest(self, request: Request) -> ASGIApp:
        assistant_id = request.id("assistant")
        body = await request.read(AssistantLatest)
        return json_response(
            assistant_record(await self.services.assistants.set_latest(request.caller, assistant_id, body))
        )

    async def graph(self, request: Request) -> ASGIApp:
        name = request.params["assistant_id"]
        return json_response(
            await self.services.assistants.graph(request.caller, name, xray=request.text("xray") or "")
        )

    async def subgraphs(self, request: Request) -> ASGIApp:
        name = request.params["assistant_id"]
        namespace = request.params.get("namespace")
        recurse = request.says_true("recurse")
        return json_response(
            await self.services.assistants.subgraphs(request.caller, name, namespace=namespace, recurse=recurse)
        )

    async def schemas(self, request: Request) -> ASGIApp:
        return json_response(await self.services.assistants.schemas(request.caller, request.params["assistant_id"]))

    def operations(self) -> list[Operation]:
        """Returns the routes, for the router and the OpenAPI description."""

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
