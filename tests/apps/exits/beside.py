"""The rest of users' code: handlers, priority, store and own routes, which raise what a header or a value says."""

import contextlib
import os
from typing import Any

from graphs import boom
from langgraph.store.memory import InMemoryStore
from langgraph_sdk import Auth, Encryption
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

auth = Auth()


@auth.authenticate
async def authenticate(headers: dict[bytes, bytes]) -> dict[str, Any]:
    boom((headers.get(b"x-authenticate") or b"").decode() or None)
    return {"identity": "me"}


@auth.on
async def on_all(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> None:
    boom((value.get("metadata") or {}).get("authorize"))


encryption = Encryption()


@encryption.encrypt.json
async def seal(ctx: Any, data: dict[str, Any]) -> dict[str, Any]:
    boom(data.get("encrypt"))
    return data


@encryption.decrypt.json
async def open_(ctx: Any, data: dict[str, Any]) -> dict[str, Any]:
    return data


def priority(context: Any) -> int:
    boom(context.run_metadata.get("priority"))
    return 0


class Store(InMemoryStore):
    """Raises when it is asked for a key that names an exception."""

    async def abatch(self, ops: Any) -> Any:
        ops = list(ops)
        for op in ops:
            key = getattr(op, "key", "")
            boom(key if key in ("exit", "keyboard", "base", "generator", "unprintable") else None)
        return await super().abatch(ops)


store = Store()


async def route(request: Any) -> PlainTextResponse:
    boom(request.query_params.get("kind"))
    return PlainTextResponse("fine")


def thread_route(request: Any) -> PlainTextResponse:
    boom(request.query_params.get("kind"))
    return PlainTextResponse("fine")


def stream_route(request: Any) -> StreamingResponse:
    def parts() -> Any:
        yield b"first"
        boom(request.query_params.get("kind"))
        yield b"last"

    return StreamingResponse(parts())


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> Any:
    boom(os.environ.get("LIFESPAN"))
    yield
    boom(os.environ.get("LIFESPAN_END"))


ROUTES = [Route("/own", route), Route("/own-thread", thread_route), Route("/own-stream", stream_route)]
app = Starlette(routes=ROUTES, lifespan=lifespan)
