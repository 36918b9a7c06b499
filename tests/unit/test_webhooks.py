"""Webhooks: the policy, and deliveries to a receiver on this machine."""

import asyncio
import base64
import hashlib
import hmac
import json
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tests.clocks import ManualClock
from threadloom.config.settings import HttpSettings, OwnSettings, Settings, WebhookSettings, WebhookUrlRules
from threadloom.engine.settle import Settled
from threadloom.errors import Invalid
from threadloom.services.webhooks import DELAYS, WebhookPolicy, Webhooks
from threadloom.types import Run

pytestmark = pytest.mark.anyio

OPEN = WebhookUrlRules(disable_loopback=False)


def policy(**rules):
    return WebhookPolicy(WebhookSettings(url=WebhookUrlRules(**rules)))


@pytest.fixture
def names(monkeypatch):
    """Names as the test wants them to resolve."""
    known = {
        "public.example": ["93.184.216.34"],
        "inside.example": ["10.1.2.3"],
        "mixed.example": ["93.184.216.34", "127.0.0.1"],
        "xn--bcher-kva.example": ["93.184.216.34"],
        "localhost": ["127.0.0.1"],
    }

    async def resolve(loop, host, port, **_):
        if host not in known:
            raise socket.gaierror("unknown name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in known[host]]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", resolve)
    monkeypatch.setattr(type(asyncio.get_event_loop_policy().new_event_loop()), "getaddrinfo", resolve)
    return known


REFUSED = [
    ("http://127.0.0.1:9/x", "Webhook host blocked: loopback IP range"),
    ("http://localhost/x", "Webhook host blocked: localhost address"),
    ("http://a.localhost./x", "Webhook host blocked: localhost address"),
    ("http://[::1]/x", "Webhook host blocked: blocked IP range"),
    ("http://[::ffff:127.0.0.1]/x", "Webhook host blocked: loopback IP range"),
    ("http://[64:ff9b::7f00:1]/x", "Webhook host blocked: loopback IP range"),
    ("http://169.254.169.254/latest", "Webhook host blocked: blocked IP range"),
    ("http://0.0.0.0/x", "Webhook host blocked: blocked IP range"),
    ("http://mixed.example/x", "Webhook host blocked: loopback IP range"),
    ("http://inside.example/x", "Webhook host blocked: private IP range"),
    ("https://10.0.0.1/x", "Webhook host blocked: private IP range"),
    ("https://192.168.1.1/x", "Webhook host blocked: private IP range"),
    ("https://172.16.0.1/x", "Webhook host blocked: private IP range"),
    ("https://[fd00::1]/x", "Webhook host blocked: private IP range"),
    ("https://100.64.0.1/x", "Webhook host blocked: private IP range"),
    ("https://no-such-host.invalid/x", "Webhook host blocked: DNS resolution failed"),
    ("ftp://public.example/x", "Webhook host blocked: scheme 'ftp' not allowed"),
    ("file:///etc/passwd", "Webhook host blocked: scheme 'file' not allowed"),
    ("/ok", "webhooks.url.disable_loopback"),
    ("//public.example/x", "Webhook host blocked: scheme '' not allowed"),
    ("not a url", "Invalid webhook hostname ''"),
    ("http://", "Invalid webhook hostname ''"),
    ("http://pub lic.example:x/", "Invalid webhook hostname ''"),
    ("https://user:pw@public.example/x", "user and password"),
]


@pytest.mark.parametrize("url, why", REFUSED)
async def test_without_configuration_only_public_hosts_will_do(names, url, why):
    with pytest.raises(Invalid) as refused:
        await policy().check(url)
    assert why in refused.value.detail


@pytest.mark.parametrize("url", ["http://public.example:8080/x?y=1", "https://93.184.216.34/", "http://bücher.example"])
async def test_public_hosts_pass(names, url):
    await policy().check(url)


async def test_loopback_may_be_allowed(names):
    for url in ("http://127.0.0.1:9/x", "http://localhost/x", "http://[::1]/x", "/ok"):
        await policy(disable_loopback=False).check(url)
    with pytest.raises(Invalid):
        await policy(disable_loopback=False).check("http://169.254.169.254/x")


async def test_private_networks_may_be_allowed(names):
    await policy(disable_private_ips=False).check("http://inside.example/x")
    with pytest.raises(Invalid):
        await policy(disable_private_ips=False).check("http://127.0.0.1/x")


