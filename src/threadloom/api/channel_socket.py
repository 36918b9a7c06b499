"""The v2 event stream by web socket: the client sends commands, the server sends responses and events, one for each frame."""

import asyncio
import contextlib
import logging
import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from threadloom.api.channel_events import gap_notice
from threadloom.api.dispatch import header_filter, route_path
from threadloom.api.errors import EXPECTED, response_to
from threadloom.api.http import RequestContext, deny
from threadloom.api.parse import load
from threadloom.broker.base import EventsMissed
from threadloom.codec import to_json
from threadloom.config.settings import HttpSettings
from threadloom.errors import ApiError, BadRequest, Invalid, NotFound, TooMany
from threadloom.ids import new_id, parse_id
from threadloom.services import Services
from threadloom.services.event_filter import DecodedEvent, EventFilter, read_filter
from threadloom.services.event_stream import envelope
from threadloom.services.protocol_params import (
    NOT_JSON,
    Command,
    NotACommand,
    Refused,
    failure,
    invalid,
    read_command,
    success,
    text,
)
from threadloom.services.requests.bounds import FOLLOWED, SUBSCRIPTIONS, check_count
from threadloom.storage.filters import Filter
from threadloom.types import Caller, Event

log = logging.getLogger(__name__)

_PATH = re.compile(r"/threads/([^/]+)/stream/events")
ENDED = "thread stream ended"

REFUSED = 4000
"""Base of the code that closes a web socket which is not served; the HTTP status of the same error is added. The socket is
accepted first, because a page cannot read the status of a refused handshake, and its client would try again.
"""

REASON_BYTES = 123
"""Maximum length of a close reason in bytes."""

TOGETHER_SECONDS = 0.02
"""Subscriptions that arrive within this time of each other are replayed together, in the order of events, and no event is sent
before. A client opens several subscriptions at once. If one of them got a run's end before another got the run's beginning, the
client would take the run as over and stop reading.
"""

STEPS = 4

MANY = 50
"""Number of subscriptions beyond which the event loop may run other tasks after each event."""


