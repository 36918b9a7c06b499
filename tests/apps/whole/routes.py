"""An own route that calls the server it is in, and another one that is a webhook."""

from langgraph_sdk import get_client
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


async def inside(request: Request) -> JSONResponse:
    return JSONResponse(len(await get_client().assistants.search()))


async def hook(request: Request) -> JSONResponse:
    return JSONResponse({})


app = Starlette(routes=[Route("/own/inside", inside), Route("/own/hook", hook, methods=["POST"])])
