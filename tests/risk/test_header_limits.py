"""Heads of requests have a size and a time, on every verb that serves, and connections outlive those that clients keep"""

import asyncio
import contextlib
import signal
import socket
import time
from pathlib import Path

import httpx
import pytest
import uvicorn

from tests.server import Server
from threadloom.cli import connections
from threadloom.cli.connections import MAX_HEAD_BYTES, MAX_HEADERS, Connections, HttpProtocol
from threadloom.config.settings import ThreadloomSettings

pytestmark = pytest.mark.anyio

APP = Path(__file__).parents[1] / "apps" / "auth"
START = b"GET /threads HTTP/1.1\r\nHost: localhost\r\n"
LARGE = b"x" * MAX_HEAD_BYTES

STOCK_SECONDS = {"langgraph-sdk, httpx": 5, "undici": 4, "aiohttp": 15, "java.net.http": 30, "nginx, ALB": 60, "Go": 90}
"""How long clients and balancers keep connections by themselves."""

TOO_LARGE = {
    "one header": START + b"X-A: " + LARGE + b"\r\n\r\n",
    "many headers": START + b"".join(b"X-%d: %b\r\n" % (n, b"y" * 1000) for n in range(70)) + b"\r\n",
    "tiny headers": START + b"a:\r\n" * (MAX_HEADERS + 1) + b"\r\n",
    "a header that never ends": START + b"X-A: " + LARGE * 6,
    "a name that never ends": START + LARGE * 6,
    "an address": b"GET /threads?" + LARGE + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "an address that never ends": b"GET /" + LARGE * 6,
    "empty lines": b"\r\n" * 4 * MAX_HEAD_BYTES,
    "a web socket": START + b"Upgrade: websocket\r\nConnection: upgrade\r\nX-A: " + LARGE + b"\r\n\r\n",
    "behind another": b"GET /ok HTTP/1.1\r\nHost: localhost\r\nX-A: " + LARGE + b"\r\n\r\n" + START + b"\r\n",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    served = Server(APP, tmp_path_factory.mktemp("head") / "data", verb="serve").start()
    try:
        yield served
    finally:
        served.kill()


@pytest.fixture(scope="module")
def idle(server):
    """A connection that has made its request, and when."""
    with httpx.Client(base_url=server.url, limits=httpx.Limits(keepalive_expiry=600)) as client:
        client.get("/ok")
        yield client, time.monotonic()


def said(server, *parts):
    """What is answered to bytes, until the connection ends."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as sock:
        with contextlib.suppress(OSError):  # it need not be read to its end
            for part in parts:
                sock.sendall(part)
        answer = b""
        while part := sock.recv(65536):
            answer += part
        return answer.decode()


@pytest.mark.parametrize("head", TOO_LARGE.values(), ids=TOO_LARGE)
def test_a_head_that_is_too_large_is_refused_before_anybody_is_asked(server, idle, head):
    answer = said(server, head)
    assert answer.startswith("HTTP/1.1 431 Request Header Fields Too Large\r\n")
    assert answer.count("HTTP/1.1") == 1
    assert str(MAX_HEAD_BYTES) in answer


@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_a_web_socket_that_is_opened_with_a_body_is_refused(server, method):
    head = START.replace(b"GET", method) + b"Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 13\r\n"
    head += b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    for body in (b"Content-Length: 2\r\n\r\n{}", b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"):
        assert said(server, head + body).startswith("HTTP/1.1 400 Bad Request\r\n")


H2C = b"Host: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
"""As Java's client has it with the first request of each connection."""

OFFERS = {
    "with a length": (b"content-length: 5\r\n\r\n", b"12345", b"got 12345"),
    "in chunks": (b"transfer-encoding: chunked\r\n\r\n", b"2\r\n12\r\n3\r\n345\r\n0\r\n\r\n", b"got 12345"),
    "without": (b"\r\n", b"", b"got "),
}


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(("framing", "body", "answer"), OFFERS.values(), ids=OFFERS)
async def test_an_upgrade_that_is_not_taken_loses_nothing(monkeypatch, apart, framing, body, answer):
    async with serving(monkeypatch) as (reader, writer):
        for _ in range(2):
            writer.write(b"POST /echo HTTP/1.1\r\n" + H2C + framing)
            if apart:
                await asyncio.sleep(0.05)
            writer.write(body + b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
            async with asyncio.timeout(20):
                assert answer in await reader.readuntil(b"end")
                assert b"200 OK" in await reader.readuntil(b"ok")


async def test_a_body_that_stops_arriving_is_given_up(monkeypatch):
    monkeypatch.setattr(connections, "BODY_SECONDS", 0.4)
    async with serving(monkeypatch) as (reader, writer):
        writer.write(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n")
        for _ in range(6):  # slowly is no fault
            writer.write(b"x")
            await asyncio.sleep(0.15)
        async with asyncio.timeout(20):
            text = await reader.read()
    assert text.startswith(b"HTTP/1.1 408 Request Timeout")
    assert text.count(b"HTTP/1.1") == 1


async def test_a_body_that_the_app_does_not_take_yet_is_not_given_up(monkeypatch):
    monkeypatch.setattr(connections, "BODY_SECONDS", 0.2)
    async with serving(monkeypatch) as (reader, writer):
        writer.write(b"POST /late HTTP/1.1\r\nHost: a\r\nContent-Length: 400000\r\n\r\n" + b"x" * 400_000)
        async with asyncio.timeout(20):
            assert b"200 OK" in await reader.readuntil(b"ok")


def test_of_trailers_nothing_is_kept_either(server):
    start = START.replace(b"GET", b"POST") + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-A: "
    assert "200 OK" not in said(server, start, LARGE * 6)


def test_a_large_head_is_read(server):
    headers = {f"x-{n}": "y" * 600 for n in range(100)}
    assert httpx.get(f"{server.url}/ok", headers=headers).status_code == 200


def test_a_large_body_is_read(server):
    body = b'{"metadata":{"a":"' + b"x" * 3_000_000 + b'"}}'
    assert httpx.post(f"{server.url}/threads", content=body).status_code == 401


def test_an_idle_connection_is_kept_for_longer_than_any_stock_client_does(server, idle):
    assert ThreadloomSettings().keep_alive_seconds > max(STOCK_SECONDS.values()) * 1.2
    client, since = idle
    longest = client._transport._pool._keepalive_expiry
    assert longest == 600
    time.sleep(max(0.0, since + 6 - time.monotonic()))  # uvicorn alone would have closed it after five
    (connection,) = client._transport._pool.connections
    assert client.get("/ok").status_code == 200
    assert client._transport._pool.connections == [connection]
    assert connection.is_idle()


def test_while_the_server_stops_each_answer_ends_its_connection(server, idle):
    client, _ = idle
    assert "connection" not in client.get("/ok").headers
    server.tell(signal.SIGTERM)
    deadline = time.monotonic() + 4
    while (answer := client.get("/ok")).status_code == 200 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (answer.status_code, answer.headers["connection"]) == (503, "close")
    assert client._transport._pool.connections == []


# --- time: with a server in this process, whose seconds are shorter ---


@contextlib.asynccontextmanager
async def serving(monkeypatch, *, head_seconds=0.3, keep_alive=30):
    monkeypatch.setattr(connections, "HEAD_SECONDS", head_seconds)

    async def app(scope, receive, send):
        if scope["path"] == "/late":
            await asyncio.sleep(1)
        body = b""
        while (message := await receive()).get("more_body"):
            body += message["body"]
        if message["type"] == "http.disconnect":
            return
        if scope["path"] == "/echo":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"got " + body + message["body"] + b"end"})
            return
        await asyncio.sleep(0.1 if scope["path"] == "/slow" else 0)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    config = uvicorn.Config(
        app, http=HttpProtocol, lifespan="off", log_config=None, timeout_keep_alive=keep_alive, server_header=False
    )
    server = uvicorn.Server(config)
    server.server_state = Connections()
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        task = asyncio.create_task(server.serve(sockets=[sock]))
        while not server.started:
            await asyncio.sleep(0.01)
        reader, writer = await asyncio.open_connection(*sock.getsockname())
        try:
            yield reader, writer
        finally:
            writer.close()
            server.should_exit = True
            await task


SLOW = {
    "nothing": (b"", None),
    "half a head": (START, b"408 Request Timeout"),
    "empty lines": (b"\r\n\r\n", None),
    "a second head": (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + START, b"408 Request Timeout"),
}


@pytest.mark.parametrize(("sent", "answer"), SLOW.values(), ids=SLOW)
async def test_a_head_that_does_not_end_is_given_up(monkeypatch, sent, answer):
    async with serving(monkeypatch, keep_alive=1 if not sent else 30) as (reader, writer):
        writer.write(sent)
        async with asyncio.timeout(20):
            text = await reader.read()
    assert answer in text if answer else text == b""


async def test_a_head_that_comes_byte_by_byte_is_given_up_all_the_same(monkeypatch):
    async with serving(monkeypatch) as (reader, writer):
        text = asyncio.create_task(reader.read())
        async with asyncio.timeout(20):
            for byte in START * 100:
                if text.done():
                    break
                writer.write(bytes([byte]))
                await asyncio.sleep(0.05)
        assert b"408 Request Timeout" in await text


async def test_bodies_and_answers_may_take_longer(monkeypatch):
    async with serving(monkeypatch) as (reader, writer):
        writer.write(b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n")
        for _ in range(4):
            await asyncio.sleep(0.15)
            writer.write(b"x")
        assert b"200 OK" in await reader.readuntil(b"ok")


async def test_an_answer_under_way_is_finished_first(monkeypatch):
    async with serving(monkeypatch) as (reader, writer):
        writer.write(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n" + START + b"X-A: " + LARGE + b"\r\n\r\n")
        async with asyncio.timeout(20):
            text = await reader.read()
    assert text.startswith(b"HTTP/1.1 200 OK")
    assert text.endswith(b"ok")
    assert b"connection: close" in text
