"""The origins whose pages may use the server. A browser sends the origin of the page that makes a request (`Origin`).

CORS keeps a page of another origin from *reading* a response. A request that needs no preflight (a form, `text/plain`), and a web
socket handshake, reach the server nevertheless, with the user's cookies. Therefore requests that may change something are refused
here if their origin is not allowed.
"""

import logging
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

import msgspec
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Scope

from threadloom.api.http import Response, error_body
from threadloom.config.host_names import host_of, is_loopback
from threadloom.config.settings import OPEN_CORS, Cors, HttpSettings, Settings

EXPOSED = ("x-pagination-total", "x-pagination-next", "content-location", "location", "x-request-id")
"""Response headers that pages of other origins may read."""

HOSTED = ("https://smith.langchain.com", "https://agentchat.vercel.app")
"""Origins of hosted pages that are made for use with a local server."""

LOCAL = r"https?://(([a-z0-9_-]+\.)*localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?"
"""Origins of pages on the local machine."""

ASKED = (b"basic", b"digest", b"negotiate", b"ntlm")
"""Schemes of `Authorization` that browsers add by themselves after the user has entered credentials."""

UNASKED = ("", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data")
"""Content types that pages of other origins may send without a preflight; "" means no content type."""

SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
USUAL_PORTS = {"http": ":80", "https": ":443"}
CREDENTIALS_ALLOWED = "Access-Control-Allow-Credentials"

log = logging.getLogger("threadloom.api")


class AllowedOrigins:
    """Checks the origins of requests; `around` adds CORS to an app.

    Args:
        http: the block `http`, with the CORS settings if they are configured.
        allowed: further origins; `*` means any.
        loopback: whether the server listens on the loopback only. Then, without `http.cors`, not all origins are allowed.
        own: the server's own origin, if it is known.
        cookies_open_sockets: whether a cookie may authenticate a web socket.
    """

    def __init__(
        self,
        http: HttpSettings,
        *,
        allowed: Iterable[str] = (),
        loopback: bool = False,
        own: str | None = None,
        cookies_open_sockets: bool = False,
    ) -> None:
        self._named = frozenset(allowed)
        self._any = "*" in self._named
        self._own = own
        self._cookies_open_sockets = cookies_open_sockets
        self._configured = http.cors_configured
        self._cors = _effective(http, self._named, loopback)
        self._private_network = loopback and not http.cors_configured
        self._middleware: CORSMiddleware | None = None

    @classmethod
    def of(cls, settings: Settings) -> "AllowedOrigins":
        """Returns the check that the settings ask for."""
        listens = settings.vars.langgraph_server_host
        url = urlsplit(settings.base_url or "")
        return cls(
            settings.http,
            allowed=settings.threadloom.allowed_origins,
            loopback=listens is not None and is_loopback(host_of(listens)),
            own=f"{url.scheme}://{url.netloc}".lower().removesuffix(USUAL_PORTS.get(url.scheme, ""))
            if url.netloc
            else None,
            cookies_open_sockets=settings.auth is not None,
        )

    def around(self, app: ASGIApp, brought: Callable[[ASGIApp], ASGIApp] | None = None) -> ASGIApp:
        """Returns the app with CORS headers in its responses.

        Args:
            brought: makes the custom app's CORSMiddleware, which then decides the allowed origins in addition to `allowed`.
        """
        cors = self._cors
        made = (
            CORSMiddleware(
                app,
                allow_origins=cors.allow_origins,
                allow_methods=cors.allow_methods,
                allow_headers=cors.allow_headers,
                allow_credentials=cors.allow_credentials,
                allow_origin_regex=cors.allow_origin_regex,
                allow_private_network=self._private_network,
                expose_headers=cors.expose_headers if self._configured else EXPOSED,
                max_age=cors.max_age,
            )
            if brought is None
            else brought(app)
        )
        if brought is not None and self._named:
            log.warning(
                "pages of threadloom.allowed_origins may use the server, but read its answers only as far as the CORSMiddleware "
                "of http.app allows it"
            )
        self._configured = self._configured or brought is not None
        self._middleware = made if isinstance(made, CORSMiddleware) else None
        return made

    def refusal(self, scope: Scope, origin: bytes) -> Response | None:
        """Returns the response that refuses a page's request or web socket handshake, or None if the request is allowed."""
        method = "" if scope["type"] == "websocket" else scope["method"]
        if method in SAFE and not (method == "OPTIONS" and not self._configured):
            return None
        text = origin.decode("latin-1")
        headers = dict(scope["headers"])
        if self._may_use(text, method, headers):
            return None
        if method == "OPTIONS":
            # A preflight gets a response without CORS headers. From that the browser knows that the page may not make the
            # request.
            return Response(b"OK", 200, None, b"text/plain") if b"access-control-request-method" in headers else None
        detail = (
            f"Pages of the origin {text!r:.200} may not use this server. If they are meant to, add the origin to "
            "threadloom.allowed_origins in langgraph.json."
        )
        return Response(error_body(detail), 403)

    def _may_use(self, origin: str, method: str, headers: dict[bytes, bytes]) -> bool:
        if self._any or origin.lower() in self._named or self._is_own(origin, headers):
            return True
        middleware = self._middleware
        if middleware is None or not middleware.is_allowed_origin(origin):
            return False
        if not _is_visitors(method, headers) or (not method and not self._cookies_open_sockets):
            return True
        # Any page may use the server, but not with the user's credentials: browsers do not let it read responses to such
        # requests.
        return not middleware.allow_all_origins or CREDENTIALS_ALLOWED in middleware.simple_headers

    def _is_own(self, origin: str, headers: dict[bytes, bytes]) -> bool:
        """Returns whether the page came from this server. No page can set `Sec-Fetch-Site`. A page cannot set the proxy header
        without a preflight either, and a preflight is refused for origins that are not allowed.
        """
        if headers.get(b"sec-fetch-site") == b"same-origin" or origin.lower() == self._own:
            return True
        host = origin.partition("://")[2].lower().encode("latin-1")
        return bool(host) and host in (headers.get(b"host", b"").lower(), headers.get(b"x-forwarded-host", b"").lower())


def _is_visitors(method: str, headers: dict[bytes, bytes]) -> bool:
    """Returns whether the browser may have added credentials of the user. If the page's script sets credentials, a preflight
    comes first. `method` is empty for a web socket: there, a page cannot set headers.
    """
    if b"cookie" in headers:
        return True
    if not headers.get(b"authorization", b"").lower().startswith(ASKED):
        return False
    content = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
    return not method or (method == "POST" and content in UNASKED)


def _effective(http: HttpSettings, named: frozenset[str], loopback: bool) -> Cors:
    """Returns the CORS settings, including the further allowed origins."""
    further = tuple(sorted(named))
    if http.cors_configured:
        return msgspec.structs.replace(http.cors, allow_origins=(*http.cors.allow_origins, *further))
    if "*" in named or not (loopback or named):
        return OPEN_CORS
    if not loopback:
        return msgspec.structs.replace(OPEN_CORS, allow_origins=further)
    return msgspec.structs.replace(OPEN_CORS, allow_origins=(*HOSTED, *further), allow_origin_regex=LOCAL)
