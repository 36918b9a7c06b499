"""The gate: what passes it without credentials, where it stands, and what handlers are given through it."""

import json
from typing import ClassVar

import httpx
import pytest
from api_fakes import THREAD_ID, EchoThreads, app, client, services, settings
from langgraph_sdk import Auth
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.routing import Route

from tests.clocks import ManualClock
from threadloom.api.http import empty_response
from threadloom.api.loopback import TRUSTED
from threadloom.api.routing import Operation
from threadloom.auth.authenticate import HandlerAuthenticator
from threadloom.config.settings import AuthSettings, Environment

pytestmark = pytest.mark.anyio

KEY = {"Authorization": "Bearer ann"}


async def bundle(request):
    return empty_response(200)


BUNDLES = [
    Operation(method=method, path=path, handler=bundle, tag="UI", group="ui", summary="")
    for method, path in (("POST", "/ui/{graph_id}"), ("GET", "/ui/{graph_id}/{file:path}"))
]


def authenticator(handler):
    auth = Auth()
    auth.authenticate(handler)
    return HandlerAuthenticator(auth, ManualClock())


async def by_key(authorization):
    if authorization is None:
        raise Auth.exceptions.HTTPException(401, "credentials required")
    return authorization.removeprefix("Bearer ")


def guarded(handler=by_key, user_app=None, threads=None, configured=None, **http):
    return app(
        services(threads=threads or EchoThreads()),
        configured or settings(**http),
        user_app,
        authenticator=authenticator(handler),
        extra=BUNDLES,
    )


async def status(edge, method, path, **more):
    async with client(edge) as http:
        return (await http.request(method, path, **more)).status_code


# --- what passes ---


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/", 200),
        ("GET", "/ok", 200),
        ("GET", "/ok?check_db=1", 200),
        ("GET", "/info", 200),
        ("GET", "/docs", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/metrics", 200),
        ("POST", "/ok", 405),
        ("GET", "/ui/agent/entry.js", 200),
        ("HEAD", "/ui/agent/entry.js", 200),
        ("GET", "/ui/agent/deep/entry.js", 200),
        ("POST", "/ui/agent", 401),
        ("POST", "/ui/agent/entry.js", 401),
        ("GET", "/ui", 401),
        ("GET", "/ui/agent", 401),
        ("GET", "/uid/agent/a", 401),
        ("GET", "/ok/", 401),
        ("GET", "/%2Fok", 401),
        ("GET", "/ok/../threads", 401),
        ("GET", "/OK", 401),
        ("GET", "/nowhere", 401),
        ("PUT", "/threads", 401),
        ("GET", "/threads/nonsense", 401),
        ("OPTIONS", "/threads", 401),
        ("POST", "/threads", 401),
        ("POST", "/mcp", 401),
    ],
)
async def test_only_what_is_for_everybody_passes_without_credentials(method, path, expected):
    assert await status(guarded(), method, path) == expected


async def test_what_an_own_app_puts_there_is_no_bundle():
    async def mine(request):
        return JSONResponse("mine")

    own = Starlette(routes=[Route("/ui/agent/{file}", mine)])
    assert await status(guarded(user_app=own, enable_custom_route_auth=True), "GET", "/ui/agent/entry.js") == 401


async def test_preflights_pass():
    headers = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    assert await status(guarded(), "OPTIONS", "/threads", headers=headers) == 200


async def test_a_page_can_read_why_it_was_refused():
    async with client(guarded()) as http:
        response = await http.post("/threads", json={}, headers={"Origin": "https://app.example"})
    assert (response.status_code, response.headers["access-control-allow-origin"]) == (401, "*")


async def test_with_credentials_what_is_not_there_is_404():
    assert await status(guarded(), "GET", "/nowhere", headers=KEY) == 404


@pytest.mark.parametrize("path", ["/ok", "/api/ok", "/api/info"])
async def test_below_a_prefix_the_same_passes(path):
    edge = guarded(mount_prefix="/api")
    assert await status(edge, "GET", path) == 200
    assert await status(edge, "POST", "/api/threads", json={}) == 401
    assert await status(edge, "POST", "/api/threads", json={}, headers=KEY) == 200


async def test_calls_from_inside_are_trusted_and_have_no_user():
    threads = EchoThreads()
    edge = guarded(threads=threads)

    async def inside(scope, receive, send):
        await edge({**scope, TRUSTED: True}, receive, send)

    transport = httpx.ASGITransport(inside)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        assert (await http.post("/threads", json={})).status_code == 200
    (caller, _) = threads.requests[0]
    assert (caller.trusted, caller.user) == (True, None)


