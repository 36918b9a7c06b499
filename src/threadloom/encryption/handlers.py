"""Calls the user's encryption handlers (`langgraph_sdk.Encryption`, the key `encryption.path`) and checks their results."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from langgraph_sdk import Encryption
from langgraph_sdk.encryption.types import DecryptResult, EncryptionContext

from threadloom.encryption.cipher import Location, UndecipherableError
from threadloom.errors import ConfigError
from threadloom.usercode import contained

log = logging.getLogger("threadloom.encryption")

AT_ONCE = 32
"""Handlers that run concurrently for one operation, at most."""

Way = Literal["encrypt blob", "decrypt blob", "encrypt json", "decrypt json"]


class HandlerCall(msgspec.Struct, frozen=True):
    """One call of a handler: its arguments and its encryption context."""

    way: Way
    at: Location
    data: Any
    context: Mapping[str, Any]


class HandlerAnswer(msgspec.Struct, frozen=True):
    """The result of a handler, and the ciphertext that replaces the old one, if there is one."""

    result: Any
    replacement: Any = None


class Handlers:
    """The handlers of one `Encryption` object.

    Args:
        found: the object that `encryption.path` names.
        path: the value of `encryption.path`, for messages.

    Raises:
        ConfigError: `found` is no `Encryption`, or has no handlers.
    """

    def __init__(self, found: Any, path: str) -> None:
        if not isinstance(found, Encryption):
            raise ConfigError(
                f"encryption.path: {path!r} is a {type(found).__name__}, not an instance of langgraph_sdk.Encryption"
            )
        self._by_way: dict[Way, Any] = {
            "encrypt blob": found._blob_encryptor,
            "decrypt blob": found._blob_decryptor,
            "encrypt json": found._json_encryptor,
            "decrypt json": found._json_decryptor,
        }
        self._context = found._context_handler
        if not any(self._by_way.values()):
            raise ConfigError(
                f"encryption.path: {path!r} has no handlers: register some with @….encrypt and @….decrypt"
            )
        for kind in ("blob", "json"):
            if self._by_way[f"encrypt {kind}"] and not self._by_way[f"decrypt {kind}"]:  # type: ignore[index]
                log.warning(
                    "%s encrypts with encrypt.%s, but has no decrypt.%s: it cannot be read again", path, kind, kind
                )

    def has(self, way: Way) -> bool:
        """Returns whether such a handler is registered."""
        return self._by_way[way] is not None

    @property
    def tells_context(self) -> bool:
        """Whether there is a context handler, which makes the encryption context for the other handlers."""
        return self._context is not None

    async def context(self, user: Any, context: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the encryption context of a request: what the context handler makes of the header's content.

        Raises:
            UndecipherableError: the handler failed.
        """
        if self._context is None:
            return dict(context)
        try:
            with contained():
                made = await self._context(user, EncryptionContext(metadata=dict(context)))
        except Exception as error:
            log.error("the encryption's context handler failed", exc_info=error)
            raise UndecipherableError("The encryption's context handler failed") from error
        if not isinstance(made, Mapping):
            raise UndecipherableError(f"The encryption's context handler gave a {type(made).__name__}, not a mapping")
        return dict(made)

    async def call_all(self, calls: Mapping[Any, HandlerCall]) -> dict[Any, HandlerAnswer | UndecipherableError]:
        """Makes calls, several concurrently. Returns the result or the error of each call."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(call: HandlerCall) -> HandlerAnswer | UndecipherableError:
            async with gate:
                try:
                    return await self._call(call)
                except UndecipherableError as error:
                    return error

        answers = await asyncio.gather(*(one(call) for call in calls.values()))
        return dict(zip(calls, answers, strict=True))

    async def _call(self, call: HandlerCall) -> HandlerAnswer:
        """Makes one call.

        Raises:
            UndecipherableError: the handler is missing, it failed, or its result is invalid.
        """
        verb, kind = call.way.split()
        name = f"{call.at.model}.{call.at.field}"
        handler = self._by_way[call.way]
        if handler is None:
            raise UndecipherableError(f"{name} cannot be decrypted: there is no handler {verb}.{kind}")
        context = EncryptionContext(model=call.at.model, field=call.at.field, metadata=dict(call.context))
        try:
            with contained():
                given = await handler(context, dict(call.data) if kind == "json" else call.data)
        except Exception as error:
            log.error("the handler %s.%s failed for %s", verb, kind, name, exc_info=error)
            raise UndecipherableError(f"{name} cannot be {verb}ed: the handler {verb}.{kind} failed") from error
        replacement = None
        if verb == "decrypt" and isinstance(given, DecryptResult):
            given, replacement = given.plaintext, given.replacement
        why = _fault(verb, kind, given, call.data)
        if why:
            raise UndecipherableError(f"{name} cannot be {verb}ed: the handler {verb}.{kind} {why}")
        if replacement is not None and (why := _fault("encrypt", kind, replacement, call.data)):
            log.error("the replacement that %s.%s gave for %s is not stored: it %s", verb, kind, name, why)
            replacement = None
        return HandlerAnswer(given, replacement)


def _fault(verb: str, kind: str, given: Any, data: Any) -> str | None:
    """Returns what is wrong with a handler's result for `data`, or None if the result is valid."""
    if kind == "blob":
        return None if isinstance(given, bytes) else f"gave a {type(given).__name__}, not bytes"
    if not isinstance(given, dict):
        return f"gave a {type(given).__name__}, not a dict"
    if verb == "encrypt" and given.keys() != data.keys():
        changed = sorted(map(str, given.keys() ^ data.keys()))
        return f"must keep the keys as they are, but these differ: {', '.join(changed)}"
    return None
