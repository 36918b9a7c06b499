"""A user's own HTTP app around our routes."""

import asyncio
import contextlib

import pytest
from api_fakes import EchoThreads, app, client, services, settings
from fastapi import FastAPI
from langgraph.config import get_store
from langgraph.store.memory import InMemoryStore
from langgraph_sdk import get_client
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Mount, Route
from test_api_sse import Batches, event

from threadloom.api.reloadable_app import ReloadableApp
from threadloom.config.settings import Cors
from threadloom.graphs.current_store import CurrentStore
from threadloom.types import Run

pytestmark = pytest.mark.anyio


async def mine(request):
    return PlainTextResponse("mine")


async def broken(request):
    raise ValueError("inner detail")


async def noted(request):
    return JSONResponse({"note": request.state.note})


async def stored(request):
    await get_store().aput(("a",), "k", {"n": 1})
    return JSONResponse((await get_store().aget(("a",), "k")).value)


class Stamp:
    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        async def stamped(message):
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-stamp", b"seen")]
            await send(message)

        await self.app(scope, receive, stamped)


def starlette(**more):
    routes = [
        Route("/ok", mine),
        Route("/info", mine),
        Route("/own", mine),
        Route("/note", noted),
        Route("/threads/count", mine, methods=["POST"]),
        Route("/broken", broken),
        Route("/stored", stored),
        Mount("/below", routes=[Route("/here", mine)]),
    ]
    return Starlette(routes=routes, **more)


async def texts(edge, *asked):
    async with client(edge) as http:
        answers = [await http.request(*one.split(" ")) for one in asked]
    return [(answer.status_code, answer.text) for answer in answers]


async def test_who_answers_which_path():
    edge = app(services(), user_app=starlette())
    found = await texts(edge, "GET /ok", "GET /info", "GET /own", "POST /threads/count", "GET /below/here")
    assert found[0] == (200, '{"ok":true,"services":{}}')
    assert found[1:] == [(200, "mine")] * 4
    asked = ("POST /own", "PUT /threads", "GET /nothing", "DELETE /ok", "POST /metrics")
    assert [status for status, _ in await texts(edge, *asked)] == [404, 405, 404, 404, 404]
    assert [status for status, _ in await texts(app(services()), "DELETE /ok", "POST /metrics")] == [405, 405]


async def test_trailing_slashes_are_redirected_on_both_sides():
    async with client(app(services(), user_app=starlette())) as http:
        for path in ("/own", "/ok", "/assistants/search"):
            moved = await http.get(path + "/?a=1")
            assert (moved.status_code, moved.headers["location"]) == (307, path + "?a=1")


CORS = Middleware(
    CORSMiddleware, allow_origins=["https://a.example"], allow_credentials=True, allow_headers=["x-a"], max_age=5
)


async def test_what_the_own_app_says_of_other_origins_holds_everywhere(caplog):
    edge = app(services(threads=EchoThreads()), user_app=starlette(middleware=[CORS]))
    assert caplog.text == ""
    ours, others = ({"origin": f"https://{name}.example"} for name in "ab")
    asks = {"access-control-request-method": "GET", "access-control-request-headers": "x-a"}
    async with client(edge) as http:
        for path in ("/own", "/ok", "/nothing"):
            allowed = (await http.get(path, headers=ours)).headers
            assert allowed["access-control-allow-origin"] == "https://a.example"
            assert allowed["access-control-allow-credentials"] == "true"
            assert "access-control-allow-origin" not in (await http.get(path, headers=others)).headers
            preflight = await http.options(path, headers=ours | asks)
            assert (preflight.status_code, preflight.headers["access-control-max-age"]) == (200, "5")
            assert (await http.options(path, headers=others | asks)).status_code == 400
    app(services(), settings(cors=Cors(), cors_configured=True), starlette(middleware=[CORS]))
    assert "http.cors has no effect" in caplog.text


async def test_own_middleware_covers_our_routes():
    async with client(app(services(), user_app=starlette(middleware=[Middleware(Stamp)]))) as http:
        for path in ("/ok", "/own", "/nothing", "/threads/x"):
            assert (await http.get(path)).headers["x-stamp"] == "seen"


async def test_own_handlers_shape_our_errors():
    async def on_http(request, error):
        return JSONResponse({"own": error.detail}, error.status_code)

    edge = app(services(), user_app=starlette(exception_handlers={HTTPException: on_http}))
    assert await texts(edge, "GET /threads/x") == [(422, '{"own":"Invalid thread ID: must be a UUID"}')]


