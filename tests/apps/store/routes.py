"""A user's own routes, sync and async, that use the store."""

from langgraph.config import get_store
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


async def waiting(request: Request):
    space = ("routes", request.path_params["space"])
    await get_store().aput(space, "waiting", {"text": "abc"})
    return JSONResponse([item.key for item in await get_store().asearch(space)])


def blocking(request: Request):
    space = ("routes", request.path_params["space"])
    get_store().put(space, "blocking", {"text": "abc"})
    return JSONResponse([item.key for item in get_store().search(space)])


app = Starlette(
    routes=[
        Route("/own/waiting/{space}", waiting, methods=["POST"]),
        Route("/own/blocking/{space}", blocking, methods=["POST"]),
    ]
)
