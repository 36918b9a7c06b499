"""A page of a foreign origin can do nothing with a server, whatever its visitor's cookies may"""

import json
import uuid
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import websockets
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from tests.server import running
from threadloom.api.allowed_origins import AllowedOrigins
from threadloom.api.app import HttpEntry
from threadloom.api.http import json_response
from threadloom.api.metrics import Metrics
from threadloom.config.settings import (
    OPEN_CORS,
    AuthSettings,
    Cors,
    Environment,
    HttpSettings,
    Settings,
    ThreadloomSettings,
)

pytestmark = pytest.mark.anyio

APP = Path(__file__).parents[1] / "apps" / "agents"
EVIL, GOOD = "https://evil.example", "https://good.example"
UNSAFE = ("POST", "PUT", "PATCH", "DELETE")

COOKIE_AUTH = """
from langgraph_sdk import Auth

auth = Auth()


@auth.authenticate
async def who(headers: dict):
    if b"session=ann" not in headers.get(b"cookie", b""):
        raise Auth.exceptions.HTTPException(401, "no session")
    return "ann"
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """A server whose users come with a cookie, and whose pages are those of one origin."""
    folder = tmp_path_factory.mktemp("origin")
    config = json.loads((APP / "langgraph.json").read_text())
    (folder / "graphs.py").write_text((APP / "graphs.py").read_text())
    (folder / "access.py").write_text(COOKIE_AUTH)
    cors = {"allow_origins": [GOOD], "allow_methods": ["*"], "allow_headers": ["*"], "allow_credentials": True}
    config |= {"auth": {"path": "./access.py:auth"}, "http": {"cors": cors}}
    (folder / "langgraph.json").write_text(json.dumps(config))
    with running(folder, folder / "data") as server:
        yield server.url


async def test_the_visitors_cookie_is_of_no_use_to_a_foreign_page(url):
    thread = str(uuid.uuid4())
    async with httpx.AsyncClient(base_url=url, headers={"Cookie": "session=ann"}) as http:

        async def post(path, origin, **body):
            headers = {"Content-Type": "text/plain"} | ({"Origin": origin} if origin else {})
            return await http.post(path, content=json.dumps(body), headers=headers)

        for origin in (EVIL, "null", f"{GOOD}.evil.example", GOOD + ":444", "http://good.example"):
            refused = await post("/threads", origin, thread_id=thread)
            assert refused.status_code == 403, origin
            assert "threadloom.allowed_origins" in refused.json()["detail"]
            assert "access-control-allow-origin" not in refused.headers
            assert refused.headers["x-request-id"]
        assert (await http.get(f"/threads/{thread}")).status_code == 404
        assert (await post("/threads", GOOD, thread_id=thread)).status_code == 200
        assert (await http.delete(f"/threads/{thread}", headers={"Origin": EVIL})).status_code == 403
        assert (await post(f"/threads/{thread}/copy", EVIL)).status_code == 403
        for origin in (url, None, GOOD):  # its own pages, and clients that are no page
            assert (await post(f"/threads/{thread}/copy", origin)).status_code == 200
        read = await http.get(f"/threads/{thread}", headers={"Origin": EVIL})
        assert (read.status_code, read.headers.get("access-control-allow-origin")) == (200, None)


async def test_nor_to_its_web_sockets(url):
    address = url.replace("http", "ws", 1) + f"/threads/{uuid.uuid4()}/stream/events"
    cookie = {"Cookie": "session=ann"}
    with pytest.raises(websockets.InvalidStatus) as refused:
        await websockets.connect(address, additional_headers=cookie, origin=EVIL)
    assert refused.value.response.status_code == 403
    for origin in (GOOD, url, None):
        async with websockets.connect(address, additional_headers=cookie, origin=origin) as socket:
            await socket.send('{"id":1,"method":"subscription.subscribe","params":{"channels":["values"]}}')
            assert json.loads(await socket.recv())["type"] == "success"


# --- which origins may, by the settings ---


def edge(listens, *, allowed=(), own_app=None, auth=False, url=None, **http):
    async def app(scope, receive, send):
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            return
        await json_response("served")(scope, receive, send)

    settings = Settings(
        root=Path("/"),
        graphs={},
        data=Path("/"),
        http=HttpSettings(**http),
        auth=AuthSettings(path="./a.py:auth") if auth else None,
        threadloom=ThreadloomSettings(allowed_origins=allowed),
        vars=Environment(langgraph_server_host=listens, langgraph_api_url=url),
    )
    sockets = SimpleNamespace(knows=lambda scope: True)
    return HttpEntry(
        app=app,
        plain=app,
        http=settings.http,
        metrics=Metrics(),
        user_app=own_app,
        sockets=sockets,
        gated=app,
        origins=AllowedOrigins.of(settings),
    )


async def ask(app, origin, method="POST", **headers):
    """Status and headers of what is answered; of a web socket, whether it was opened."""
    sent = []

    async def send(message):
        sent.append(message)

    given = {
        "host": "server:2024",
        "origin": origin,
        **{name.replace("_", "-"): text for name, text in headers.items()},
    }
    scope = {
        "type": "websocket" if method == "SOCKET" else "http",
        "method": method,
        "path": "/threads",
        "headers": [(name.encode(), text.encode()) for name, text in given.items()],
        "extensions": {"websocket.http.response": {}},
    }
    await app(scope, None, send)
    if method == "SOCKET":
        return sent[0]["type"] == "websocket.accept"
    return sent[0]["status"], {name.decode().lower(): text.decode() for name, text in sent[0]["headers"]}


async def may(app, origin, **headers):
    """Whether pages of an origin may use the server, in all ways alike."""
    ways = {method: (await ask(app, origin, method, **headers))[0] for method in UNSAFE}
    said = {status == 200 for status in ways.values()} | {await ask(app, origin, "SOCKET", **headers)}
    assert len(said) == 1, ways
    return said.pop()


LOCAL = (
    "http://localhost:3000",
    "https://localhost",
    "http://127.0.0.1:5173",
    "http://[::1]:8080",
    "http://a.localhost",
    "https://smith.langchain.com",
    "https://agentchat.vercel.app",
)
FOREIGN = (
    EVIL,
    "null",
    "http://localhost.evil.example",
    "http://evil.example:80@localhost",
    "http://notlocalhost",
    "http://127.0.0.1.evil.example",
    "http://192.168.1.5:3000",
    "https://smith.langchain.com.evil.example",
    "http://smith.langchain.com",
    "file://",
    "",
)


@pytest.mark.parametrize("origin", LOCAL)
async def test_a_server_on_the_loopback_serves_pages_of_the_persons_own_machine(origin):
    app = edge("127.0.0.1")
    assert await may(app, origin)
    _, headers = await ask(app, origin, "GET")
    assert (headers["access-control-allow-origin"], headers["vary"]) == (origin, "Origin")


@pytest.mark.parametrize("origin", FOREIGN)
async def test_and_no_others(origin):
    app = edge("::1")
    assert not await may(app, origin)
    asked = {"access_control_request_method": "POST", "access_control_request_private_network": "true"}
    for method, more in (("POST", {}), ("GET", {}), ("OPTIONS", asked)):
        status, headers = await ask(app, origin, method, **more)
        assert status == (403 if method == "POST" else 200)
        assert not [name for name in headers if name.startswith("access-control-allow-")]


async def test_public_pages_reach_into_a_private_network_only_where_they_may_use_the_server():
    asked = {"access_control_request_method": "POST", "access_control_request_private_network": "true"}
    for app, allowed in (
        (edge("127.0.0.1"), True),
        (edge("127.0.0.1", allowed=("*",)), True),
        (edge("0.0.0.0"), False),
    ):
        _, headers = await ask(app, "https://smith.langchain.com", "OPTIONS", **asked)
        assert (headers.get("access-control-allow-private-network") == "true") is allowed


async def test_origins_that_are_allowed_may_everywhere():
    for listens in ("127.0.0.1", "0.0.0.0"):
        app = edge(listens, allowed=(GOOD,))
        assert await may(app, GOOD)
        assert await may(app, GOOD, cookie="a=b")
        assert not await may(app, EVIL)
        assert (await ask(app, GOOD, "GET"))[1]["access-control-allow-origin"] == GOOD
        assert await may(edge(listens, allowed=("*",), auth=True), EVIL, cookie="a=b")
    configured = edge(
        "127.0.0.1", allowed=(GOOD,), cors=Cors(allow_origins=("https://a.example",)), cors_configured=True
    )
    assert await may(configured, GOOD)
    assert await may(configured, "https://a.example")
    assert not await may(configured, "http://localhost:3000")


async def test_the_servers_own_pages_may_everywhere():
    for app in (
        edge("127.0.0.1", url="https://told.example/api"),
        edge("0.0.0.0", auth=True, url="https://told.example:443"),
    ):
        assert await may(app, "http://server:2024", cookie="a=b")
        assert await may(app, "https://told.example", cookie="a=b")
        assert await may(app, "https://public.example", cookie="a=b", x_forwarded_host="public.example")
        assert await may(app, "https://public.example", cookie="a=b", sec_fetch_site="same-origin")
        assert not await may(app, "https://public.example", cookie="a=b", sec_fetch_site="same-site")


async def test_beyond_the_loopback_any_page_may_but_not_with_its_visitors_cookies():
    app = edge("0.0.0.0", auth=True)
    assert await may(app, EVIL)
    assert not await may(app, EVIL, cookie="session=ann")
    without_auth = edge("0.0.0.0")  # what a cookie of a proxy's says is not known here; web sockets carry any
    assert (await ask(without_auth, EVIL, cookie="session=ann"))[0] == 403
    assert await ask(without_auth, EVIL, "SOCKET", cookie="session=ann")
    said = edge("0.0.0.0", cors=OPEN_CORS, cors_configured=True)
    assert (await ask(said, EVIL, cookie="session=ann"))[0] == 403
    with_credentials = Cors(allow_origins=("*",), allow_credentials=True)
    assert await may(edge("0.0.0.0", cors=with_credentials, cors_configured=True, auth=True), EVIL, cookie="a=b")


async def test_nor_with_what_its_visitor_told_the_browser_when_it_asked():
    app = edge("0.0.0.0", auth=True)
    told = "Basic YW5uOnNlY3JldA=="
    for content_type in (
        {},
        {"content_type": "text/plain;charset=UTF-8"},
        {"content_type": "multipart/form-data; boundary=b"},
    ):
        assert (await ask(app, EVIL, authorization=told, **content_type))[0] == 403
        assert (await ask(app, EVIL, authorization="Bearer token", **content_type))[0] == 200
    assert not await ask(app, EVIL, "SOCKET", authorization=told)
    # What had to be announced by a preflight, a script of the page's said.
    assert (await ask(app, EVIL, authorization=told, content_type="application/json"))[0] == 200
    assert (await ask(app, EVIL, "DELETE", authorization=told))[0] == 200


async def test_the_own_apps_cors_middleware_says_who_may():
    own = Starlette(middleware=[Middleware(CORSMiddleware, allow_origins=[GOOD], allow_credentials=True)])
    app = edge("127.0.0.1", own_app=own)
    assert await may(app, GOOD, cookie="a=b")
    assert not await may(app, EVIL)
    assert not await may(app, "http://localhost:3000")
    assert (await ask(app, EVIL, "OPTIONS", access_control_request_method="POST"))[0] == 400
    assert await may(edge("127.0.0.1", own_app=own, allowed=(EVIL,)), EVIL)


async def test_several_origins_at_once_are_none():
    app = edge("127.0.0.1")
    sent = []

    async def send(message):
        sent.append(message)

    headers = [(b"host", b"a"), (b"origin", b"http://localhost"), (b"origin", EVIL.encode())]
    await app({"type": "http", "method": "POST", "path": "/", "headers": headers}, None, send)
    assert sent[0]["status"] == 403
