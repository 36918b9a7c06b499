"""The broker between processes, whatever carries its messages (`Link`).

Every process has an inbox. Who follows a thread says so first, in a register that all share; who publishes events looks
there, and puts them into the inboxes of those who follow, in batches. So what nobody follows goes nowhere, and what is
followed reaches exactly the processes that want it, in order: whoever was in the register before an event was made gets it.
Followers in the process that publishes are told at once, without the detour.

Wake-ups and cancellations go to all processes, and may be lost: workers also look by themselves.
"""

import asyncio
import contextlib
import logging
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Literal, Protocol, TypeVar

import msgspec

from threadloom.broker.base import READER_BYTES, of_channels
from threadloom.broker.local import POLL_INTERVAL_SECONDS, LocalBroker, LocalFollower
from threadloom.broker.outbox import Key, Outbox
from threadloom.errors import StartError, Unavailable
from threadloom.types import Event

log = logging.getLogger("threadloom.broker")

T = TypeVar("T")

PACE = 0.002
"""Seconds between one batch and the next: what is published meanwhile goes together."""

BEAT_SECONDS = 5.0
"""How often a process says that it lives."""

GONE_SECONDS = 60.0
"""Silence after which a process is taken for dead, with its inbox and what it follows."""

LINGER_SECONDS = 2.0
"""How long a thread that nobody follows any more stays in the register, for it may soon be followed again."""

PATIENCE_SECONDS = 10.0
"""How long `follow` waits for the register before it gives up."""

CLOSE_SECONDS = 3.0
"""How long `close` waits until what was published is handed on."""

RETRY_SECONDS = 0.05
"""How soon a lost link is tried again; then less and less often, down to every two seconds."""

SENT_BYTES = 1024 * 1024
"""Bytes of a run's events that may wait to be sent while it goes on."""

WAIT_SECONDS = 5.0
"""How long a run waits until no more than that do. Then they are dropped, and its followers told."""

MESSAGE = "letter"
"""`mode` of what stands for a letter in a parcel; events have no such mode."""

Kind = Literal["all", "ends", "channels"]
Topic = tuple[Kind, str]
"""What is wanted of a thread: all its events but those of channels, only the last of each run, or those of channels."""


class LinkLost(Exception):
    """What carries the messages cannot be reached. It may have done what was asked or not; asking again does no harm."""


class Link(Protocol):
    """What carries messages between processes. All methods may raise LinkLost, and are called on one event loop.

    Attributes:
        name: what it is, for logs and `/ok`.
    """

    name: str

    async def open(self, process: str) -> None:
        """Connects, as the process of that id."""
        ...

    async def close(self) -> None:
        """Leaves, and ends calls that still wait. Cut short it has done at least the latter."""
        ...

    async def beat(self) -> bool:
        """Shows that this process lives, and removes those that have died.

        Returns:
            False when this process was not known any more: its inbox and its follows were gone. It is known again, with
            an empty inbox and no follows.
        """
        ...

    async def follow(self, topics: Collection[Topic]) -> None:
        """Registers topics that this process follows. When it returns, whoever looks finds them."""
        ...

    async def unfollow(self, topics: Collection[Topic]) -> None:
        """Removes topics of this process from the register. Those that are not in it are ignored."""
        ...

    async def followers(self, topics: Collection[Topic]) -> Mapping[Topic, Collection[str]]:
        """Returns the ids of the processes that follow each topic."""
        ...

    async def deliver(self, number: int, parcels: Mapping[str, bytes]) -> None:
        """Puts payloads into the inboxes of processes, by their ids. Processes that are gone are left out.

        Args:
            number: grows with each call; a receiver drops what it has already.
        """
        ...

    async def announce(self, words: Sequence[str]) -> None:
        """Sends short texts to all processes. They may be lost."""
        ...

    async def listen(self, take: Callable[[str, int, bytes], None], hear: Callable[[str], None]) -> None:
        """Gives what arrives, until the link is lost: parcels in the order of their numbers, with their sender, perhaps
        more than once; and the words of others."""
        ...


