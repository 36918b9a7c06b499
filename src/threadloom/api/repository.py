"""Routes of threads as a repository: reset, promote, tags, append."""

from starlette.types import ASGIApp

from threadloom.api.http import Request, empty_response, json_response
from threadloom.api.routing import Operation, of_a_thread
from threadloom.clock import iso
from threadloom.errors import Invalid
from threadloom.services import Services
from threadloom.services.moves import MovedThread
from threadloom.services.records import thread_record
from threadloom.services.requests import TagPut, ThreadAppend, ThreadPromote, ThreadReset, is_tag_name
from threadloom.services.responses import StateWrittenResponse, TagResponse, ThreadResponse
from threadloom.storage.lineage import Tag


class RepositoryRoutes:
    """Request handlers of the operations on histories."""

    def __init__(self, services: Services) -> None:
        self.services = services

    async def reset(self, request: Request) -> ASGIApp:
        thread_id = request.id("thread")
        body = await request.read(ThreadReset)
        return _answer(await self.services.repository.moves.reset(request.caller, thread_id, body))

    async def promote(self, request: Request) -> ASGIApp:
        thread_id = request.id("thread")
        body = await request.read(ThreadPromote)
        return _answer(await self.services.repository.moves.promote(request.caller, thread_id, body))

    async def append(self, request: Request) -> ASGIApp:
        thread_id = request.id("thread")
        body = await request.read(ThreadAppend)
        return json_response(await self.services.repository.appending.append(request.caller, thread_id, body))

    async def put_tag(self, request: Request) -> ASGIApp:
        thread_id, name = request.id("thread"), request.params["name"]
        if not is_tag_name(name):
            raise Invalid(
                f"name: {name!r:.100} is no name of a tag: 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-', and no UUID"
            )
        body = await request.read_optional(TagPut) or TagPut()
        return json_response(_tag(await self.services.repository.tags.put(request.caller, thread_id, name, body)))

    async def tags(self, request: Request) -> ASGIApp:
        found = await self.services.repository.tags.list(request.caller, request.id("thread"))
        return json_response([_tag(tag) for tag in found])

    async def delete_tag(self, request: Request) -> ASGIApp:
        await self.services.repository.tags.delete(request.caller, request.id("thread"), request.params["name"])
        return empty_response()

    def operations(self) -> list[Operation]:
        """Returns the routes, for the router and the OpenAPI description."""

        return [
            of_a_thread(
                "POST",
                "/reset",
                self.reset,
                "Move a thread to one of its checkpoints, or undo its last move",
                body=ThreadReset,
                result=ThreadResponse,
                errors=(404, 409),
            ),
            of_a_thread(
                "POST",
                "/promote",
                self.promote,
                "Move a thread to the newest state of a copy, or of another thread of its tree",
                body=ThreadPromote,
                result=ThreadResponse,
                errors=(404, 409),
            ),
            of_a_thread(
                "POST",
                "/append",
                self.append,
                "Append messages of another thread, or values, with their origin",
                body=ThreadAppend,
                result=StateWrittenResponse,
                errors=(400, 404, 409),
            ),
            of_a_thread(
                "GET",
                "/tags",
                self.tags,
                "List the tags of a thread, by name",
                result=list[TagResponse],
                errors=(404,),
            ),
            of_a_thread(
                "PUT",
                "/tags/{name}",
                self.put_tag,
                "Set a tag at a checkpoint, by default the newest one",
                body=TagPut,
                body_optional=True,
                result=TagResponse,
                errors=(404, 409),
            ),
            of_a_thread(
                "DELETE",
                "/tags/{name}",
                self.delete_tag,
                "Delete a tag; its checkpoint stays",
                status=204,
                errors=(404,),
            ),
        ]


def _answer(done: MovedThread) -> ASGIApp:
    return json_response(thread_record(done.thread, moved=done.moved))


def _tag(tag: Tag) -> TagResponse:
    return TagResponse(
        name=tag.name,
        checkpoint_id=tag.checkpoint_id,
        created_at=iso(tag.created_at),
        updated_at=iso(tag.updated_at),
    )
