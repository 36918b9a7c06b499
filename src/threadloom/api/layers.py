"""Who stands before whom. A request passes, from the outside to the routes:

    1  `HttpEntry`            request id, log, trace, allowed hosts, foreign origins, figures, last resort for errors
    2  the choice of a face   mount prefix; routes at the root; web sockets; the app (`HttpEntry._below`)
    3  CORS                   requests with an origin (`AllowedOrigins.around`; the own app may bring its own)
    4  who asks               `AuthMiddleware`: who makes the request. It sets the encryption context; without auth
                              `EncryptionContextMiddleware` does
    5  the own app            its middleware, its routes
    6  who asks               in place of 4 where `http.middleware_order` is not `auth_first`
    7  our routes             `Dispatcher`

4 to 7 are put together here; `outside` and `before_own_app` are the whole decision.
"""

import functools
from collections.abc import Callable, Sequence

from starlette.types import ASGIApp

from threadloom.api.auth_middleware import AuthMiddleware, install_middleware
from threadloom.api.custom_app import CustomApp
from threadloom.api.encryption_context import EncryptionContextMiddleware
from threadloom.config.settings import HttpSettings

Layer = Callable[[ASGIApp], ASGIApp]
"""Gives the app that stands before another one."""


def layered(app: ASGIApp, layers: Sequence[Layer]) -> ASGIApp:
    """An app behind some layers, the outermost first."""
    for layer in reversed(layers):
        app = layer(app)
    return app


def outside(gate: AuthMiddleware | None, encryption_context: EncryptionContextMiddleware | None) -> list[Layer]:
    """Layer 4 before what is ours alone: routes without an own app, web sockets."""
    if gate is not None:
        return [gate.around]
    return [] if encryption_context is None else [encryption_context.around]


def before_own_app(
    own: CustomApp,
    gate: AuthMiddleware | None,
    encryption_context: EncryptionContextMiddleware | None,
    http: HttpSettings,
) -> list[Layer]:
    """Layer 4 before an app with own routes. Its own routes are behind the gate only if that was asked for
    (`http.enable_custom_route_auth`); ours always are, at layer 6 if not here."""
    if gate is None:
        return outside(gate, encryption_context)
    if http.middleware_order == "auth_first":
        return [gate.around if http.enable_custom_route_auth else functools.partial(gate.around, spared=own.takes)]
    if http.enable_custom_route_auth or encryption_context is None:
        return []
    return [functools.partial(encryption_context.around, only=own.takes)]


def face(
    plain: ASGIApp,
    own: CustomApp | None,
    gate: AuthMiddleware | None,
    encryption_context: EncryptionContextMiddleware | None,
    http: HttpSettings,
) -> ASGIApp:
    """What answers requests below the mount prefix: layers 4 to 7.

    Args:
        plain: our routes alone (layer 7); an own app has its own, inside it.
        own: the app of `http.app`, if there is one. The gate is put between its middleware and its routes where layer 6 is due.
    """
    if own is None:
        return layered(plain, outside(gate, encryption_context))
    behind_middleware = http.enable_custom_route_auth and http.middleware_order != "auth_first"
    install_middleware(own.app, gate if behind_middleware else None)
    return layered(own, before_own_app(own, gate, encryption_context, http))
