"""The broker between processes, independent of how its messages are carried (`Link`).

Every process has an inbox. A follower is first entered in a register that all processes share. A process that publishes events
reads the register and puts the events, in batches, into the inboxes of the processes that follow the thread. So events without
followers are not sent, and others reach exactly the processes that follow them, in order: a follower that was registered before
an event was created gets that event. Followers in the publishing process get events directly.

Wake-ups and cancellations go to all processes, and may be lost: workers also poll.
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
"""Seconds between batches. Events published meanwhile are sent together."""

BEAT_SECONDS = 5.0
"""Seconds between heartbeats of a process."""

GONE_SECONDS = 60.0
"""Seconds without a heartbeat after which a process counts as dead. Its inbox and its topics are then removed."""

LINGER_SECONDS = 2.0
"""Seconds that a topic without followers stays in the register, because it may soon be followed again."""

PATIENCE_SECONDS = 10.0
"""Seconds that `follow` waits for the register before it fails."""

CLOSE_SECONDS = 3.0
"""Seconds that `close` waits until published events are sent."""

RETRY_SECONDS = 0.05
"""Seconds until a lost link is retried; doubled each time, up to two seconds."""

SENT_BYTES = 1024 * 1024
"""Bytes of a run's events that may wait to be sent while the run continues."""

WAIT_SECONDS = 5.0
"""Seconds that a run waits when more bytes than SENT_BYTES wait. Then they are dropped, and the run's followers are notified."""

MESSAGE = "letter"
"""`mode` of the event that carries a message of `send` in a parcel; no other event has this mode."""

Kind = Literal["all", "ends", "channels"]
Topic = tuple[Kind, str]
"""What is followed of a thread: all its events but those of channels, only the last event of each run, or those of channels."""


class LinkLost(Exception):
    """The message server cannot be reached. The call may have taken effect or not; repeating it is safe."""


class Link(Protocol):
    """Carries messages between processes. All methods may raise LinkLost, and are called on one event loop.

    Attributes:
        name: the name of the message server, for logs and `/ok`.
    """

    name: str

    async def open(self, process: str) -> None:
        """Connects, as the process with that id."""
        ...

    async def close(self) -> None:
        """Disconnects, and ends pending calls. If it is cancelled, it has at least done the latter."""
        ...

    async def beat(self) -> bool:
        """Sends the heartbeat of this process, and removes processes that have died.

        Returns:
            False when this process was no longer registered: its inbox and its topics were gone. It is registered again, with an
                empty inbox and no topics.
        """
        ...

    async def follow(self, topics: Collection[Topic]) -> None:
        """Registers topics that this process follows. After it returns, `followers` includes them."""
        ...

    async def unfollow(self, topics: Collection[Topic]) -> None:
        """Removes topics of this process from the register. Topics that are not in it are ignored."""
        ...

    async def followers(self, topics: Collection[Topic]) -> Mapping[Topic, Collection[str]]:
        """Returns the ids of the processes that follow each topic."""
        ...

    async def deliver(self, number: int, parcels: Mapping[str, bytes]) -> None:
        """Puts payloads into the inboxes of processes, by their ids. Processes that have ended are skipped.

        Args:
            number: grows with each call; a receiver drops payloads whose number it has already had.
        """
        ...

    async def announce(self, words: Sequence[str]) -> None:
        """Sends short texts to all processes. They may be lost."""
        ...

    async def listen(self, take: Callable[[str, int, bytes], None], hear: Callable[[str], None]) -> None:
        """Passes on what arrives, until the link is lost: parcels in the order of their numbers, with their sender, perhaps more
        than once; and the short texts of other processes.
        """
        ...


class NetworkedBroker(LocalBroker):
    """A `Broker` between processes.

    Args:
        link: carries the messages.
        seal, unseal: encrypt and decrypt parcels.
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
        # Outgoing.
        self._outbox = Outbox()
        self._trouble: LinkLost | None = None
        self._words: dict[str, None] = {}
        self._messages: list[tuple[str, bytes]] = []
        self._sent = 0
        self._something = asyncio.Event()
        self._quiet = asyncio.Event()
        # Incoming: the number of the newest parcel of each sender.
        self._received: dict[str, int] = {}
        self._readers: list[Callable[[str, bytes], None]] = []
        # The topics that this process follows, those of them that are registered, and futures of those being registered.
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

    # --- announcements ---

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

    # --- messages ---

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
        """Returns True: followers in other processes are known only from the register, which is read when events are sent."""
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
                # From now on a new follower waits until the topic is registered again.
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
        """Updates the register; removes topics before it adds topics."""
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
        """Drops the events of a run that wait to be sent. Only its followers in other processes are affected."""
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
                    return  # the link was lost while this was being cancelled
                log.warning("%s is lost, trying again: %s", self._link.name, lost)
            await asyncio.sleep(RETRY_SECONDS)
            await self._with_retries(self._beat)
            super().wake()  # a wake-up may have been lost meanwhile

    def _take(self, sender: str, number: int, body: bytes) -> None:
        if number <= self._received.get(sender, 0):
            return  # the sender repeated it, because it could not know that it had arrived
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

    # --- heartbeats ---

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
            # Registers all followed topics again, except those for which a call of `_want` still waits.
            again = {topic for topic, count in self._wanted.items() if count} - self._to_add.keys()
            self._registered.clear()
            await self._with_retries(lambda: self._link.follow(again))
            self._registered |= again
        self.lose()

    async def _with_retries(self, act: Callable[[], Awaitable[T]]) -> T:
        """Calls `act`, and retries it whenever the link is lost."""
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
    """Returns all topics that the batches may belong to."""
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
    """Returns the processes that follow a batch, each with the events that it gets."""
    thread_id = events[0].thread_id
    if of_channels(events[0]):
        return [(process, events) for process in followers.get(("channels", thread_id), ())]
    everything = set(followers.get(("all", thread_id), ()))
    wanted: list[tuple[str, Sequence[Event]]] = [(process, events) for process in everything]
    if lasts := [event for event in events if event.last]:
        ends = followers.get(("ends", thread_id), ())
        wanted += [(process, lasts) for process in ends if process not in everything]
    return wanted
