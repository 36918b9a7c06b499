"""The complete users of runs. They are kept in memory only: of a user, only identity, name and permissions are stored.

The process that received the request keeps the user until the run has ended. A process that executes the run asks it for the
user. The answer is in an envelope that no other process can decrypt (`encryption.envelope`).
"""

import asyncio
import inspect
import logging
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from threadloom.auth.user import User
from threadloom.broker.base import Broker
from threadloom.codec import from_json, to_json
from threadloom.types import USER_AT, Run

if TYPE_CHECKING:
    from threadloom.encryption.envelope import Recipient

log = logging.getLogger("threadloom.auth")

MOST = 10_000
"""Runs whose users are kept at most; the oldest are removed first. Graphs then see only the stored part of such a user."""

AGAIN_SECONDS = 1.0
"""Seconds after which an unanswered question is sent again."""

PATIENCE_SECONDS = 5.0
"""Seconds to wait for an answer: the other process may have ended."""

STORED = ("identity", "is_authenticated", "display_name", "permissions")


class _UserMessage(msgspec.Struct, frozen=True, array_like=True):
    """A message between processes about a run's user. The body of `ask` is the sender's public key; that of `answer` an envelope
    (empty: the user is not known); that of `ended` is empty.
    """

    about: Literal["ask", "answer", "ended"]
    run_id: str
    body: bytes = b""


class _SharedUser(msgspec.Struct, frozen=True):
    """The part of a user that is not stored: entries of the mapping, or attributes of the object."""

    mapping: bool
    held: dict[str, Any]


class RunUsers:
    """The complete users of runs, by run id. Thread-safe.

    Args:
        broker: sends messages to other processes.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._users: OrderedDict[str, Any] = OrderedDict()
        self._addressee: Recipient | None = None
        self._asked: dict[str, asyncio.Future[bytes]] = {}
        broker.on_message(self._take)

    def remember(self, run: Run, user: Any) -> None:
        """Keeps the user of a new run until the run has ended. Notes in the run which process has the part that is not stored."""
        if user is None:
            return
        self._users[run.run_id] = user
        while len(self._users) > MOST:
            self._users.popitem(last=False)
        if self._broker.process and _shared(user) is not None:
            run.kwargs[USER_AT] = self._broker.process

    async def fetch(self, run: Run) -> None:
        """Asks the process that received a run's request for the complete user, if that is another process, and keeps it."""
        holder = self._holder(run)
        if holder is None or run.run_id in self._users:
            return
        shared = await self._ask(holder, run.run_id)
        stored = run.kwargs["config"]["configurable"].get("langgraph_auth_user")
        if shared is None or not isinstance(stored, dict) or "identity" not in stored:
            log.warning("of the user of run %s only what is stored is known: who took the request is gone", run.run_id)
            return
        source = shared.held if shared.mapping else SimpleNamespace(**shared.held)
        self._users[run.run_id] = restored(stored, source)

    def release(self, run: Run, *, over: bool) -> None:
        """Removes the user of a run that was executed here. A run that is not over continues in another process, or here
        again.
        """
        holder = self._holder(run)
        if over or holder is not None:
            self._users.pop(run.run_id, None)
        if over and holder is not None:
            self._write(holder, _UserMessage("ended", run.run_id))

    def of(self, run_id: str, stored: Any) -> Any:
        """Returns the user of a run: the complete user, or (after a restart) one made from the stored part.

        Args:
            stored: the run's `configurable.langgraph_auth_user`.
        """
        user = self._users.get(run_id)
        if user is not None or not isinstance(stored, dict) or "identity" not in stored:
            return user
        return restored(stored)

    # --- between processes ---

    def _holder(self, run: Run) -> str | None:
        """Returns the other process that has the part of a run's user that is not stored. None if there is none."""
        holder: str | None = run.kwargs.get(USER_AT)
        return None if holder == self._broker.process or not self._broker.process else holder

    async def _ask(self, holder: str, run_id: str) -> _SharedUser | None:
        from threadloom.encryption.envelope import EnvelopeError, Recipient

        if self._addressee is None:
            self._addressee = Recipient()
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._asked[run_id] = answer
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not answer.done():
                    self._write(holder, _UserMessage("ask", run_id, self._addressee.public))
                    await asyncio.wait((answer,), timeout=AGAIN_SECONDS)
            if not (envelope := answer.result()):
                return None
            return msgspec.json.decode(self._addressee.open(envelope, run_id.encode()), type=_SharedUser)
        except (TimeoutError, EnvelopeError):
            return None
        finally:
            self._asked.pop(run_id, None)

    def _take(self, sender: str, message: bytes) -> None:
        """Handles a message from another process."""
        try:
            read = msgspec.msgpack.decode(message, type=_UserMessage)
        except msgspec.DecodeError:
            return  # from another release, with an unknown format
        if read.about == "ask":
            self._write(sender, _UserMessage("answer", read.run_id, self._answer(read)))
        elif read.about == "ended":
            self._users.pop(read.run_id, None)
        elif (asked := self._asked.get(read.run_id)) is not None:
            asked.get_loop().call_soon_threadsafe(_resolve, asked, read.body)

    def _answer(self, asked: _UserMessage) -> bytes:
        from threadloom.encryption.envelope import EnvelopeError, seal

        user = self._users.get(asked.run_id)
        shared = None if user is None else _shared(user)
        if shared is None:
            return b""
        try:
            return seal(asked.body, msgspec.json.encode(shared), asked.run_id.encode())
        except EnvelopeError:
            return b""

    def _write(self, process: str, message: _UserMessage) -> None:
        self._broker.send(process, msgspec.msgpack.encode(message))


def restored(stored: dict[str, Any], source: Any = None) -> User:
    """Returns a user made from its stored part, and from the rest if that is known."""
    return User(stored["identity"], stored.get("display_name"), stored.get("permissions") or (), source=source)


def _resolve(asked: "asyncio.Future[bytes]", answer: bytes) -> None:
    if not asked.done():
        asked.set_result(answer)


def _shared(user: Any) -> _SharedUser | None:
    """Returns the part of a user that other processes need and JSON can represent. None if it is no more than what is stored."""
    source = getattr(user, "_source", None)
    if source is None:
        return None
    mapping = isinstance(source, Mapping)
    held: dict[str, Any] = {}
    for name in source if mapping else _attributes(source):
        try:
            held[name] = from_json(to_json(_plain(source[name] if mapping else getattr(source, name))))
        except Exception:
            log.debug("%r of a user is not told to other processes", name, exc_info=True)
    return _SharedUser(mapping, held) if held.keys() - set(STORED) else None


def _attributes(source: Any) -> Iterable[str]:
    """Returns the public names in an object: its attributes, slots and properties."""
    names = dict.fromkeys(getattr(source, "__dict__", ()))
    for kind in type(source).__mro__:
        names |= dict.fromkeys(name for name, held in vars(kind).items() if inspect.isdatadescriptor(held))
    return [name for name in names if not name.startswith("_")]


def _plain(value: Any) -> Any:
    """Returns a value as JSON can represent it.

    Raises:
        TypeError: JSON cannot represent it.
    """
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(one) for one in value]
    raise TypeError(f"{type(value).__name__} has no shape in JSON")