async def test_a_failure_of_own_code_is_a_500_that_tells_nothing():
    ((status, text),) = await texts(app(services(), user_app=starlette()), "GET /broken")
    assert status == 500
    assert "inner" not in text
    assert "request id" in text


async def test_get_store_is_the_servers_store_in_own_routes_and_nowhere_else():
    store = InMemoryStore()

    class Threads(EchoThreads):
        async def create(self, caller, request):
            with contextlib.suppress(RuntimeError):
                get_store()
                raise AssertionError("a built-in route runs with a graph's configuration")
            return await super().create(caller, request)

    edge = app(services(threads=Threads()), user_app=starlette(), own_context=CurrentStore(store))
    assert await texts(edge, "GET /stored") == [(200, '{"n":1}')]
    assert (await store.aget(("a",), "k")).value == {"n": 1}
    async with client(edge) as http:
        assert (await http.post("/threads", json={})).status_code == 200


@contextlib.asynccontextmanager
async def alive(host):
    """Runs an app's lifespan."""
    asked, told = asyncio.Queue(), asyncio.Queue()
    task = asyncio.create_task(host({"type": "lifespan", "state": {}}, asked.get, told.put))
    await asked.put({"type": "lifespan.startup"})
    assert (await told.get())["type"] == "lifespan.startup.complete"
    try:
        yield
    finally:
        await asked.put({"type": "lifespan.shutdown"})
        assert (await told.get())["type"] == "lifespan.shutdown.complete"
        await task


async def test_the_own_lifespan_runs_inside_ours_and_may_call_the_server():
    steps = []

    @contextlib.asynccontextmanager
    async def own(starlette_app):
        steps.append("own starts")
        steps.append((await get_client().threads.create(metadata={"a": 1}))["metadata"])
        yield {"note": 1}
        steps.append("own ends")

    @contextlib.asynccontextmanager
    async def ours():
        steps.append("ours starts")
        yield
        steps.append("ours ends")

    host = ReloadableApp(app(services(threads=EchoThreads()), user_app=starlette(lifespan=own)), ours)
    async with alive(host):
        assert await texts(host, "GET /note") == [(200, '{"note":1}')]
    assert steps == ["ours starts", "own starts", {"a": 1}, "own ends", "ours ends"]


async def test_calls_from_inside_get_the_mount_prefix():
    app(services(threads=EchoThreads()), settings(mount_prefix="/api"), starlette())
    assert (await get_client().threads.create())["status"] == "idle"


async def test_calls_from_inside_stream_as_things_come():
    class Streams:
        async def stream(self, caller, thread_id, request, *, namespaces=()):
            batches = Batches([event(1)], [event(2)], hold=True)
            batches.ids = True
            self.batches = batches
            run = Run(
                run_id="01a20be8-681c-74a1-ade6-26e7b55ceb54",
                thread_id="t",
                assistant_id="a",
                status="pending",
                created_at=1,
                updated_at=1,
                metadata={},
                kwargs={},
                multitask_strategy="enqueue",
                due=0,
            )
            return run, batches

    streams = Streams()
    app(services(streams=streams))
    seen = []
    async for part in get_client().runs.stream(None, "a", input={}):
        seen.append(part.event)
        if len(seen) == 2:
            break
    assert seen == ["values", "values"]
    async with asyncio.timeout(60):
        await streams.batches.ended.wait()


async def test_fastapi_apps_join_too():
    own = FastAPI()
    started = []

    @own.get("/own/{number}")
    def number(number: int):
        return {"number": number}

    own.router.on_startup.append(lambda: started.append(True))
    host = ReloadableApp(app(services(), user_app=own), contextlib.nullcontext)
    async with alive(host):
        assert started == [True]
        async with client(host) as http:
            assert (await http.get("/own/5")).json() == {"number": 5}
            assert (await http.get("/own/x")).status_code == 422
            assert (await http.get("/threads/x")).json() == {"detail": "Invalid thread ID: must be a UUID"}
            document = (await http.get("/openapi.json")).json()
            assert {"/own/{number}", "/threads"} <= set(document["paths"])
            assert "HTTPValidationError" in document["components"]["schemas"]
            assert "Threadloom" in (await http.get("/docs")).text


async def test_a_client_that_hung_up_is_not_an_error(caplog):
    sent = []

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/threads",
        "headers": [],
        "query_string": b"",
        "server": ("127.0.0.1", 1),
    }
    await app(services())(scope, receive, send)
    assert sent == []
    assert caplog.records == []
