"""The encryption context of a request: the header `X-Encryption-Context`, or the result of the user's context handler for that
header and the user (docs/contract/auth.md#encryption-handlers).
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from starlette.authentication import UnauthenticatedUser
from starlette.types import ASGIApp, Receive, Scope, Send

from threadloom.api.errors import EXPECTED, refuse
from threadloom.api.http import RequestContext
from threadloom.codec import from_json
from threadloom.encryption.context import current, encryption_context
from threadloom.errors import Invalid

HEADER = b"x-encryption-context"


class ContextMaker(Protocol):
    """Makes encryption contexts (`encryption.handlers.Handlers`)."""

    async def context(self, user: Any, with_context: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the encryption context (`ctx.metadata`).

        Args:
            user: the user of the request.
            with_context: the object of the header `X-Encryption-Context`, or an empty one.
        """
        ...


class EncryptionContextMiddleware:
    """Sets the encryption context of requests. A call from inside a run keeps the run's context unless it has the header."""

    def __init__(self, maker: ContextMaker) -> None:
        self._maker = maker

    def around(self, app: ASGIApp, only: Callable[[Scope], bool] = lambda scope: True) -> ASGIApp:
        """Returns the app with the encryption context set. It has to run after authentication.

        Args:
            only: selects requests; the others pass unchanged.
        """

        async def with_context(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] not in ("http", "websocket") or not only(scope):
                await app(scope, receive, send)
                return
            try:
                made = await self._context_of(scope)
            except EXPECTED as error:
                await refuse(error, scope, receive, send)
                return
            with encryption_context(made):
                await app(scope, receive, send)

        return with_context

    async def _context_of(self, scope: Scope) -> Mapping[str, Any]:
        request_context: RequestContext = scope["threadloom"]
        header = next((value for name, value in scope["headers"] if name == HEADER), None)
        if header is None and request_context.trusted:
            return current()
        user = UnauthenticatedUser() if request_context.caller.user is None else request_context.caller.user
        return await self._maker.context(user, {} if header is None else parsed(header))


def parsed(header: bytes) -> dict[str, Any]:
    """Returns the content of the header: base64 of a JSON object.

    Raises:
        Invalid: the header has another form.
    """
    try:
        value = from_json(base64.b64decode(header, validate=True))
    except (binascii.Error, ValueError) as error:
        raise Invalid(f"Invalid X-Encryption-Context header: {error}") from None
    if not isinstance(value, dict):
        raise Invalid("Invalid X-Encryption-Context header: it must hold a JSON object")
    return value
