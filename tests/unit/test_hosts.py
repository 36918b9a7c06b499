"""Which names a server answers to (DNS rebinding), seen at the app's edge."""

from pathlib import Path

import httpx
import pytest

from threadloom.api.allowed_hosts import AllowedHosts
from threadloom.api.app import HttpEntry
from threadloom.api.http import json_response
from threadloom.api.loopback import Transport
from threadloom.api.metrics import Metrics
from threadloom.cli import exposure
from threadloom.config.host_names import host_of
from threadloom.config.settings import AuthSettings, Environment, HttpSettings, Settings, ThreadloomSettings

pytestmark = pytest.mark.anyio


def settings(listens, *, allowed=(), url=None, auth=None):
    return Settings(
        root=Path("/app"),
        graphs={},
        data=Path("/app/data"),
        auth=auth,
        threadloom=ThreadloomSettings(allowed_hosts=allowed),
        vars=Environment(langgraph_server_host=listens, langgraph_api_url=url),
    )


def edge(hosts):
    async def app(scope, receive, send):
        await json_response("reached")(scope, receive, send)

    return HttpEntry(app=app, plain=app, http=HttpSettings(), metrics=Metrics(), hosts=hosts)


async def status(app, *hosts):
    """What a request is answered that has these `Host` headers."""
    sent = []

    async def send(message):
        sent.append(message)

    headers = [(b"host", host.encode()) for host in hosts]
    scope = {"type": "http", "method": "GET", "path": "/threads", "headers": headers}
    await app(scope, None, send)
    return sent[0]["status"], sent[-1]["body"].decode()


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:2024",
        "app.localhost:1",
        "localhost.",
        "127.0.0.1:80",
        "127.9.9.9",
        "[::1]:2024",
        "[::1]",
    ],
)
async def test_a_server_on_the_loopback_answers_to_its_names(host):
    assert (await status(edge(AllowedHosts.of(settings("127.0.0.1"))), host))[0] == 200


@pytest.mark.parametrize(
    "hosts",
    [
        ("evil.example",),
        ("evil.example:2024",),
        ("localhost.evil.example",),
        ("notlocalhost",),
        ("127.0.0.1.evil.example",),
        ("192.168.1.5:2024",),
        ("[::2]:2024",),
        ("[::1].evil.example",),
        ("[::1].evil.example:2024",),
        ("[::1]evil.example",),
        ("[::1",),
        ("[localhost]",),
        ("a[::1]",),
        ("",),
        ("localhost", "evil.example"),
        (),
    ],
)
async def test_and_to_no_other(hosts):
    code, body = await status(edge(AllowedHosts.of(settings("::1"))), *hosts)
    assert code == 421
    assert "threadloom.allowed_hosts" in body


async def test_names_that_are_configured_are_answered_to():
    app = edge(
        AllowedHosts.of(
            settings("127.0.0.1", allowed=("agents.example", "*.corp.example"), url="https://told.example/x")
        )
    )
    for host, code in {
        "agents.example": 200,
        "Agents.Example:443": 200,
        "a.corp.example": 200,
        "told.example": 200,
        "localhost": 200,
        "corp.example": 421,
        "x.agents.example": 421,
    }.items():
        assert (await status(app, host))[0] == code, host


async def test_beyond_the_loopback_a_name_counts_only_where_names_are_configured():
    assert AllowedHosts.of(settings("0.0.0.0")) is None
    assert AllowedHosts.of(settings(None)) is None
    app = edge(AllowedHosts.of(settings("0.0.0.0", allowed=("agents.example",))))
    assert (await status(app, "agents.example"))[0] == 200
    assert (await status(app, "10.0.0.1"))[0] == 421
    assert (await status(edge(AllowedHosts.of(settings("127.0.0.1", allowed=("*",)))), "any.example"))[0] == 200


async def test_calls_from_inside_the_process_need_no_name():
    app = edge(AllowedHosts.of(settings("127.0.0.1")))

    async def inside(scope, receive, send):
        await app({**scope, "threadloom.trusted": True}, receive, send)

    async with httpx.AsyncClient(transport=Transport(inside), base_url="http://api") as client:
        assert (await client.get("/threads")).json() == "reached"


async def test_a_web_socket_by_another_name_is_refused():
    app = edge(AllowedHosts.of(settings("127.0.0.1")))
    for extensions, kinds in (
        ({"websocket.http.response": {}}, ["websocket.http.response.start", "websocket.http.response.body"]),
        ({}, ["websocket.close"]),
    ):
        sent = []

        async def send(message, sent=sent):
            sent.append(message)

        scope = {"type": "websocket", "path": "/x", "headers": [(b"host", b"evil.example")], "extensions": extensions}
        await app(scope, None, send)
        assert [message["type"] for message in sent] == kinds


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("a:80", "a"),
        ("A.b.", "a.b"),
        ("[::1]:80", "::1"),
        ("::1", "::1"),
        ("a:b", "a:b"),
        ("a:", "a"),
        ("a.:80", "a"),
        ("[::1].a", "[::1].a"),
    ],
)
def test_the_host_of_a_header(text, host):
    assert host_of(text) == host


def test_who_is_open_to_everybody_is_told():
    assert "0.0.0.0" in exposure.warning(settings(None), "0.0.0.0")
    assert exposure.warning(settings(None), "127.0.0.1") is None
    assert exposure.warning(settings(None), "::1") is None
    assert exposure.warning(settings(None, auth=AuthSettings(path="./a.py:auth")), "0.0.0.0") is None
