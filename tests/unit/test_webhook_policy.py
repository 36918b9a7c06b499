"""Where webhooks may go."""

import asyncio
import socket
import threading

import pytest

from threadloom.config.settings import WebhookSettings, WebhookUrlRules
from threadloom.errors import Invalid
from threadloom.services.webhooks import WebhookPolicy
from threadloom.services.webhooks.policy import LOOKUPS

pytestmark = pytest.mark.anyio


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

    def resolve(host, port, **_):
        if host not in known:
            raise socket.gaierror("unknown name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in known[host]]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return known


REFUSED = [
    ("http://127.0.0.1:9/x", "Webhook host blocked: loopback IP range"),
    ("http://localhost/x", "Webhook host blocked: localhost address"),
    ("http://a.localhost./x", "Webhook host blocked: localhost address"),
    ("http://[::1]/x", "Webhook host blocked: blocked IP range"),
    ("http://[::ffff:127.0.0.1]/x", "Webhook host blocked: loopback IP range"),
    ("http://[64:ff9b::7f00:1]/x", "Webhook host blocked: loopback IP range"),
    ("http://[::127.0.0.1]/x", "Webhook host blocked: blocked IP range"),
    ("http://[::93.184.216.34]/x", "Webhook host blocked: blocked IP range"),
    ("http://[::ffff:0:127.0.0.1]/x", "Webhook host blocked: blocked IP range"),
    ("http://[::ffff:10.0.0.1]/x", "Webhook host blocked: private IP range"),
    ("http://[64:ff9b::169.254.169.254]/x", "Webhook host blocked: blocked IP range"),
    ("http://[64:ff9b:1::7f00:1]/x", "Webhook host blocked: blocked IP range"),
    ("http://[2002:7f00:1::]/x", "Webhook host blocked: loopback IP range"),
    ("http://[2002:a9fe:a9fe::1]/x", "Webhook host blocked: blocked IP range"),
    ("http://[2001:0:7f00:1::]/x", "Webhook host blocked"),
    ("http://[2001:0:4136:e378:8000:63bf:80ff:fffe]/x", "Webhook host blocked"),
    ("http://[2606:4700::5efe:127.0.0.1]/x", "Webhook host blocked: loopback IP range"),
    ("http://[2606:4700::200:5efe:10.0.0.1]/x", "Webhook host blocked: private IP range"),
    ("http://[fec0::1]/x", "Webhook host blocked: blocked IP range"),
    ("http://[fe80::1]/x", "Webhook host blocked: blocked IP range"),
    ("http://[ff02::1]/x", "Webhook host blocked: blocked IP range"),
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
    ("http://public.example:99999/x", "Webhook port 99999 out of range"),
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


async def test_names_whose_servers_do_not_answer_keep_nobody_else_waiting(monkeypatch):
    """Nobody else: the loop's own lookups are those of all clients in the process."""
    answer, looked_up = threading.Event(), socket.getaddrinfo

    def resolve(host, port, *more, **named):
        if host.endswith(".silent.example"):
            answer.wait(30)
            raise socket.gaierror("no answer")
        return looked_up("127.0.0.1", port, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    asking = policy(disable_loopback=False)
    silent = [asyncio.create_task(asking.check(f"http://{n}.silent.example/x")) for n in range(LOOKUPS - 1)]
    try:
        async with asyncio.timeout(5):
            await asking.check("http://other.example/x")
            await asyncio.get_running_loop().getaddrinfo("other.example", 80)
            await asyncio.to_thread(int)
        assert not any(task.done() for task in silent)
    finally:
        answer.set()
        for refused in await asyncio.gather(*silent, return_exceptions=True):
            assert isinstance(refused, Invalid)