class ChannelSockets:
    """All web sockets of threads, as an ASGI app.

    Args:
        max_frame: maximum size of a frame in bytes.
    """

    def __init__(self, services: Services, http: HttpSettings, max_frame: int) -> None:
        self._services = services
        self._max_frame = max_frame
        self._wanted = header_filter(http.configurable_headers)

    def knows(self, scope: Scope) -> bool:
        """Returns whether a web socket's path is that of a thread."""
        return _PATH.fullmatch(route_path(scope)) is not None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one web socket until the client disconnects."""
        await receive()
        request_context: RequestContext = scope["threadloom"]
        caller = msgspec.structs.replace(request_context.caller, headers=_chosen(scope, self._wanted))
        try:
            slot = self._services.events.limits.open_stream(caller)
        except TooMany as refused:
            await deny(response_to(refused), scope, receive, send)
            return
        try:
            await self._serve(caller, scope, receive, send)
        finally:
            slot.close()

    async def _serve(self, caller: Caller, scope: Scope, receive: Receive, send: Send) -> None:
        found = _PATH.fullmatch(route_path(scope))
        thread_id = parse_id(found[1]) if found else None
        if thread_id is None:
            await _refuse(send, 422, "The thread's id is no UUID")
            return
        try:
            rule = await self._services.events.may_read(caller, thread_id)
        except EXPECTED as error:
            response = response_to(error)
            if not 400 <= response.status < 500:
                await deny(response, scope, receive, send)
                return
            await _refuse(send, response.status, error.detail if isinstance(error, ApiError) else ENDED)
            return
        await send({"type": "websocket.accept"})
        await _Session(self._services, caller, thread_id, self._max_frame, send, rule).serve(receive)


class _Missed(msgspec.Struct):
    """Stored events that a new subscription missed, up to a sequence number."""

    wanted: EventFilter
    upto: int

    def has(self, event: Event, decoded: DecodedEvent) -> bool:
        return self.wanted.since < event.seq <= self.upto and self.wanted.passes(event, decoded)


class _Session:
    """One web socket: its subscriptions, and the position up to which events were sent."""

    def __init__(
        self,
        services: Services,
        caller: Caller,
        thread_id: str,
        max_frame: int,
        send: Send,
        rule: Filter | None,
    ) -> None:
        self._services = services
        self._rule = rule
        self._caller = caller
        self._thread_id = thread_id
        self._max_frame = max_frame
        self._send = send
        self._subscriptions: dict[str, EventFilter] = {}
        self._position = 0
        self._last_sent = 0
        self._fresh: list[_Missed] = []
        self._settled = asyncio.Event()
        self._settled.set()
        # The lock for sending. It makes sure that replayed events are sent before later events.
        self._turn = asyncio.Lock()

    async def serve(self, receive: Receive) -> None:
        events = self._services.events
        self._position = await events.newest(self._thread_id)
        pump = asyncio.create_task(self._pump())
        reading = asyncio.create_task(self._read(receive))
        try:
            await asyncio.wait((pump, reading), return_when=asyncio.FIRST_COMPLETED)
            # Sending to a client that has just disconnected fails before the disconnect message arrives.
            if pump.done() and pump.exception() is None:
                gone = Refused("permission_denied", "The thread cannot be read any more")
                await self._put(to_json(failure(None, gone)))
                await self._send({"type": "websocket.close", "code": REFUSED + NotFound.status, "reason": ENDED})
            elif not reading.done() and not isinstance(pump.exception(), OSError):
                log.error("the events of thread %s cannot be read", self._thread_id, exc_info=pump.exception())
                gone = Refused("unknown_error", "The events of the thread cannot be read")
                if isinstance(pump.exception(), EventsMissed):
                    gone = Refused("unknown_error", str(pump.exception()))
                await self._put(to_json(failure(None, gone)))
                await self._send({"type": "websocket.close", "code": 1011, "reason": ENDED})
        finally:
            for task in (pump, reading):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task

    async def _pump(self) -> None:
        """Sends new events that a subscription wants. An event that several subscriptions want is sent once."""
        feed = self._services.events.follow(self._thread_id, self._position, rule=self._rule)
        try:
            async for batch in feed:
                await self._settled.wait()
                async with self._turn:
                    for event in batch:
                        self._position = event.seq
                        decoded = DecodedEvent(event)
                        if any(wanted.passes(event, decoded) for wanted in self._subscriptions.values()):
                            await self._put(envelope(event))
                            self._last_sent = event.seq
                        if len(self._subscriptions) > MANY:
                            await asyncio.sleep(0)
        finally:
            await feed.aclose()

    async def _read(self, receive: Receive) -> None:
        coming = asyncio.ensure_future(receive())
        try:
            while True:
                if not self._settled.is_set() and not await _comes_soon(coming):
                    await self._replay_missed()
                message = await coming
                if message["type"] == "websocket.disconnect":
                    return
                coming = asyncio.ensure_future(receive())
                frame = message.get("bytes")
                if frame is None:
                    frame = (message.get("text") or "").encode("utf-8", "replace")
                await self._answer(frame)
        finally:
            coming.cancel()

    async def _replay_missed(self) -> None:
        """Sends what new subscriptions missed, each event once. After that, new events may be sent."""
        async with self._turn:
            fresh, self._fresh = self._fresh, []
            if fresh:
                await self._replay(fresh)
        self._settled.set()

    async def _replay(self, fresh: "Sequence[_Missed]") -> None:
        """Sends what several subscriptions missed, in the order of events."""
        everything = EventFilter(
            methods=frozenset().union(*(missed.wanted.methods for missed in fresh)),
            since=min(missed.wanted.since for missed in fresh),
        )
        upto = max(missed.upto for missed in fresh)
        async for batch in self._services.events.replay(self._thread_id, everything, upto):
            for event in batch:
                decoded = DecodedEvent(event)
                if any(missed.has(event, decoded) for missed in fresh):
                    await self._put(envelope(event))
                    self._last_sent = max(self._last_sent, event.seq)
                if len(fresh) > MANY:
                    await asyncio.sleep(0)

    async def _answer(self, frame: bytes) -> None:
        try:
            command = read_command(self._parsed(frame))
        except NotACommand as refused:
            async with self._turn:
                await self._put(to_json(failure(refused.id, refused)))
            return
        method = {
            "subscription.subscribe": self._subscribe,
            "subscription.unsubscribe": self._unsubscribe,
            "subscription.reconnect": self._reconnect,
        }.get(command.method, self._execute)
        try:
            if not isinstance(command.params, dict):
                raise invalid("params must be an object")
            await method(command)
        except Refused as refused:
            async with self._turn:
                await self._put(to_json(failure(command.id, refused)))
        except Exception as error:
            if isinstance(error, asyncio.CancelledError):
                raise
            log.exception("a command of a web socket failed")
            broken = Refused("unknown_error", "An internal error occurred")
            async with self._turn:
                await self._put(to_json(failure(command.id, broken)))

    def _parsed(self, frame: bytes) -> Any:
        if len(frame) > self._max_frame:
            raise NotACommand(None, f"The frame is larger than {self._max_frame} bytes")
        try:
            return load(frame)
        except Invalid:
            raise NotACommand(None, NOT_JSON) from None

    # --- commands ---

    async def _execute(self, command: Command) -> None:
        await self._replay_missed()
        done = await self._services.commands.execute(self._caller.again(), self._thread_id, command)
        await self._succeed(command, done.result)

    async def _subscribe(self, command: Command) -> None:
        wanted = self._filter(command)
        await self._begin(command, wanted, lambda count: {"replayed_events": count})

    async def _reconnect(self, command: Command) -> None:
        """Replaces a subscription of a lost web socket by one on this web socket. `since` is the last sequence number that the
        client received.
        """
        wanted = self._filter(command)
        await self._begin(command, wanted, lambda count: {"restored": True, "missed_events": count})

    async def _unsubscribe(self, command: Command) -> None:
        await self._replay_missed()
        named = text(command.params, "subscription_id")
        if self._subscriptions.pop(named, None) is None:
            raise Refused("no_such_subscription", f"There is no subscription {named:.100}")
        await self._succeed(command, {})

    def _filter(self, command: Command) -> EventFilter:
        if len(self._subscriptions) >= SUBSCRIPTIONS.most:
            raise invalid(f"A web socket can have {SUBSCRIPTIONS.most} subscriptions at most")
        try:
            wanted = read_filter(command.params)
            followed = sum(len(each.namespaces) for each in (wanted, *self._subscriptions.values()))
            check_count(followed, FOLLOWED, "namespaces")
        except (BadRequest, Invalid) as error:
            raise invalid(error.detail) from error
        return wanted

    async def _begin(self, command: Command, wanted: EventFilter, result: Callable[[int], dict[str, Any]]) -> None:
        """Sends the response, registers the events that the subscription missed for replay, and adds the subscription for new
        events.
        """
        try:
            feed = await self._services.events.open(self._caller.again(), self._thread_id, wanted, counts=False)
        except ApiError as error:
            raise Refused("permission_denied", error.detail) from error
        await feed.aclose()
        async with self._turn:
            missed = 0
            async for batch in self._services.events.replay(self._thread_id, wanted, self._position):
                missed += len(batch)
            subscription_id = new_id()
            payload = {"subscription_id": subscription_id, **result(missed)}
            if feed.gap and "restored" in payload:
                payload["restored"] = False
            await self._put(to_json(success(command, payload, self._last_sent)))
            if feed.gap:
                await self._put(gap_notice(wanted))
            if missed:
                self._fresh.append(_Missed(wanted, self._position))
            self._settled.clear()
            self._subscriptions[subscription_id] = wanted

    async def _succeed(self, command: Command, result: dict[str, Any]) -> None:
        async with self._turn:
            await self._put(to_json(success(command, result, self._last_sent)))

    async def _put(self, frame: bytes) -> None:
        await self._send({"type": "websocket.send", "text": frame.decode()})


async def _refuse(send: Send, status: int, why: str) -> None:
    """Accepts a web socket and closes it with the code for a status."""
    reason = why.encode()[:REASON_BYTES].decode(errors="ignore")
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": REFUSED + status, "reason": reason})


def _chosen(scope: Scope, wanted: Callable[[str], bool] | None) -> dict[str, str]:
    if wanted is None:
        return {}
    named = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
    return {name: value for name, value in named if wanted(name)}


async def _comes_soon(coming: "asyncio.Future[Any]") -> bool:
    """Returns whether the next frame arrives within `TOGETHER_SECONDS`.

    It waits in steps: on a busy machine the whole time may pass before the event loop looks at what has arrived.
    """
    for _ in range(STEPS):
        await asyncio.wait({coming}, timeout=TOGETHER_SECONDS / STEPS)
        if coming.done():
            return True
    return False
