"""The host names that the server accepts in requests.

A page in a browser can make its own host name resolve to 127.0.0.1, and then call a server there as its own origin (DNS
rebinding). Neither CORS nor listening on the loopback prevents it. A check of the `Host` header does.
"""

from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.types import Receive, Scope, Send

from threadloom.api.http import Response, deny, error_body
from threadloom.config.host_names import fits, host_of, is_loopback
from threadloom.config.settings import Settings

MOST_KNOWN = 1000
"""Maximum number of cached `Host` values. It is bounded, because a caller can vary them (`a.localhost`, `b.localhost` …)."""


class AllowedHosts:
    """Checks the `Host` header of requests.

    Args:
        allowed: names or patterns (see `config.host_names.fits`), in addition to those of the loopback.
    """

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self._allowed = tuple(allowed)
        self._known: set[bytes] = set()

    @classmethod
    def of(cls, settings: Settings) -> "AllowedHosts | None":
        """Returns the check that the settings ask for. None: every host name is accepted.

        Every name is accepted where the server listens on more than the loopback (or its address is not set) and no name is
        configured. Clients use the name in LANGGRAPH_API_URL, so it is accepted too.
        """
        listens = settings.vars.langgraph_server_host
        allowed = settings.threadloom.allowed_hosts
        if not allowed and (listens is None or not is_loopback(host_of(listens))):
            return None
        named = urlsplit(settings.base_url or "").hostname
        return cls((*allowed, named) if named else allowed)

    def pass_(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Returns whether a request with these headers is meant for this server: it has a `Host`, and each `Host` is allowed."""
        found = False
        for name, value in headers:
            if name == b"host":
                if value not in self._known and not self._learn(value):
                    return False
                found = True
        return found

    def _learn(self, value: bytes) -> bool:
        host = host_of(value.decode("latin-1"))
        good = is_loopback(host) or any(fits(host, pattern) for pattern in self._allowed)
        if good and len(self._known) < MOST_KNOWN:
            self._known.add(value)
        return good


async def misdirected(scope: Scope, receive: Receive, send: Send) -> None:
    """Responds with status 421 to a request or a web socket handshake for a host that is not allowed."""
    named = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
    detail = (
        f"This server does not answer to the host {named!r:.200}. If it is meant to, add the name to threadloom.allowed_hosts "
        "in langgraph.json."
    )
    response = Response(error_body(detail), 421)
    if scope["type"] == "websocket":
        await deny(response, scope, receive, send)
    else:
        await response(scope, receive, send)
