"""Authentication: calls the user's authenticate handler with the parameters of a request that it asks for.

See docs/contract/auth.md#authentication.
"""

import asyncio
import hashlib
import inspect
import logging
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Protocol

from langgraph_sdk import Auth

from threadloom.auth.depends import Dependencies, is_dependency
from threadloom.auth.handler_errors import denied, failed
from threadloom.auth.user import NoUserError, user_of
from threadloom.clock import SECOND, Clock
from threadloom.config.settings import AuthCache
from threadloom.errors import ApiError, ConfigError, Denied
from threadloom.usercode import contained, text_of

log = logging.getLogger("threadloom.auth")

SUPPORTED = (
    "authorization",
    "body",
    "headers",
    "method",
    "path",
    "path_params",
    "query_params",
    "request",
    "scope",
    "scopes",
    "user",
)
"""Parameters that a handler may have; they are passed by name."""

UNAUTHORIZED = "Unauthorized"


class Connection(Protocol):
    """A request, or the handshake of a web socket, as the source of a handler's parameters."""

    async def give(self, name: str) -> Any:
        """Returns the value of one of the `SUPPORTED` parameters."""
        ...

    def header(self, name: bytes) -> bytes | None:
        """Returns the value of a header by its lower-case name."""
        ...

    def secrets(self) -> Iterable[str]:
        """Returns the credentials of the request, which must not be logged or sent to clients."""
        ...


class HandlerAuthenticator:
    """Calls the authenticate handler of an `Auth` object.

    Args:
        auth: has an authenticate handler.
        cache: by which headers, and for how long, the handler's result is cached.

    Raises:
        ConfigError: the handler has a parameter that is not supported.
    """

    def __init__(self, auth: Auth, clock: Clock, cache: AuthCache | None = None) -> None:
        handler = auth._authenticate_handler
        if handler is None:
            raise ConfigError("it has no @auth.authenticate handler, so nobody could come in")
        self._handler: Callable[..., Any] = handler
        self._names, injected = _parameters(handler)
        self._dependencies = Dependencies(handler, injected) if injected else None
        self._is_async = inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
            getattr(handler, "__call__", None)  # noqa: B004 - an object with an async __call__ is meant
        )
        self._cache = Cache(cache, clock) if cache is not None else None

    async def user(self, connection: Connection) -> Any:
        """Returns the user who makes a request.

        Raises:
            Denied: the handler refused, failed, or returned no user.
        """
        key = self._cache.key(connection) if self._cache is not None else None
        if self._cache is None or key is None:
            return await self._asked(connection)
        user = self._cache.get(key)
        if user is None:
            user = await self._asked(connection)
            self._cache.put(key, user)
        return user

    async def _asked(self, connection: Connection) -> Any:
        try:
            given = {name: await connection.give(name) for name in self._names}
            with contained():
                user = await self._called(connection, given)
        except ApiError:
            raise
        except NoUserError as error:
            raise Denied(500, text_of(error)) from error
        except AssertionError as error:
            # A failed assert means that the caller is refused. Its text may hold a credential, so it is neither logged nor sent.
            where = traceback.extract_tb(error.__traceback__)[-1]
            log.info("the authenticate handler refused: an assert failed in %s, line %s", where.filename, where.lineno)
            raise Denied(401, UNAUTHORIZED) from error
        except Exception as error:
            refusal = denied(error)
            if refusal is not None:
                raise refusal from error
            raise failed("the authenticate handler", error, connection.secrets()) from None
        # `is_authenticated` is false for Studio's user. It is admitted nevertheless.
        if not user.is_authenticated and not isinstance(user, Auth.types.StudioUser):
            raise Denied(401, UNAUTHORIZED)
        return user

    async def _called(self, connection: Connection, given: dict[str, Any]) -> Any:
        """Returns the user that the handler returns. Raises what the handler and its dependencies raise."""
        async with AsyncExitStack() as stack:
            if self._dependencies is not None:
                given |= await self._dependencies.solve(await connection.give("request"), stack)
            if self._is_async:
                returned = await self._handler(**given)
            else:
                returned = await asyncio.to_thread(self._handler, **given)
                if inspect.isawaitable(returned):
                    returned = await returned
        return user_of(returned)


class Cache:
    """A cache of recently authenticated users. The key is a digest of the configured headers.

    A request without any of these headers is never cached: it may carry other credentials.
    """

    def __init__(self, settings: AuthCache, clock: Clock) -> None:
        self._headers = [name.lower().encode("latin-1") for name in settings.cache_keys]
        self._keep = int(settings.ttl_seconds * SECOND)
        self._size = settings.max_size
        self._clock = clock
        self._users: OrderedDict[bytes, tuple[int, Any]] = OrderedDict()

    def key(self, connection: Connection) -> bytes | None:
        """Returns the cache key of a request, or None if it has none of the headers."""
        values = [connection.header(name) for name in self._headers]
        if all(value is None for value in values):
            return None
        digest = hashlib.sha256()
        for value in values:
            digest.update(b"-" if value is None else b"%d:" % len(value) + value)
        return digest.digest()

    def get(self, key: bytes) -> Any:
        """Returns the cached user, or None if there is none or it has expired."""
        until, user = self._users.get(key, (0, None))
        if until <= self._clock.steady():
            self._users.pop(key, None)
            return None
        return user

    def put(self, key: bytes, user: Any) -> None:
        """Stores a user. If there are too many, the oldest are removed."""
        self._users[key] = (self._clock.steady() + self._keep, user)
        self._users.move_to_end(key)
        while len(self._users) > self._size:
            self._users.popitem(last=False)


def _parameters(handler: Callable[..., Any]) -> tuple[Sequence[str], Mapping[str, inspect.Parameter]]:
    """Returns the parameters that are passed by name, and those that FastAPI resolves.

    Raises:
        ConfigError: there is a parameter that is neither.
    """
    names: list[str] = []
    injected: dict[str, inspect.Parameter] = {}
    unknown: list[str] = []
    for name, parameter in inspect.signature(handler, eval_str=False).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if is_dependency(handler, parameter):
            injected[name] = parameter
        elif name in SUPPORTED and parameter.kind is not parameter.POSITIONAL_ONLY:
            names.append(name)
        elif parameter.default is parameter.empty:
            unknown.append(name)
    if unknown:
        raise ConfigError(
            f"the authenticate handler asks for {', '.join(unknown)}; it may ask by name for {', '.join(SUPPORTED)}"
        )
    return names, injected
