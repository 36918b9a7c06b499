"""Whose pages may use the server, when a browser says whose page makes a request (`Origin`).

CORS keeps a foreign page from *reading* an answer. A request that needs no preflight (a form, `text/plain`), and a web socket,
reach the server all the same, with the visitor's cookies. So what may change something is refused here when its origin may
not use the server.
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
"""Headers that pages of other origins may read."""

HOSTED = ("https://smith.langchain.com", "https://agentchat.vercel.app")
"""Pages that are made to be used with a server on one's own machine."""

LOCAL = r"https?://(([a-z0-9_-]+\.)*localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?"
"""Origins of pages that come from one's own machine."""

ASKED = (b"basic", b"digest", b"negotiate", b"ntlm")
"""Kinds of `Authorization` that browsers add by themselves, once their user was asked."""

UNASKED = ("", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data")
"""Content types that pages of other origins may send without a preflight; "" is none."""

SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
USUAL_PORTS = {"http": ":80", "https": ":443"}
CREDENTIALS_ALLOWED = "Access-Control-Allow-Credentials"

log = logging.getLogger("threadloom.api")


class AllowedOrigins:
    """Which origins may use the server; `around` applies it to an app.

    Args:
        http: the block `http`, which says what CORS allows, if it was configured.
        allowed: further origins; `*` is any.
        loopback: whether only this machine reaches the server. Then, without `http.cors`, not all origins may use it.
        own: the server's own origin, if it is known.
        cookies_open_sockets: whether a cookie may say who opens a web socket.
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
        """What the settings ask for."""
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
        """The app with CORS headers in its answers.

        Args:
            brought: makes the own app's CORSMiddleware, which then says which origins are allowed beside `allowed`.
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
        """What a page's request, or the opening of a web socket, is answered in place of being served; None: it is served."""
        method = "" if scope["type"] == "websocket" else scope["method"]
        if method in SAFE and not (method == "OPTIONS" and not self._configured):
            return None
        text = origin.decode("latin-1")
        headers = dict(scope["headers"])
        if self._may_use(text, method, headers):
            return None
        if method == "OPTIONS":
            # A preflight is answered, and the browser sees by what is missing that its page may not.
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
        # Any page may use the server, but not as the visitor: no browser shows it an answer to a request with cookies.
        return not middleware.allow_all_origins or CREDENTIALS_ALLOWED in middleware.simple_headers

    def _is_own(self, origin: str, headers: dict[bytes, bytes]) -> bool:
        """Whether the page came from this server. No page can set `Sec-Fetch-Site`, and none sets the other header of a
        proxy's without a preflight, which is refused to those that may not use the server."""
        if headers.get(b"sec-fetch-site") == b"same-origin" or origin.lower() == self._own:
            return True
        host = origin.partition("://")[2].lower().encode("latin-1")
        return bool(host) and host in (headers.get(b"host", b"").lower(), headers.get(b"x-forwarded-host", b"").lower())


def _is_visitors(method: str, headers: dict[bytes, bytes]) -> bool:
    """Whether a browser may have added what says who its visitor is. What a page's script says of that is announced by a
    preflight; `method` is empty for a web socket, of which a page can say nothing."""
    if b"cookie" in headers:
        return True
    if not headers.get(b"authorization", b"").lower().startswith(ASKED):
        return False
    content = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
    return not method or (method == "POST" and content in UNASKED)


def _effective(http: HttpSettings, named: frozenset[str], loopback: bool) -> Cors:
    """What CORS allows, with what else is allowed."""
    further = tuple(sorted(named))
    if http.cors_configured:
        return msgspec.structs.replace(http.cors, allow_origins=(*http.cors.allow_origins, *further))
    if "*" in named or not (loopback or named):
        return OPEN_CORS
    if not loopback:
        return msgspec.structs.replace(OPEN_CORS, allow_origins=further)
    return msgspec.structs.replace(OPEN_CORS, allow_origins=(*HOSTED, *further), allow_origin_regex=LOCAL)
