"""The order of the layers. A request passes, from the outside to the routes:

    1  `HttpEntry`            request id, log, trace, allowed hosts, allowed origins, metrics, handling of all other errors
    2  choice of the app      mount prefix; routes at the root; web sockets; the app (`HttpEntry._below`)
    3  CORS                   requests with an origin (`AllowedOrigins.around`; a custom app may have its own)
    4  authentication         `AuthMiddleware`: sets the caller and the encryption context; without auth
                              `EncryptionContextMiddleware` sets the latter
    5  custom app             its middleware, its routes
    6  authentication         in place of 4 if `http.middleware_order` is not `auth_first`
    7  the server's routes    `Dispatcher`

Layers 4 to 7 are assembled here; `outside` and `before_own_app` make all decisions about their order.
"""

import functools
from collections.abc import Callable, Sequence

from starlette.types import ASGIApp

from threadloom.api.auth_middleware import AuthMiddleware, install_middleware
from threadloom.api.custom_app import CustomApp
from threadloom.api.encryption_context import EncryptionContextMiddleware
from threadloom.config.settings import HttpSettings

Layer = Callable[[ASGIApp], ASGIApp]
"""Wraps an app in a layer."""


def layered(app: ASGIApp, layers: Sequence[Layer]) -> ASGIApp:
    """Wraps an app in layers, the outermost first."""
    for layer in reversed(layers):
        app = layer(app)
    return app


def outside(gate: AuthMiddleware | None, encryption_context: EncryptionContextMiddleware | None) -> list[Layer]:
    """Returns layer 4 for an app without custom routes: the server's routes alone, web sockets."""
    if gate is not None:
        return [gate.around]
    return [] if encryption_context is None else [encryption_context.around]


def before_own_app(
    own: CustomApp,
    gate: AuthMiddleware | None,
    encryption_context: EncryptionContextMiddleware | None,
    http: HttpSettings,
) -> list[Layer]:
    """Returns layer 4 for a custom app. Custom routes are authenticated only if `http.enable_custom_route_auth` is set. The
    server's routes always are: here, or at layer 6.
    """
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
    """Returns the app for requests below the mount prefix: layers 4 to 7.

    Args:
        plain: the server's routes alone (layer 7); a custom app contains its own copy.
        own: the custom app (`http.app`), if there is one. If layer 6 is needed, authentication is put between its middleware and
            its routes.
    """
    if own is None:
        return layered(plain, outside(gate, encryption_context))
    behind_middleware = http.enable_custom_route_auth and http.middleware_order != "auth_first"
    install_middleware(own.app, gate if behind_middleware else None)
    return layered(own, before_own_app(own, gate, encryption_context, http))
