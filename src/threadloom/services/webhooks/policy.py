"""The policy for webhook URLs (docs/contract/protocols.md#webhook-urls)."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

import httpx
import msgspec

from threadloom.config.host_names import fits
from threadloom.config.settings import WebhookSettings, WebhookUrlRules
from threadloom.errors import Invalid

RESOLVE_SECONDS = 10.0
"""Timeout of name resolution."""

LOOKUPS = 32
"""Names that are resolved at once, each on a thread of its own. The event loop's default resolver has four threads for all
clients in the process (models, tools): four names whose servers do not respond would block these clients.
"""

INTERNAL = "http://localhost"
"""The origin of relative URLs. Such a request does not leave the process. It has no credentials and is not trusted."""

_NAT64 = IPv6Network("64:ff9b::/96")
_USED = (IPv6Network("2000::/3"), IPv6Network("fc00::/7"))
"""The address ranges that IPv6 hosts use: global addresses and those of private networks. The rest of the space is reserved, or
has obsolete forms of IPv4 addresses (`::127.0.0.1`, `::ffff:0:127.0.0.1`).
"""

_ISATAP = 0x0000_5EFE
"""The upper half of an interface id whose lower half is an IPv4 address. One of its bits may be set or not."""

_LOCAL_NAMES = ("localhost", ".localhost")
Address = IPv4Address | IPv6Address


class Target(msgspec.Struct, frozen=True):
    """The target of a delivery: `url` as it was given, `addresses` to which connections are allowed (empty: the server's own
    app).
    """

    url: httpx.URL
    addresses: tuple[str, ...]


class WebhookPolicy:
    """Decides to which URLs webhooks may be sent. Names are resolved on a thread, never on the event loop."""

    def __init__(self, settings: WebhookSettings) -> None:
        self._rules: WebhookUrlRules = settings.url
        self._lookups: dict[tuple[str, int], asyncio.Task[list[Address]]] = {}
        self._places = asyncio.Semaphore(LOOKUPS)

    async def check(self, url: str) -> None:
        """Checks a URL.

        Raises:
            Invalid: the URL breaks a rule; the text names the rule.
        """
        await self.resolve(url)

    async def resolve(self, url: str) -> Target:
        """Resolves a URL, if the rules permit all of its addresses.

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
        addresses = await self._addresses(host, parsed.port or (443 if parsed.scheme == "https" else 80))
        for address in addresses:
            _check_address(address, rules)
        return Target(parsed, tuple(dict.fromkeys(map(str, addresses))))

    async def _addresses(self, host: str, port: int) -> list[Address]:
        """Resolves a host name. Concurrent calls for the same name share one lookup: a name whose server does not respond must
        not take all the threads for lookups.

        Raises:
            Invalid: the name cannot be resolved.
        """
        with contextlib.suppress(ValueError):
            return [ip_address(host)]
        place = (host, port)
        if place not in self._lookups:
            self._lookups[place] = asyncio.ensure_future(self._look_up(host, port))
            self._lookups[place].add_done_callback(lambda task: self._forget(place, task))
        found: list[Address] = []
        with contextlib.suppress(OSError, UnicodeError, TimeoutError):
            async with asyncio.timeout(RESOLVE_SECONDS):
                found = await asyncio.shield(self._lookups[place])
        if not found:
            raise Invalid("Webhook host blocked: DNS resolution failed")
        return found

    async def _look_up(self, host: str, port: int) -> list[Address]:
        async with self._places:
            return await _looked_up(host, port)

    def _forget(self, place: tuple[str, int], task: asyncio.Task[list[Address]]) -> None:
        del self._lookups[place]
        if not task.cancelled():
            task.exception()  # marks the exception as retrieved: all waiters may have timed out


def _parsed(url: str) -> httpx.URL:
    try:
        return httpx.URL(url)
    except (httpx.InvalidURL, ValueError, UnicodeError) as error:
        raise Invalid(f"Invalid webhook hostname '': {error}") from None


def _check_form(url: httpx.URL, rules: WebhookUrlRules) -> str:
    """Checks everything that needs no name resolution. Returns the host."""
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
    if not 0 < port < 2**16:
        raise Invalid(f"Webhook port {port} out of range")
    if rules.allowed_ports and port not in rules.allowed_ports:
        raise Invalid(f"Webhook port {port} not allowed")
    if rules.allowed_domains and not any(fits(host, domain) for domain in rules.allowed_domains):
        raise Invalid(f"Webhook domain {host!r} not allowed")
    if rules.disable_loopback and (host == _LOCAL_NAMES[0] or host.endswith(_LOCAL_NAMES[1])):
        raise Invalid("Webhook host blocked: localhost address")
    return host


async def _looked_up(host: str, port: int) -> list[Address]:
    """Returns the addresses of a host. Raises OSError or UnicodeError if the name cannot be resolved."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[tuple[Any, ...]]] = loop.create_future()

    def tell(act: Callable[[Any], None], outcome: object) -> None:
        if not answer.done():
            act(outcome)

    def look() -> None:
        told: tuple[Callable[[Any], None], object]
        try:
            told = (answer.set_result, socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            told = (answer.set_exception, error)
        with contextlib.suppress(RuntimeError):  # the event loop was closed meanwhile
            loop.call_soon_threadsafe(tell, *told)

    threading.Thread(target=look, name="threadloom-names", daemon=True).start()  # shutdown does not wait for it
    return [ip_address(str(entry[4][0]).partition("%")[0]) for entry in await answer]


def _check_address(address: Address, rules: WebhookUrlRules) -> None:
    plain = _unwrapped(address)
    if plain.is_loopback:
        if rules.disable_loopback:
            kind = "loopback IP range" if plain.version == 4 else "blocked IP range"
            raise Invalid(f"Webhook host blocked: {kind}")
        return
    if plain.is_link_local or plain.is_multicast or plain.is_unspecified:
        raise Invalid("Webhook host blocked: blocked IP range")
    if isinstance(plain, IPv6Address):
        if not any(plain in network for network in _USED):
            raise Invalid("Webhook host blocked: blocked IP range")
        for carried in _carried(plain):
            _check_address(carried, rules)
    if not plain.is_global and rules.disable_private_ips:
        raise Invalid("Webhook host blocked: private IP range (webhooks.url.disable_private_ips)")


def _unwrapped(address: Address) -> Address:
    """Returns the IPv4 address that an IPv6 address stands for, else the address itself."""
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            return _low(address)
        return address.ipv4_mapped or address.sixtofour or address
    return address


def _carried(address: IPv6Address) -> list[IPv4Address]:
    """Returns the IPv4 addresses to which packets to an IPv6 address may be tunnelled (Teredo, ISATAP)."""
    carried = list(address.teredo or ())
    if int(address) >> 32 & 0xFDFF_FFFF == _ISATAP:
        carried.append(_low(address))
    return carried


def _low(address: IPv6Address) -> IPv4Address:
    return IPv4Address(int(address) & 0xFFFF_FFFF)
