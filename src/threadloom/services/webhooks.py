"""Webhooks: where they may go, and telling a receiver of a run's end (contract, runs §11 and protocols §5)."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import logging
import socket
from collections.abc import Coroutine
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from types import TracebackType
from typing import Any

import httpx
import msgspec

from threadloom.clock import SECOND, Clock, iso
from threadloom.codec import Fragment, to_json
from threadloom.config.hosts import fits
from threadloom.config.settings import Settings, WebhookSettings, WebhookUrlRules
from threadloom.engine.settle import Settled
from threadloom.errors import Invalid
from threadloom.ids import new_id
from threadloom.services.records import run_record

log = logging.getLogger("threadloom.webhooks")

DELAYS = (1.3, 1.4)
"""Seconds between one try and the next."""

TIMEOUT = 10.0
"""Seconds a receiver may take for one try."""

FAREWELL = 5.0
"""Seconds that deliveries under way get when the server stops."""

HIDDEN = ("langgraph_auth_user", "langgraph_auth_permissions")
"""What the server knows of a run's caller and no receiver is told."""

INTERNAL = "http://localhost"
"""Stands before a relative URL. The call does not leave the process, and is a stranger's: without credentials or trust."""

_NAT64 = IPv6Network("64:ff9b::/96")
_LOCAL_NAMES = ("localhost", ".localhost")
Address = IPv4Address | IPv6Address


class Target(msgspec.Struct, frozen=True):
    """Where a delivery goes: `url` as it was named, `addresses` those that may be connected to (none: our own app)."""

    url: httpx.URL
    addresses: tuple[str, ...]


class WebhookPolicy:
    """Decides where webhooks may go. Names are resolved on a thread, never on the event loop."""

    def __init__(self, settings: WebhookSettings) -> None:
        self._rules: WebhookUrlRules = settings.url

    async def check(self, url: str) -> None:
        """Lets a URL pass.

        Raises:
            Invalid: says which rule it breaks.
        """
        await self.resolve(url)

    async def resolve(self, url: str) -> Target:
        """The place that a URL means now, if the rules let all of its addresses pass.

        Raises:
            Invalid: as `check`.
        """
        rules = self._rules
        if rules.max_url_length is not None and len(url) > rules.max_url_length:
            raise Invalid("Webhook URL too long")
        if url.startswith("/") and not url.startswith("//"):
            if rules.disable_loopback:
                raise Invalid("Relative webhook URLs are loopback webhooks, disabled by webhooks.url.disable_loopback")
            return Target(_parsed(INTERNAL + url), ())
        parsed = _parsed(url)
        host = _check_form(parsed, rules)
        addresses = await _addresses(host, parsed.port or (443 if parsed.scheme == "https" else 80))
        for address in addresses:
            _check_address(address, rules)
        return Target(parsed, tuple(dict.fromkeys(map(str, addresses))))


def _parsed(url: str) -> httpx.URL:
    try:
        return httpx.URL(url)
    except (httpx.InvalidURL, ValueError, UnicodeError) as error:
        raise Invalid(f"Invalid webhook hostname '': {error}") from None


def _check_form(url: httpx.URL, rules: WebhookUrlRules) -> str:
    """Checks all that can be seen without resolving. Gives the host."""
    if url.scheme in ("http", "https", "") and not url.host:
        raise Invalid("Invalid webhook hostname ''")
    if rules.require_https and url.scheme != "https":
        raise Invalid("Webhook must use https")
    if url.scheme not in ("http", "https"):
        raise Invalid(f"Webhook host blocked: scheme '{url.scheme}' not allowed")
    if url.userinfo:
        raise Invalid("Webhook URL must not hold user and password: set webhooks.headers instead")
    host = url.raw_host.decode().lower().rstrip(".")
    port = url.port or (443 if url.scheme == "https" else 80)
    if rules.allowed_ports and port not in rules.allowed_ports:
        raise Invalid(f"Webhook port {port} not allowed")
    if rules.allowed_domains and not any(fits(host, domain) for domain in rules.allowed_domains):
        raise Invalid(f"Webhook domain {host!r} not allowed")
    if rules.disable_loopback and (host == _LOCAL_NAMES[0] or host.endswith(_LOCAL_NAMES[1])):
        raise Invalid("Webhook host blocked: localhost address")
    return host


