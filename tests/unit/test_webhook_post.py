"""One POST to a webhook: what is in it, and where it really goes."""

import base64
import hashlib
import hmac
import socket

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tests.receiver import receiving
from threadloom.config.settings import WebhookSettings, WebhookUrlRules
from threadloom.errors import Invalid
from threadloom.services.webhooks.policy import WebhookPolicy
from threadloom.services.webhooks.post import Poster

pytestmark = pytest.mark.anyio

OPEN = WebhookUrlRules(disable_loopback=False)


@pytest.fixture
async def poster():
    """Makes posters, and closes them."""
    made = []

    def make(rules=OPEN, headers=None, secrets=(), prefix="", app=None):
        made.append(Poster(lambda: app))
        made[-1].apply_settings(WebhookPolicy(WebhookSettings(url=rules)), headers or {}, secrets, prefix)
        return made[-1]

    yield make
    for one in made:
        await one.close()


async def post(poster, url, body=b"{}"):
    return await poster.post(url, body, message="msg", seconds=1000)


def resolving(monkeypatch, **known):
    """Lets names lead where a test wants them to."""

    def resolve(host, port, **_):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in known[host.split(".")[0]]]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


async def test_body_and_headers_come_as_they_are(poster):
    with receiving(204) as receiver:
        assert await post(poster(headers={"x-key": "k"}), f"{receiver.url}?key=1", b'{"n":1}') == 204
        [(path, headers, body)] = receiver.received
    assert (path, body) == ("/hook?key=1", b'{"n":1}')
    assert (headers["content-type"], headers["x-key"]) == ("application/json", "k")
    assert headers["host"] == f"127.0.0.1:{receiver.port}"
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("msg", "1000")
    assert "webhook-signature" not in headers


async def test_a_redirect_is_not_followed(poster):
    with receiving(302) as receiver:
        assert await post(poster(), receiver.url) == 302
        assert len(receiver.received) == 1


async def test_the_policy_holds_at_delivery_too(poster, monkeypatch):
    with receiving() as receiver:
        resolving(monkeypatch, moved=["127.0.0.1"])
        with pytest.raises(Invalid):
            await post(poster(WebhookUrlRules()), f"http://moved.example:{receiver.port}/x")
        assert receiver.received == []


async def test_the_address_that_was_checked_is_connected_to(poster, monkeypatch):
    with receiving() as receiver:
        resolving(monkeypatch, here=["127.0.0.2", "127.0.0.1"])
        assert await post(poster(), f"http://here.example:{receiver.port}/x") == 200
        assert receiver.received[0][1]["host"] == f"here.example:{receiver.port}"


async def test_a_receiver_that_is_down_is_told_as_that(poster):
    with pytest.raises(httpx.ConnectError):
        await post(poster(), "http://127.0.0.1:1/nobody")


async def test_a_proxy_of_the_environment_is_not_used(poster, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with receiving() as receiver:
        assert await post(poster(), receiver.url) == 200


@pytest.mark.parametrize("prefix", ["", "/api"])
async def test_a_relative_url_is_an_own_route(poster, prefix):
    received = []

    async def hook(request):
        received.append((request.headers["content-type"], await request.json(), request.query_params["q"]))
        return PlainTextResponse("ok")

    app = Starlette(routes=[Route(prefix + "/custom/hook", hook, methods=["POST"])])
    made = poster(prefix=prefix, app=app)
    assert await post(made, "/custom/hook?q=ü", b'{"n":1}') == 200
    assert received == [("application/json", {"n": 1}, "ü")]


async def test_every_secret_signs(poster):
    secrets = ("whsec_" + base64.b64encode(b"k" * 24).decode(), "plain")
    with receiving() as receiver:
        await post(poster(secrets=secrets), receiver.url, b'{"n":1}')
        headers = receiver.received[0][1]
    expected = [
        "v1," + base64.b64encode(hmac.digest(key, b'msg.1000.{"n":1}', hashlib.sha256)).decode()
        for key in (b"k" * 24, b"plain")
    ]
    assert headers["webhook-signature"] == " ".join(expected)