async def test_nobody_can_call_himself_trusted():
    threads = EchoThreads()
    assert await status(guarded(threads=threads), "POST", "/threads", json={}, headers={TRUSTED: "1"}) == 401
    assert threads.requests == []


# --- what is known of the caller, and of the request ---


async def test_services_are_told_who_asks():
    threads = EchoThreads()

    async def who():
        return {"identity": 7, "permissions": ["p"], "team": "blue"}

    assert await status(guarded(who, threads=threads), "POST", "/threads", json={}) == 200
    (caller, _) = threads.requests[0]
    assert (caller.user_id, caller.permissions, caller.trusted) == ("7", ["p"], False)
    assert (caller.user.identity, caller.user.team) == (7, "blue")


async def test_handlers_may_look_at_the_whole_request_and_the_route_still_gets_it():
    seen, threads = {}, EchoThreads()

    async def who(authorization, headers, method, path, path_params, query_params, scope, user, scopes, body, request):
        seen.update(
            key=authorization,
            header=headers[b"x-probe"],
            method=method,
            path=path,
            params=path_params,
            last=query_params.get("q"),
            all=query_params.getlist("q"),
            type=scope["type"],
            before=(user, scopes),
            body=body,
            read=await request.json(),
        )
        return "ann"

    body = {"metadata": {"a": "ä" * 100_000}}
    headers = {**KEY, "X-Probe": "1"}
    assert await status(guarded(who, threads=threads), "POST", "/threads?q=1&q=2", json=body, headers=headers) == 200
    assert seen == {
        "key": "Bearer ann",
        "header": b"1",
        "method": "POST",
        "path": "/threads",
        "params": {},
        "last": "2",
        "all": ["1", "2"],
        "type": "http",
        "before": (None, []),
        "body": body,
        "read": body,
    }
    assert threads.requests[0][1].metadata == body["metadata"]


async def test_handlers_get_the_parameters_of_the_path():
    seen = []

    async def who(path_params):
        seen.append(path_params)
        raise Auth.exceptions.HTTPException(401)

    own = Starlette(routes=[Route("/own/{thing:int}", lambda request: JSONResponse({}))])
    edge = guarded(who, user_app=own, enable_custom_route_auth=True)
    for path in (f"/threads/{THREAD_ID}", "/own/7", "/nowhere/x"):
        assert await status(edge, "GET", path) == 401
    assert seen == [{"thread_id": THREAD_ID}, {"thing": "7"}, {}]


@pytest.mark.parametrize(("content", "body"), [(b"", {}), (b"no json", {}), (b"[1]", [1])])
async def test_a_body_that_is_none_is_an_empty_one(content, body):
    seen = []

    async def who(body):
        seen.append(body)
        return "ann"

    await status(guarded(who), "POST", "/threads", content=content)
    assert seen == [body]


async def test_a_body_beyond_the_limit_is_not_read_for_a_handler():
    async def who(body):
        raise AssertionError("never asked")

    async def ask(request):
        await request.body()
        raise AssertionError("never read")

    for handler in (who, ask):
        edge = guarded(handler, configured=settings(max_body=100))
        assert await status(edge, "POST", "/threads", content=b"x" * 101) == 413


# --- an own app ---


class Look:
    """A middleware that tells what it sees."""

    seen: ClassVar[list] = []

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http":
            user = scope.get("user")
            self.seen.append((scope["path"], None if user is None else user.identity))
        await self.app(scope, receive, send)


def own_app():
    Look.seen = []

    async def me(request):
        return JSONResponse({"user": request.user.identity if "user" in request.scope else None})

    return Starlette(routes=[Route("/me", me)], middleware=[Middleware(Look)])


@pytest.mark.parametrize(
    ("order", "own", "seen"),
    [
        ("middleware_first", False, {"/threads": [None, None], "/ok": [None], "/me": [None, None]}),
        ("middleware_first", True, {"/threads": [None, None], "/ok": [None], "/me": [None, None]}),
        ("auth_first", False, {"/threads": ["ann"], "/ok": [None], "/me": [None, None]}),
        ("auth_first", True, {"/threads": ["ann"], "/ok": [None], "/me": ["ann"]}),
    ],
)
async def test_where_the_gate_stands(order, own, seen):
    edge = guarded(user_app=own_app(), middleware_order=order, enable_custom_route_auth=own)
    async with client(edge) as http:
        assert (await http.post("/threads", json={})).status_code == 401
        assert (await http.post("/threads", json={}, headers=KEY)).status_code == 200
        assert (await http.get("/ok")).status_code == 200
        assert (await http.get("/nowhere")).status_code == 401
        stranger, known = await http.get("/me"), await http.get("/me", headers=KEY)
    assert stranger.status_code == (401 if own else 200)
    assert known.json() == {"user": "ann" if own else None}
    for path, users in seen.items():
        assert [user for where, user in Look.seen if where == path] == users, path


