"""The access log: one line for each finished request."""

import logging
from typing import Any
from urllib.parse import quote

from starlette.types import Scope

from threadloom.api.dispatch import header_filter
from threadloom.api.http import RequestContext
from threadloom.config.settings import CREDENTIALS, HeaderRules
from threadloom.log import log_line

log = logging.getLogger("threadloom.access")

PROBES = frozenset({"/ok", "/metrics"})
"""Paths that monitoring requests often: logged at level DEBUG."""

HIDDEN = "[hidden]"
_PLAIN = "/:@!$&'()*+,;=~"


class AccessLog:
    """Logs requests: method, path (never the query, which may hold secrets), status, duration, chosen headers.

    Args:
        headers: which request headers are logged (`http.logging_headers`).
    """

    def __init__(self, headers: HeaderRules) -> None:
        self._wanted = header_filter(headers)

    def note(self, scope: Scope, status: int, seconds: float) -> None:
        """Logs a finished request. Status 0: there was no response, because the client disconnected first."""
        level = logging.DEBUG if scope["path"] in PROBES else logging.INFO
        if not log.isEnabledFor(level):
            return
        request_context: RequestContext = scope["threadloom"]
        path = quote(scope["path"], safe=_PLAIN)
        milliseconds = round(seconds * 1000, 1)
        fields: dict[str, Any] = {
            "method": scope["method"],
            "path": path,
            "route": request_context.template or None,
            "status": status or None,
            "duration_ms": milliseconds,
            "client": client[0] if (client := scope.get("client")) else None,
        }
        if self._wanted is not None:
            fields["headers"] = self._headers(scope)
        text = f"{scope['method']} {path} {status or 'was hung up'} in {milliseconds} ms"
        log_line(log, level, text, fields)

    def _headers(self, scope: Scope) -> dict[str, str]:
        assert self._wanted is not None
        logged: dict[str, str] = {}
        for raw, value in scope["headers"]:
            name = raw.decode("latin-1")
            if self._wanted(name):
                logged[name] = HIDDEN if name in CREDENTIALS else value.decode("latin-1")
        return logged
