"""An own route that is a webhook too."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

told = []


async def hook(request: Request) -> JSONResponse:
    told.append({"host": request.headers["host"], "body": await request.json()})
    return JSONResponse({})


async def show(request: Request) -> JSONResponse:
    return JSONResponse(told)


app = Starlette(routes=[Route("/own/hook", hook, methods=["POST"]), Route("/own/hook", show)])
