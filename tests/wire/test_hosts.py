"""A page that lets its own name lead to the loopback cannot drive a server there (DNS rebinding)."""

from pathlib import Path

import httpx
import pytest
import websockets
from websockets.asyncio.client import connect

from tests.server import running

CHAT = Path(__file__).parents[2] / "examples" / "chat"
EVIL = {"Host": "evil.example:2024"}


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with running(CHAT, tmp_path_factory.mktemp("hosts") / "data") as server:
        yield server.url


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/ok"), ("POST", "/threads"), ("POST", "/runs/wait"), ("GET", "/x")]
)
def test_a_request_by_another_name_is_refused_before_anything_else(url, method, path):
    answer = httpx.request(method, url + path, headers=EVIL, json={} if method == "POST" else None)
    assert answer.status_code == 421
    assert "evil.example" in answer.json()["detail"]
    assert "threadloom.allowed_hosts" in answer.json()["detail"]


def test_nothing_came_of_it(url):
    assert httpx.post(url + "/threads/count", json={}).json() == 0
    assert httpx.get(url.replace("127.0.0.1", "localhost") + "/ok").status_code == 200


@pytest.mark.anyio
async def test_a_web_socket_by_another_name_is_refused(url):
    thread_id = "01a20be8-681c-74a1-ade6-26e7b55ceb54"
    address = f"{url.replace('http', 'ws', 1)}/threads/{thread_id}/stream/events"
    async with connect(address):
        pass
    host, port = url.removeprefix("http://").split(":")
    with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
        async with connect(f"ws://evil.example:{port}/threads/{thread_id}/stream/events", host=host, port=int(port)):
            pass
    assert refused.value.response.status_code == 421
    assert b"threadloom.allowed_hosts" in refused.value.response.body


def test_beyond_the_loopback_any_name_is_answered_and_everybody_is_warned(tmp_path):
    with running(CHAT, tmp_path / "data", arguments=("--host", "0.0.0.0")) as server:
        assert httpx.get(server.url + "/ok", headers=EVIL).status_code == 200
        assert server.log().count("OPEN TO EVERYBODY") == 2