async def test_a_middleware_may_answer_before_the_gate():
    class Answer:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            await JSONResponse({"answered": True})(scope, receive, send)

    own = Starlette(middleware=[Middleware(Answer)])
    assert await status(guarded(user_app=own), "GET", "/threads/x") == 200
    own = Starlette(middleware=[Middleware(Answer)])
    assert await status(guarded(user_app=own, middleware_order="auth_first"), "GET", "/threads/x") == 401


async def test_an_own_route_that_only_looks_like_ours_is_the_own_apps():
    async def mine(request):
        return JSONResponse("mine")

    own = Starlette(routes=[Route("/threads", mine), Route("/uiless", mine)])
    edge = guarded(user_app=own)
    assert await status(edge, "GET", "/threads") == 200
    assert await status(edge, "POST", "/threads", json={}) == 401
    closed = guarded(
        user_app=Starlette(routes=[Route("/threads", mine), Route("/uiless", mine)]), enable_custom_route_auth=True
    )
    for path in ("/threads", "/uiless"):
        assert await status(closed, "GET", path) == 401


async def test_an_app_joined_again_has_one_gate_or_none():
    own = own_app()
    for _ in range(2):
        edge = guarded(user_app=own, enable_custom_route_auth=True)
        assert await status(edge, "GET", "/me") == 401
        assert await status(edge, "GET", "/me", headers=KEY) == 200
    assert len(own.user_middleware) == 2
    assert await status(guarded(user_app=own), "GET", "/me") == 200
    assert await status(app(services(), settings(), own), "GET", "/me") == 200


# --- Studio ---


@pytest.mark.parametrize(
    ("on", "disabled", "address", "scheme", "expected"),
    [
        (True, False, "127.0.0.1", "langsmith", 200),
        (True, False, "::1", "langsmith", 200),
        (False, False, "127.0.0.1", "langsmith", 401),
        (True, True, "127.0.0.1", "langsmith", 401),
        (True, False, "10.0.0.1", "langsmith", 401),
        (True, False, "127.0.0.1", "LangSmith", 401),
        (True, False, "127.0.0.1", "", 401),
    ],
)
async def test_studio_comes_in_only_where_it_was_let(on, disabled, address, scheme, expected):
    base = settings()
    configured = type(base)(
        root=base.root,
        graphs={},
        data=base.data,
        auth=AuthSettings(path="./a.py:a", disable_studio_auth=disabled),
        vars=Environment(threadloom_studio_auth=on, http_max_request_body_bytes=1000),
    )
    threads = EchoThreads()
    edge = guarded(threads=threads, configured=configured)
    transport = httpx.ASGITransport(edge, client=(address, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        response = await http.post("/threads", json={}, headers={"X-Auth-Scheme": scheme})
    assert response.status_code == expected
    if expected == 200:
        assert isinstance(threads.requests[0][0].user, Auth.types.StudioUser)


# --- web sockets ---


async def shake(edge, path, headers=(), extensions=None):
    """What the handshake of a web socket is answered."""
    sent = []
    scope = {
        "type": "websocket",
        "path": path,
        "query_string": b"",
        "headers": [(b"host", b"test"), *headers],
        "extensions": extensions or {},
    }

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    await edge(scope, receive, send)
    return sent


async def test_a_handshake_is_refused_with_an_answer_where_the_server_can_send_one():
    at = f"/threads/{THREAD_ID}/stream/events"
    begun, body = await shake(guarded(), at, extensions={"websocket.http.response": {}})
    assert (begun["type"], begun["status"]) == ("websocket.http.response.start", 401)
    assert json.loads(body["body"]) == {"detail": "credentials required"}
    assert await shake(guarded(), at) == [{"type": "websocket.close", "code": 1008}]


async def test_a_handler_is_given_the_connection_of_a_handshake():
    seen = []

    async def who(request, method, path, body, path_params):
        seen.append((request.url.path, request.headers["host"], method, path, body, path_params))
        raise Auth.exceptions.HTTPException(403)

    at = f"/threads/{THREAD_ID}/stream/events"
    await shake(guarded(who), at)
    assert seen == [(at, "test", "GET", at, {}, {"thread_id": THREAD_ID})]