@pytest.mark.parametrize(
    "rules, good, bad, why",
    [
        ({"require_https": True}, "https://public.example/", "http://public.example/", "Webhook must use https"),
        ({"max_url_length": 24}, "http://public.example/ab", "http://public.example/abc", "Webhook URL too long"),
        ({"max_url_length": 4}, None, "ftp://x", "Webhook URL too long"),
        (
            {"allowed_ports": (443,)},
            "https://public.example/",
            "https://public.example:2266/",
            "Webhook port 2266 not allowed",
        ),
        ({"allowed_ports": (443,)}, None, "http://public.example/", "Webhook port 80 not allowed"),
        ({"allowed_domains": ("public.example",)}, "http://PUBLIC.example/", "http://inside.example/", "not allowed"),
        ({"allowed_domains": ("*.example",)}, "http://public.example/", "http://example/", "not allowed"),
        ({"allowed_domains": ("*.example",)}, None, "http://badexample/", "not allowed"),
    ],
    ids=str,
)
async def test_rules(names, rules, good, bad, why):
    if good:
        await policy(**rules).check(good)
    with pytest.raises(Invalid) as refused:
        await policy(**rules).check(bad)
    assert why in refused.value.detail


# --- deliveries ---


class Receiver:
    def __init__(self, statuses=(200,)):
        received = self.received = []
        answers = list(statuses)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                received.append((self.path, {key.lower(): value for key, value in self.headers.items()}, body))
                status = answers.pop(0) if len(answers) > 1 else answers[0]
                self.send_response(status)
                if status == 302:
                    self.send_header("location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}/hook"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@contextmanager
def receiving(*statuses):
    receiver = Receiver(statuses or (200,))
    try:
        yield receiver
    finally:
        receiver.server.shutdown()
        receiver.server.server_close()


def settings(rules=OPEN, secret=None, headers=None, **http):
    return Settings(
        root=Path("/"),
        data=Path("/"),
        graphs={},
        http=HttpSettings(**http),
        webhooks=WebhookSettings(headers=headers or {}, url=rules),
        threadloom=OwnSettings(webhook_secret=secret),
    )


def run(**kwargs):
    return Run(
        run_id="r",
        thread_id="t",
        assistant_id="a",
        status="success",
        created_at=1,
        updated_at=3,
        started_at=2,
        ended_at=3,
        metadata={"who": "me"},
        kwargs=kwargs,
        multitask_strategy="enqueue",
        due=1,
    )


async def patiently(clock, work):
    """Lets the tries follow each other at once."""
    task = asyncio.ensure_future(work)
    for delay in DELAYS:
        asleep = asyncio.ensure_future(clock.asleep())
        await asyncio.wait({task, asleep}, return_when=asyncio.FIRST_COMPLETED)
        asleep.cancel()
        clock.move(delay)
    return await task


async def test_a_run_is_told_of_in_full():
    config = {"configurable": {"graph_id": "g", "langgraph_auth_user": {"token": "secret"}}}
    with receiving() as receiver:
        async with Webhooks(settings(headers={"x-key": "k"}), ManualClock()) as webhooks:
            settled = Settled(
                run=run(webhook=f"{receiver.url}?key=1", config=config),
                status="error",
                error={"error": "ValueError", "message": "ouch"},
                values_json=b'{"n":1}',
            )
            await webhooks.after_run(settled)
        [(path, headers, body)] = receiver.received
    assert path == "/hook?key=1"
    assert (headers["content-type"], headers["x-key"]) == ("application/json", "k")
    assert headers["host"] == f"127.0.0.1:{receiver.port}"
    assert b"secret" not in body
    told = json.loads(body)
    assert (told["run_id"], told["thread_id"], told["status"], told["values"]) == ("r", "t", "error", {"n": 1})
    assert told["error"] == {"error": "ValueError", "message": "ouch"}
    assert told["run_started_at"] < told["run_ended_at"] < told["webhook_sent_at"]
    assert told["kwargs"]["config"]["configurable"] == {"graph_id": "g"}


async def test_a_stateless_run_is_told_with_its_values():
    with receiving() as receiver:
        async with Webhooks(settings(), ManualClock()) as webhooks:
            values = b'{"n":1,"__interrupt__":[{"id":"i","value":"?"}]}'
            made = run(webhook=receiver.url, temporary=True)
            await webhooks.after_run(Settled(run=made, status="success", error=None, values_json=values))
        told = json.loads(receiver.received[0][2])
    assert told["values"] == {"n": 1}
    assert told["interrupts"] == [{"id": "i", "value": "?"}]
    assert "error" not in told


async def test_a_run_that_stopped_at_a_question_is_told_with_it():
    with receiving() as receiver:
        async with Webhooks(settings(), ManualClock()) as webhooks:
            asked = b'{"task":[{"id":"i","value":"?"}]}'
            made = run(webhook=receiver.url)
            settled = Settled(run=made, status="success", error=None, values_json=b"{}", interrupts_json=asked)
            await webhooks.after_run(settled)
        told = json.loads(receiver.received[0][2])
    assert (told["values"], told["interrupts"]) == ({}, [{"id": "i", "value": "?"}])


async def test_without_a_webhook_or_when_they_are_off_nothing_is_sent():
    with receiving() as receiver:
        for made, options in ((run(), {}), (run(webhook=receiver.url), {"disable_webhooks": True})):
            async with Webhooks(settings(**options), ManualClock()) as webhooks:
                await webhooks.after_run(Settled(run=made, status="success", error=None, values_json=None))
        assert receiver.received == []


@pytest.mark.parametrize(
    "statuses, taken, tries",
    [((200,), True, 1), ((500, 204), True, 2), ((503, 500, 200), True, 3), ((500,), False, 3), ((404,), False, 3)],
)
async def test_a_receiver_that_fails_gets_three_tries(statuses, taken, tries, caplog):
    clock = ManualClock()
    with receiving(*statuses) as receiver:
        async with Webhooks(settings(), clock) as webhooks:
            assert await patiently(clock, webhooks.send(receiver.url + "?key=hidden", b"{}")) is taken
        assert len(receiver.received) == tries
        assert len({headers["webhook-id"] for _, headers, _ in receiver.received}) == 1
    told = [record.getMessage() for record in caplog.records if record.name == "threadloom.webhooks"]
    assert bool(told) is not taken
    assert "hidden" not in "".join(told)


async def test_a_redirect_is_not_followed():
    clock = ManualClock()
    with receiving(302) as receiver:
        async with Webhooks(settings(), clock) as webhooks:
            assert not await patiently(clock, webhooks.send(receiver.url, b"{}"))
        assert {path for path, _, _ in receiver.received} == {"/hook"}


async def test_a_receiver_that_is_down_is_only_logged(caplog):
    clock = ManualClock()
    async with Webhooks(settings(), clock) as webhooks:
        assert not await patiently(clock, webhooks.send("http://127.0.0.1:1/nobody", b"{}"))
    assert "http://127.0.0.1:1/nobody" in caplog.text


async def test_the_policy_holds_at_delivery_too(names):
    clock = ManualClock()
    with receiving() as receiver:
        names["moved.example"] = ["127.0.0.1"]
        async with Webhooks(settings(WebhookUrlRules()), clock) as webhooks:
            assert not await patiently(clock, webhooks.send(f"http://moved.example:{receiver.port}/x", b"{}"))
        assert receiver.received == []


async def test_the_address_that_was_checked_is_connected_to(names):
    with receiving() as receiver:
        names["here.example"] = ["127.0.0.2", "127.0.0.1"]
        async with Webhooks(settings(), ManualClock()) as webhooks:
            assert await webhooks.send(f"http://here.example:{receiver.port}/x", b"{}")
        assert receiver.received[0][1]["host"] == f"here.example:{receiver.port}"


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with receiving() as receiver:
        async with Webhooks(settings(), ManualClock()) as webhooks:
            assert await webhooks.send(receiver.url, b"{}")


@pytest.mark.parametrize("prefix", ["", "/api"])
async def test_a_relative_url_is_an_own_route(prefix):
    received = []

    async def hook(request):
        received.append((request.headers["content-type"], await request.json(), request.query_params["q"]))
        return PlainTextResponse("ok")

    async with Webhooks(settings(mount_prefix=prefix), ManualClock()) as webhooks:
        webhooks.app = Starlette(routes=[Route(prefix + "/custom/hook", hook, methods=["POST"])])
        assert await webhooks.send("/custom/hook?q=ü", b'{"n":1}')
    assert received == [("application/json", {"n": 1}, "ü")]


@pytest.mark.parametrize(
    "secret, key", [("whsec_" + base64.b64encode(b"k" * 24).decode(), b"k" * 24), ("plain", b"plain")]
)
async def test_a_secret_signs(secret, key):
    with receiving() as receiver:
        async with Webhooks(settings(secret=secret), ManualClock()) as webhooks:
            await webhooks.send(receiver.url, b'{"n":1}')
        headers = receiver.received[0][1]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + b'{"n":1}'
    expected = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"


async def test_a_run_on_another_loop_is_told_from_the_servers():
    with receiving() as receiver:
        async with Webhooks(settings(), ManualClock()) as webhooks:
            settled = Settled(run=run(webhook=receiver.url), status="success", error=None, values_json=b"{}")
            await asyncio.to_thread(lambda: asyncio.run(webhooks.after_run(settled)))
        assert len(receiver.received) == 1
