"""Authorization: calls the handler that is registered for an action, and converts its result to a filter.

See docs/contract/auth.md#authorization.
"""

import logging
from collections.abc import Mapping
from typing import Any, Literal, Protocol, cast
from uuid import UUID

from langgraph_sdk import Auth

from threadloom.auth.handler_errors import denied, failed, texts
from threadloom.auth.rules import rule
from threadloom.errors import Denied
from threadloom.storage.filters import Filter
from threadloom.types import Caller
from threadloom.usercode import contained, text_of

log = logging.getLogger("threadloom.auth")

Resource = Literal["threads", "assistants", "crons", "store"]

ACTIONS: dict[Resource, tuple[str, ...]] = {
    "threads": ("create", "read", "update", "delete", "search", "create_run"),
    "assistants": ("create", "read", "update", "delete", "search"),
    "crons": ("create", "read", "update", "delete", "search"),
    "store": ("put", "get", "search", "delete", "list_namespaces"),
}
"""All actions that handlers are asked about, by resource."""

IDS = ("thread_id", "assistant_id", "run_id", "cron_id")
"""Entries of a value that handlers get as `UUID`s."""

FORBIDDEN = "Forbidden"


class Guard(Protocol):
    """Authorizes the actions of callers. Services call it before they do anything for a caller."""

    def asks(self, caller: Caller) -> bool:
        """Returns whether any handler is asked about a caller's actions. False without auth."""
        ...

    async def ask(self, caller: Caller, resource: Resource, action: str, value: dict[str, Any]) -> Filter | None:
        """Authorizes an action. Returns a filter on metadata if the action is permitted only for some records, else None.

        Args:
            value: the payload of the action. A handler may change it; the changed value is used.

        Raises:
            Denied: the caller is not permitted to do it, or the handler failed.
        """
        ...


class AllowAll:
    """The guard of a server without auth: it permits everything."""

    def asks(self, caller: Caller) -> bool:
        return False

    async def ask(self, caller: Caller, resource: Resource, action: str, value: dict[str, Any]) -> Filter | None:
        return None


OPEN = AllowAll()


class Authorizer:
    """The guard that asks the handlers of an `Auth` object.

    A caller without a user is permitted only if it is trusted (`Caller.trusted`).

    Args:
        default: the decision where no handler is registered.
    """

    def __init__(self, auth: Auth, *, default: Literal["allow", "deny"] = "allow") -> None:
        self._auth = auth
        self._default = default

    def asks(self, caller: Caller) -> bool:
        return caller.user is not None or not caller.trusted

    async def ask(self, caller: Caller, resource: Resource, action: str, value: dict[str, Any]) -> Filter | None:
        """See `Guard`. The decision to read a record is cached for the duration of a request."""
        if caller.user is None:
            if caller.trusted:
                return None
            raise Denied(403, FORBIDDEN)
        if action != "read" or not all(isinstance(one, str) for one in value.values()):
            return await self._asked(caller, resource, action, value)
        question = (resource, *value.items())
        if question not in caller.known:
            caller.known[question] = await self._asked(caller, resource, action, value)
        known: Filter | None = caller.known[question]
        return known

    def uncovered(self) -> list[str]:
        """Returns the actions without a handler, as `resource.action`."""
        return [
            f"{resource}.{action}"
            for resource, actions in ACTIONS.items()
            for action in actions
            if self._handler(resource, action) is None
        ]

    def warn(self) -> None:
        """Warns about actions that are open although there are authorize handlers. (With only an authenticate handler, they are
        meant to be.)
        """
        pairs = self.uncovered()
        some = self._auth._handlers or self._auth._global_handlers
        if some and pairs and self._default == "allow":
            log.warning(
                "auth: no handler is in charge of %s: every user may do these. Add a global @auth.on handler, or set"
                ' auth.default to "deny".',
                ", ".join(pairs),
            )

    def _handler(self, resource: str, action: str) -> Any:
        handlers = self._auth._handlers
        for pair in ((resource, action), (resource, "*"), ("*", action), ("*", "*")):
            if handlers.get(pair):
                return handlers[pair][-1]
        return self._auth._global_handlers[-1] if self._auth._global_handlers else None

    async def _asked(self, caller: Caller, resource: Resource, action: str, value: dict[str, Any]) -> Filter | None:
        handler = self._handler(resource, action)
        if handler is None:
            if self._default == "deny":
                raise Denied(403, FORBIDDEN)
            return None
        for name in IDS:
            if isinstance(value.get(name), str):
                value[name] = UUID(value[name])
        context = Auth.types.AuthContext(
            permissions=caller.permissions,
            user=caller.user,
            resource=resource,
            action=cast(Any, action),
        )
        try:
            with contained():
                result = await handler(ctx=context, value=value)
        except AssertionError as error:
            raise Denied(403, text_of(error) or FORBIDDEN) from error
        except Exception as error:
            refusal = denied(error)
            if refusal is not None:
                raise refusal from error
            raise failed(f"the handler of {resource}.{action}", error, texts(_fields(caller.user))) from None
        return self._rule(result)

    def _rule(self, result: Any) -> Filter | None:
        if result is None or result is True:
            return None
        if result is False:
            raise Denied(403, FORBIDDEN)
        if isinstance(result, Mapping):
            return rule(result)
        log.error("an auth handler gave %s instead of a filter, None or a truth value", type(result))
        raise Denied(
            500,
            "Auth handler returned invalid result. Expected filter dict, None, or boolean. "
            f"Got {type(result)} instead.",
        )


def _fields(user: Any) -> dict[str, Any]:
    try:
        return {key: value for key, value in dict(user).items() if key not in ("identity", "display_name")}
    except Exception:
        return {}