class NetworkedBroker(LocalBroker):
    """`Broker` between processes.

    Args:
        link: what carries the messages.
        seal, unseal: what parcels go through on their way out and in.
        reader_bytes: as `LocalBroker`.
    """

    def __init__(
        self,
        link: Link,
        *,
        seal: Callable[[bytes], bytes] = lambda body: body,
        unseal: Callable[[bytes], bytes] = lambda body: body,
        reader_bytes: int = READER_BYTES,
    ) -> None:
        super().__init__(reader_bytes=reader_bytes)
        self._seal, self._unseal = seal, unseal
        self.process = uuid.uuid4().hex
        self._link = link
        self._tasks: list[asyncio.Task[None]] = []
        self._beaten = 0.0
        self._closing = False
        # What is to be sent.
        self._outbox = Outbox()
        self._trouble: LinkLost | None = None
        self._words: dict[str, None] = {}
        self._messages: list[tuple[str, bytes]] = []
        self._sent = 0
        self._something = asyncio.Event()
        self._quiet = asyncio.Event()
        # What came: the number of the newest parcel of each sender.
        self._received: dict[str, int] = {}
        self._readers: list[Callable[[str, bytes], None]] = []
        # What this process follows, what of it stands in the register, and who waits until it does.
        self._wanted: Counter[Topic] = Counter()
        self._registered: set[Topic] = set()
        self._to_add: dict[Topic, asyncio.Future[None]] = {}
        self._to_remove: set[Topic] = set()
        self._change = asyncio.Event()
        self._registering = asyncio.Lock()
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(list[list[Event]]).decode

    async def open(self) -> None:
        await super().open()
        try:
            await self._link.open(self.process)
            await self._link.beat()
        except LinkLost as lost:
            await self._link.close()
            raise StartError(f"{self._link.name} cannot be reached: {lost}") from lost
        self._beaten = time.monotonic()
        loops = (self._send_forever, self._register_forever, self._listen_forever, self._beat_forever)
        self._tasks = [asyncio.create_task(loop()) for loop in loops]

    async def close(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._quiet.wait()
        self._closing = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._link.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for added in self._to_add.values():
            added.cancel()
        await super().close()

    async def probe(self) -> None:
        if time.monotonic() - self._beaten > 2 * BEAT_SECONDS:
            raise Unavailable(f"{self._link.name} cannot be reached")

    # --- words ---

    def wake(self, *, elsewhere: bool = True) -> None:
        super().wake()
        if elsewhere:
            self.at_home(self._say, "wake")

    def cancel(self, run_id: str) -> None:
        super().cancel(run_id)
        self.at_home(self._say, f"cancel {run_id}")

    def _say(self, word: str) -> None:
        self._words[word] = None
        self._stir()

    def _hear(self, word: str) -> None:
        what, _, argument = word.partition(" ")
        if what == "wake":
            super().wake()
        elif what == "cancel":
            super().cancel(argument)

    # --- letters ---

    def send(self, process: str, message: bytes) -> None:
        self.at_home(self._post, process, message)

    def _post(self, process: str, message: bytes) -> None:
        self._messages.append((process, message))
        self._stir()

    def on_message(self, listener: Callable[[str, bytes], None]) -> None:
        self._readers.append(listener)

    def _read(self, sender: str, message: bytes) -> None:
        for read in self._readers:
            read(sender, message)

    # --- following ---

    async def follow(self, thread_id: str, *, events: bool = True, channels: bool = False) -> LocalFollower:
        topic: Topic = ("channels" if channels else "all" if events else "ends", thread_id)
        if asyncio.get_running_loop() is self._home:
            await self._want(topic)
        else:
            assert self._home is not None
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._want(topic), self._home))
        return await super().follow(thread_id, events=events, channels=channels)

    def remove_follower(self, follower: LocalFollower) -> None:
        super().remove_follower(follower)
        kind: Kind = "channels" if follower.channels else "all" if follower.events else "ends"
        self.at_home(self._leave, (kind, follower.thread_id))

    def watched(self, thread_id: str) -> bool:
        """Always: that nobody follows a thread can only be known by looking, which is done when the events go out."""
        return True

    async def _want(self, topic: Topic) -> None:
        self._wanted[topic] += 1
        if topic in self._registered:
            return
        added = self._to_add.get(topic)
        if added is None:
            added = self._to_add[topic] = asyncio.get_running_loop().create_future()
            self._change.set()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await asyncio.shield(added)
        except BaseException as error:
            self._leave(topic)
            if isinstance(error, TimeoutError):
                raise Unavailable(f"Nothing can be followed now: {self._link.name} cannot be reached") from None
            raise

    def _leave(self, topic: Topic) -> None:
        if self._wanted[topic] > 0:
            self._wanted[topic] -= 1
        if not self._wanted[topic] and self._home is not None:
            self._home.call_later(LINGER_SECONDS, self._unregister, topic)

    def _unregister(self, topic: Topic) -> None:
        if not self._wanted[topic]:
            del self._wanted[topic]
            if topic in self._registered:
                # From now on somebody who follows it has to wait until it stands there again.
                self._registered.remove(topic)
                self._to_remove.add(topic)
                self._change.set()

    async def _register_forever(self) -> None:
        while True:
            await self._change.wait()
            self._change.clear()
            async with self._registering:
                await self._register()

    async def _register(self) -> None:
        """Brings the register up to date, what is no longer wanted first."""
        gone, self._to_remove = self._to_remove, set()
        if gone:
            await self._with_retries(lambda: self._link.unfollow(gone))
        adding = dict(self._to_add)
        if adding:
            await self._with_retries(lambda: self._link.follow(adding.keys()))
        for topic, added in adding.items():
            self._registered.add(topic)
            del self._to_add[topic]
            added.set_result(None)
            if not self._wanted[topic]:
                self._leave(topic)

    # --- sending ---

    def publish(self, events: Sequence[Event]) -> None:
        self.at_home(self._publish, events)

    def _publish(self, events: Sequence[Event]) -> None:
        self.deliver(events)
        if (too_much := self._outbox.put(events)) is not None:
            self._discard(too_much)
        self._stir()

    def _discard(self, key: Key) -> None:
        """Drops what a run has waiting to be sent. Nobody but its followers elsewhere notices."""
        name = self._link.name
        why = f"{name} cannot be reached" if self._trouble else f"the run tells more than {name} carries"
        size = self._outbox.drop(key, f"Events of the run were lost between processes: {why}")
        thread_id, run_id, _ = key
        if size:
            log.warning("events of run %s (thread %s) are dropped, %d bytes: %s", run_id, thread_id, size, why)

    async def _catch_up(self, thread_id: str, run_id: str, size: int) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + WAIT_SECONDS
        while self._outbox.waiting(thread_id, run_id) > SENT_BYTES:
            if loop.time() >= deadline:
                for key in self._outbox.keys_of(thread_id, run_id):
                    self._discard(key)
            await asyncio.sleep(POLL_INTERVAL_SECONDS)
        await super()._catch_up(thread_id, run_id, size)

    def _stir(self) -> None:
        self._quiet.clear()
        self._something.set()

    async def _send_forever(self) -> None:
        while True:
            if not (self._outbox or self._words or self._messages):
                self._quiet.set()
                await self._something.wait()
            self._something.clear()
            words, self._words = self._words, {}
            batches = self._outbox.take()
            messages, self._messages = self._messages, []
            if words:
                await self._with_retries(lambda: self._link.announce(list(words)))  # noqa: B023
            if batches or messages:
                await self._send(batches, messages)
            await asyncio.sleep(PACE)

    async def _send(self, batches: Sequence[Sequence[Event]], messages: Iterable[tuple[str, bytes]]) -> None:
        followers: Mapping[Topic, Collection[str]] = {}
        if batches:
            followers = await self._with_retries(lambda: self._link.followers(_topics(batches)))
        parcels: dict[str, list[Sequence[Event]]] = {}
        for process, message in messages:
            enclosed = Event(thread_id="", run_id="", name="", mode=MESSAGE, data=message)
            parcels.setdefault(process, []).append([enclosed])
        for events in batches:
            for process, wanted in _sorted(events, followers):
                if process != self.process:
                    parcels.setdefault(process, []).append(wanted)
        if parcels:
            self._sent += 1
            bodies = {process: self._seal(self._encode(parcel)) for process, parcel in parcels.items()}
            await self._with_retries(lambda: self._link.deliver(self._sent, bodies))

    # --- receiving ---

    async def _listen_forever(self) -> None:
        while True:
            try:
                await self._link.listen(self._take, self._hear)
            except LinkLost as lost:
                if self._closing:
                    return  # the cancellation met the loss
                log.warning("%s is lost, trying again: %s", self._link.name, lost)
            await asyncio.sleep(RETRY_SECONDS)
            await self._with_retries(self._beat)
            super().wake()  # others may have said so while nothing was heard

    def _take(self, sender: str, number: int, body: bytes) -> None:
        if number <= self._received.get(sender, 0):
            return  # it was sent twice, because its sender could not know that it had arrived
        self._received[sender] = number
        try:
            batches = self._decode(self._unseal(body))
        except Exception:
            log.exception("a message of another process cannot be read; have all the same key?")
            self.lose()
            return
        for events in batches:
            if events[0].mode == MESSAGE:
                self._read(sender, events[0].data)
            else:
                self.deliver(events)

    # --- living ---

    async def _beat_forever(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            await self._with_retries(self._beat)

    async def _beat(self) -> None:
        async with self._registering:
            known = await self._link.beat()
            self._beaten = time.monotonic()
            if known:
                return
            log.warning("%s no longer knew this process: events may have been lost", self._link.name)
            # All it follows is told anew; those who wait for it in `_want` are served by the same call.
            again = {topic for topic, count in self._wanted.items() if count} - self._to_add.keys()
            self._registered.clear()
            await self._with_retries(lambda: self._link.follow(again))
            self._registered |= again
        self.lose()

    async def _with_retries(self, act: Callable[[], Awaitable[T]]) -> T:
        """Does something over the link, however often it is lost meanwhile."""
        delay = RETRY_SECONDS
        while True:
            try:
                done = await act()
            except LinkLost as lost:
                if self._closing:
                    raise
                self._trouble = lost
                log.debug("%s is lost, trying again: %s", self._link.name, lost)
                await asyncio.sleep(delay)
                delay = min(delay * 2, 2.0)
            else:
                self._trouble = None
                return done


def _topics(batches: Iterable[Sequence[Event]]) -> set[Topic]:
    """All that somebody may follow of some batches."""
    topics: set[Topic] = set()
    for events in batches:
        thread_id = events[0].thread_id
        if of_channels(events[0]):
            topics.add(("channels", thread_id))
        else:
            topics.add(("all", thread_id))
            if any(event.last for event in events):
                topics.add(("ends", thread_id))
    return topics


def _sorted(
    events: Sequence[Event], followers: Mapping[Topic, Collection[str]]
) -> Iterable[tuple[str, Sequence[Event]]]:
    """Who gets what of a batch."""
    thread_id = events[0].thread_id
    if of_channels(events[0]):
        return [(process, events) for process in followers.get(("channels", thread_id), ())]
    everything = set(followers.get(("all", thread_id), ()))
    wanted: list[tuple[str, Sequence[Event]]] = [(process, events) for process in everything]
    if lasts := [event for event in events if event.last]:
        ends = followers.get(("ends", thread_id), ())
        wanted += [(process, lasts) for process in ends if process not in everything]
    return wanted
