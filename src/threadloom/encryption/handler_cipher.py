"""A cipher that uses the user's encryption handlers. Handlers are async; transactions do not wait for anything.

A transaction that needs the result of a handler is rolled back. Then the handler is called and its result is cached. The
transaction then runs again, and finds the result in the cache. (So work may run more than once; see `storage.base`.)
"""

import base64
import binascii
from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec

from threadloom.codec import from_json, to_json
from threadloom.encryption.cipher import CONTEXT, NOTHING, SYSTEM, Location, UndecipherableError
from threadloom.encryption.handlers import HandlerAnswer, HandlerCall, Handlers

TAG = "+custom"
"""Suffix of the type of a checkpoint part that handlers encrypted."""

PREFIX = b'"encrypted.custom:'

FORM = b"\x01"
LENGTH = 4
"""Bytes of the length field. Before a blob's ciphertext: one byte for the format, the length of the context's JSON, and that
JSON.
"""


class PendingHandlerCalls(Exception):
    """Results of handlers are missing. The transaction has to be rolled back and run again."""


class Replacement(msgspec.Struct, frozen=True):
    """A ciphertext that replaces another one."""

    at: Location
    old: Any
    new: Any


class HandlerCipher:
    """A `Cipher` with the results of the handlers within one operation.

    Args:
        context: the encryption context for encryptors; stored with each ciphertext.
    """

    def __init__(self, handlers: Handlers, context: Mapping[str, Any]) -> None:
        self._handlers = handlers
        self._context = dict(context)
        self._context_json = to_json(self._context)
        self._answers: dict[Any, HandlerAnswer | UndecipherableError] = {}
        self._calls: dict[Any, HandlerCall] = {}
        self._misses_opened = False
        self._replacements: dict[Any, Replacement] = {}

    def ready(self) -> None:
        if self._misses_opened:
            raise PendingHandlerCalls

    def complete(self) -> None:
        if self._calls:
            raise PendingHandlerCalls

    async def fulfil(self) -> None:
        """Calls the handlers whose results are missing."""
        calls, self._calls = self._calls, {}
        self._misses_opened = False
        self._answers |= await self._handlers.call_all(calls)

    def replacements(self) -> list[Replacement]:
        """Returns the ciphertexts that decryptors want to be stored in place of the old ones."""
        return list(self._replacements.values())

    def _answer(self, key: Any, call: Callable[[], HandlerCall]) -> HandlerAnswer | None:
        """Returns a handler's result, or None if the handler was not called yet. Raises UndecipherableError if the handler
        failed.
        """
        answer = self._answers.get(key)
        if answer is None:
            missed = call()
            opens = missed.way.startswith("decrypt")
            # While a decryption is missing, a value to encrypt may depend on the placeholder: such a value must not reach the
            # handlers.
            if opens or not self._misses_opened:
                self._calls.setdefault(key, missed)
            self._misses_opened |= opens
            return None
        if isinstance(answer, UndecipherableError):
            raise UndecipherableError(answer.detail)
        return answer

    # --- parts of checkpoints ---

    def seal_blob(self, at: Location, type: str, data: bytes) -> tuple[str, bytes]:
        if not self._handlers.has("encrypt blob"):
            return type, data
        return type + TAG, self._sealed_bytes(at, data)

    def open_blob(self, at: Location, type: str, data: bytes) -> tuple[str, bytes]:
        if not type.endswith(TAG):
            return type, data
        return type.removesuffix(TAG), self._opened_bytes(at, data, lambda envelope: envelope)

    def _sealed_bytes(self, at: Location, data: bytes) -> bytes:
        key = ("encrypt blob", at.model, at.field, data)
        answer = self._answer(key, lambda: HandlerCall("encrypt blob", at, data, self._context))
        return b"" if answer is None else _envelope(self._context_json, answer.result)

    def _opened_bytes(self, at: Location, envelope: bytes, stored: Callable[[bytes], bytes]) -> bytes:
        """Returns the content of an envelope. `stored` converts an envelope to its form in the column."""
        if not envelope and self._calls:
            raise PendingHandlerCalls  # as in `open_document`
        context_json, ciphertext = _taken_apart(at, envelope)
        context = from_json(context_json)
        answer = self._answer(("decrypt blob", envelope), lambda: HandlerCall("decrypt blob", at, ciphertext, context))
        if answer is None:
            return b"null"
        if answer.replacement is not None:
            self._replace(at, stored(envelope), stored(_envelope(context_json, answer.replacement)))
        opened: bytes = answer.result
        return opened

    def _replace(self, at: Location, old: Any, new: Any) -> None:
        if at.column is not None:
            self._replacements[at.column, at.key, at.field] = Replacement(at, old, new)

    # --- JSON ---

    def seal_text(self, at: Location, text: bytes) -> bytes:
        if self._handlers.has("encrypt blob"):
            return _texted(self._sealed_bytes(at, text))
        if self._handlers.has("encrypt json") and text.startswith(b"{"):
            return self._sealed_object(at, text)
        return text

    def open_text(self, at: Location, text: bytes) -> bytes:
        if text.startswith(PREFIX):
            try:
                envelope = base64.b64decode(text[len(PREFIX) : -1], validate=True)
            except binascii.Error:
                raise UndecipherableError(
                    f"{at.model}.{at.field} cannot be decrypted: what is stored was changed"
                ) from None
            return self._opened_bytes(at, envelope, _texted)
        return self._opened_object(at, text)

    @property
    def seals_any_text(self) -> bool:
        return self._handlers.has("encrypt blob") or not self._handlers.has("encrypt json")

    def seal_item(self, at: Location, value: bytes) -> bytes:
        return self._sealed_object(at, value) if self._handlers.has("encrypt json") else value

    def open_item(self, at: Location, value: bytes) -> bytes:
        return self._opened_object(at, value)

    def _sealed_object(self, at: Location, text: bytes) -> bytes:
        return msgspec.json.encode(self.seal_document(at, msgspec.json.decode(text), NOTHING), enc_hook=_fragment)

    def _opened_object(self, at: Location, text: bytes) -> bytes:
        if not (text.startswith(b"{") and CONTEXT.encode() in text):
            return text
        document = msgspec.json.decode(text)
        if CONTEXT not in document:
            return text
        return msgspec.json.encode(self.open_document(at, document, NOTHING))

    def seal_document(self, at: Location, document: Mapping[str, Any], clear: Collection[str]) -> dict[str, Any]:
        if not self._handlers.has("encrypt json"):
            return dict(document)
        hidden = {key: value for key, value in document.items() if key not in clear and key != CONTEXT}
        if not hidden:
            return {key: value for key, value in document.items() if key != CONTEXT}
        text = _canonical(hidden)
        key = ("encrypt json", at.model, at.field, text)
        answer = self._answer(key, lambda: HandlerCall("encrypt json", at, msgspec.json.decode(text), self._context))
        shown = {key: value for key, value in document.items() if key in clear}
        if answer is None:
            return {CONTEXT: None, **shown}
        # A document that is stored again unchanged keeps its ciphertext, with the encryption context of that ciphertext.
        return {CONTEXT: self._context, **shown, **answer.result}

    def open_document(self, at: Location, document: Mapping[str, Any], clear: Collection[str]) -> dict[str, Any]:
        if CONTEXT not in document:
            return dict(document)
        if document[CONTEXT] is None and self._calls:
            raise PendingHandlerCalls  # a placeholder of this transaction: the handler was not called yet
        shown = {key: value for key, value in document.items() if key in clear}
        hidden = {key: value for key, value in document.items() if key not in clear and key != CONTEXT}
        context = document[CONTEXT]
        key = ("decrypt json", _canonical(hidden), _canonical(context))
        answer = self._answer(key, lambda: HandlerCall("decrypt json", at, hidden, context))
        if answer is None:
            return {}
        ciphertext = {**hidden, CONTEXT: context}
        if answer.replacement is not None:
            ciphertext = {**answer.replacement, CONTEXT: context}
            self._replace(at, dict(document), {**shown, **ciphertext})
        again = ("encrypt json", at.model, at.field, _canonical(answer.result))
        self._answers.setdefault(again, HandlerAnswer(ciphertext))
        return {**shown, **answer.result}

    def seal_metadata(self, at: Location, document: Mapping[str, Any]) -> dict[str, Any]:
        return self.seal_document(at, document, SYSTEM)

    def open_metadata(self, at: Location, document: Mapping[str, Any]) -> dict[str, Any]:
        return self.open_document(at, document, SYSTEM)

    def context(self) -> dict[str, Any] | None:
        return self._context


