"""Routes of your own, beside the server's. Any Starlette or FastAPI app will do.

curl -s http://127.0.0.1:2024/hello/Ada        # runs the graph
curl -s http://127.0.0.1:2024/guests           # reads what the graph put into the store
"""

import contextlib
import time
from collections.abc import AsyncIterator

from langgraph.config import get_store
from langgraph_sdk import get_client
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Entered once the server can be called, left before it ends. Open what your routes need here."""
    app.state.began = time.monotonic()
    yield


async def hello(request: Request) -> Response:
    # Without a URL the client calls the server it runs in, and no request leaves the process.
    client = get_client()
    answer = await client.runs.wait(None, "greeter", input={"name": request.path_params["name"]})
    return PlainTextResponse(answer["text"])


async def guests(request: Request) -> Response:
    found = await get_store().asearch(("guests",))
    return JSONResponse(sorted(item.key for item in found))


async def uptime(request: Request) -> Response:
    return JSONResponse({"seconds": time.monotonic() - request.app.state.began})


class Signed(BaseHTTPMiddleware):
    """Middleware of yours wraps the server's own routes too."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        response.headers["x-served-by"] = "example"
        return response


app = Starlette(
    lifespan=lifespan,
    routes=[Route("/hello/{name}", hello), Route("/guests", guests), Route("/uptime", uptime)],
    middleware=[Middleware(Signed)],
)