async def _addresses(host: str, port: int) -> list[Address]:
    with contextlib.suppress(ValueError):
        return [ip_address(host)]
    try:
        async with asyncio.timeout(TIMEOUT):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError):
        found = []
    if not found:
        raise Invalid("Webhook host blocked: DNS resolution failed")
    return [ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]


def _check_address(address: Address, rules: WebhookUrlRules) -> None:
    plain = _unwrapped(address)
    if plain.is_loopback:
        if rules.disable_loopback:
            kind = "loopback IP range" if plain.version == 4 else "blocked IP range"
            raise Invalid(f"Webhook host blocked: {kind}")
        return
    if plain.is_link_local or plain.is_multicast or plain.is_unspecified:
        raise Invalid("Webhook host blocked: blocked IP range")
    if not plain.is_global and rules.disable_private_ips:
        raise Invalid("Webhook host blocked: private IP range (webhooks.url.disable_private_ips)")


def _unwrapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, if it does."""
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


class Webhooks:
    """Tells receivers of the ends of runs. A context manager: on leaving, deliveries under way get a few seconds.

    A receiver that is down, slow or refuses never touches the run: it gets three tries, then the log is told.

    Attributes:
        app: the server's own ASGI app, where relative URLs lead.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.app: Any = None
        self.obey(settings)
        self._clock = clock
        self._home: asyncio.AbstractEventLoop | None = None
        self._clients: dict[bool, httpx.AsyncClient] = {}
        self._deliveries: set[asyncio.Task[None]] = set()

    def obey(self, settings: Settings) -> None:
        """Follows these settings from the next delivery on."""
        self._disabled = settings.http.disable_webhooks
        self._prefix = settings.http.mount_prefix
        self._headers = settings.webhooks.headers
        self._secret = settings.threadloom.webhook_secret
        self._policy = WebhookPolicy(settings.webhooks)

    async def __aenter__(self) -> "Webhooks":
        self._home = asyncio.get_running_loop()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.sleep(0)  # lets those start that runs on other loops have just asked for
        if self._deliveries:
            _, late = await asyncio.wait(self._deliveries, timeout=FAREWELL)
            for task in late:
                task.cancel()
            if late:
                log.warning("%d webhook deliveries were given up: the server stops", len(late))
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()

    async def after_run(self, settled: Settled) -> None:
        """Starts telling the run's receiver, if it has one, and does not wait for it. From any event loop."""
        url = settled.run.kwargs.get("webhook")
        if not url or self._disabled or self._home is None:
            return
        body = payload(settled, self._clock.now())
        if asyncio.get_running_loop() is self._home:
            self._start(self.send(url, body))
        else:
            self._home.call_soon_threadsafe(self._start, self.send(url, body))

    async def send(self, url: str, body: bytes) -> bool:
        """Posts a JSON body, with three tries. Whether a receiver took it; a failure is in the log."""
        message = new_id()
        shown = url.partition("?")[0][:200]
        why = ""
        for number in range(len(DELAYS) + 1):
            if number:
                await self._clock.sleep(DELAYS[number - 1])
            try:
                async with asyncio.timeout(TIMEOUT):
                    status = await self._post(url, body, message)
            except Invalid as refused:
                # The name leads elsewhere than when the run was made; or there is no network: then try again.
                why = refused.detail
            except (httpx.HTTPError, OSError, TimeoutError) as failure:
                why = str(failure) or type(failure).__name__
            else:
                if 200 <= status < 300:
                    return True
                why = f"it answered {status}"
        log.warning("Webhook %s was not delivered after %d tries: %s", shown, len(DELAYS) + 1, why)
        return False

    async def _post(self, url: str, body: bytes, message: str) -> int:
        """One try. Gives the status of the answer."""
        target = await self._policy.resolve(url)
        headers = httpx.Headers(self._headers)
        headers.update({"Content-Type": "application/json", **self._signed(message, body)})
        if not target.addresses:
            place = target.url.copy_with(raw_path=self._prefix.encode() + target.url.raw_path)
            return (await self._client(inside=True).post(place, content=body, headers=headers)).status_code
        # Connected is to an address that was checked, whatever the name means a moment later.
        headers["Host"] = target.url.netloc.decode()
        extensions = {"sni_hostname": target.url.raw_host.decode()}
        failure: httpx.ConnectError | None = None
        for address in target.addresses:
            place = target.url.copy_with(host=address)
            try:
                post = self._client(inside=False).stream
                async with post("POST", place, content=body, headers=headers, extensions=extensions) as answer:
                    return answer.status_code
            except httpx.ConnectError as error:
                failure = error
        assert failure is not None
        raise failure

    def _client(self, inside: bool) -> httpx.AsyncClient:
        """Made when first needed: reading the certificates takes a while. Never follows a redirect, uses no proxy."""
        if inside not in self._clients:
            self._clients[inside] = (
                httpx.AsyncClient(transport=httpx.ASGITransport(self.app, raise_app_exceptions=False))
                if inside
                else httpx.AsyncClient(verify=httpx.create_ssl_context(), trust_env=False, timeout=TIMEOUT)
            )
        return self._clients[inside]

    def _signed(self, message: str, body: bytes) -> dict[str, str]:
        """What lets a receiver know a delivery again, and that it is ours (standardwebhooks.com)."""
        moment = str(self._clock.now() // SECOND)
        headers = {"Webhook-Id": message, "Webhook-Timestamp": moment}
        if self._secret is not None:
            signature = hmac.digest(_key(self._secret), f"{message}.{moment}.".encode() + body, hashlib.sha256)
            headers["Webhook-Signature"] = "v1," + base64.b64encode(signature).decode()
        return headers

    def _start(self, delivery: Coroutine[Any, Any, bool]) -> None:
        async def deliver() -> None:
            try:
                await delivery
            except Exception:
                log.exception("A webhook could not be delivered")

        task = asyncio.ensure_future(deliver())
        self._deliveries.add(task)
        task.add_done_callback(self._deliveries.discard)


def _key(secret: str) -> bytes:
    """The key of a secret: base64 after `whsec_`, else the text itself."""
    if secret.startswith("whsec_"):
        with contextlib.suppress(ValueError):
            return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    return secret.encode()


def payload(settled: Settled, now: int) -> bytes:
    """The body that tells of a run's end. `now` is when it is sent."""
    run = settled.run
    values: Any = None
    interrupts: list[Any] = []
    if settled.values_json is not None:
        values = Fragment(settled.values_json)
        if run.temporary:
            # What `wait` answered: the values, and beside them what is told elsewhere here.
            values = msgspec.json.decode(settled.values_json)
            if isinstance(values, dict):
                interrupts = values.pop("__interrupt__", [])
                values.pop("__error__", None)
    if settled.interrupts_json is not None:
        asked = msgspec.json.decode(settled.interrupts_json)
        interrupts = [interrupt for interrupts_of_task in asked.values() for interrupt in interrupts_of_task]
    body = run_record(run) | {
        "status": settled.status,
        "kwargs": _public(run.kwargs),
        "run_started_at": iso(run.started_at or run.created_at),
        "run_ended_at": iso(run.ended_at or now),
        "webhook_sent_at": iso(now),
        "values": values,
    }
    if interrupts:
        body["interrupts"] = interrupts
    if settled.error is not None:
        body["error"] = settled.error
    return to_json(body)


def _public(kwargs: dict[str, Any]) -> dict[str, Any]:
    """What the run was started with, without what the server knows of its caller."""
    config = kwargs.get("config") or {}
    configurable = config.get("configurable") or {}
    shown = {key: value for key, value in configurable.items() if key not in HIDDEN}
    return kwargs | {"config": config | {"configurable": shown}}