def _canonical(document: Mapping[str, Any]) -> bytes:
    """Returns a document as canonical JSON, the key under which it is cached."""
    try:
        return msgspec.json.encode(document, enc_hook=_fragment, order="deterministic")
    except (TypeError, UnicodeEncodeError, RecursionError):
        return to_json(document)


def _fragment(value: Any) -> Any:
    """Encodes a handler's value that msgspec cannot encode, with the server's own codec."""
    return msgspec.Raw(to_json(value))


def _envelope(context_json: bytes, ciphertext: bytes) -> bytes:
    return b"".join((FORM, len(context_json).to_bytes(LENGTH), context_json, ciphertext))


def _taken_apart(at: Location, envelope: bytes) -> tuple[bytes, bytes]:
    """Splits an envelope into the context's JSON and the ciphertext."""
    end = 1 + LENGTH + int.from_bytes(envelope[1 : 1 + LENGTH])
    if envelope[:1] != FORM or end > len(envelope):
        raise UndecipherableError(f"{at.model}.{at.field} cannot be decrypted: what is stored was changed")
    return envelope[1 + LENGTH : end], envelope[end:]


def _texted(envelope: bytes) -> bytes:
    """Returns an envelope as a JSON text."""
    return PREFIX + base64.b64encode(envelope) + b'"'
