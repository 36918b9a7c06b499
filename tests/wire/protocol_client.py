"""A plain client of the v2 protocol, for what the SDKs hide."""

import asyncio
import contextlib
import json
import uuid

import httpx
import websockets

PATIENCE = 120
"""Seconds that something may take: far more than it needs, for it is not speed that is tested."""

ALL = ["values", "updates", "messages", "tools", "lifecycle", "input", "checkpoints", "tasks", "custom"]


def phase_of(event):
    """What a root lifecycle event tells; None for any other event."""
    if event.get("method") != "lifecycle" or event["params"]["namespace"]:
        return None
    return event["params"]["data"]["event"]


def ended(event):
    return phase_of(event) in ("completed", "failed", "interrupted")


async def command(http, thread, method, params=None, id=1):
    response = await http.post(f"/threads/{thread}/commands", json={"id": id, "method": method, "params": params or {}})
    assert response.status_code == 200, response.text
    return response.json()


async def start(http, thread, graph, input=None, **more):
    answer = await command(http, thread, "run.start", {"assistant_id": graph, "input": input, **more})
    assert answer["type"] == "success", answer
    return answer["result"]["run_id"]


class Events:
    """An open event stream. What was read is in `seen`, frames that are no events in `notices`."""

    def __init__(self, lines):
        self.seen, self.notices = [], []
        self._lines = lines

    async def until(self, done, timeout=PATIENCE):
        """Reads on until `done(event)`; gives all events read so far."""
        async with asyncio.timeout(timeout):
            async for line in self._lines:
                if line.startswith("data:"):
                    event = json.loads(line[5:])
                    if event["type"] != "event":
                        self.notices.append(event)
                        continue
                    self.seen.append(event)
                    if done(event):
                        return self.seen
        raise AssertionError(f"the stream ended: {self.seen}")


@contextlib.asynccontextmanager
async def events(http, thread, channels=ALL, **more):
    body = {"channels": list(channels), **more}
    async with http.stream("POST", f"/threads/{thread}/stream/events", json=body, timeout=None) as response:
        assert response.status_code == 200, await response.aread()
        yield Events(response.aiter_lines())


async def run_to_end(http, graph, input=None, thread=None, **more):
    """A run, and all that it told: (thread, events)."""
    thread = thread or str(uuid.uuid4())
    since = 0
    with contextlib.suppress(httpx.HTTPError):
        since = (await command(http, thread, "subscription.subscribe", {"channels": ["values"]}))["meta"][
            "applied_through_seq"
        ]
    await start(http, thread, graph, input, **more)
    async with events(http, thread, since=since) as stream:
        return thread, await stream.until(ended)


def data(seen, method, *, root=True):
    """The data of the events of a method, of the root's only or of all."""
    return [e["params"]["data"] for e in seen if e["method"] == method and not (root and e["params"]["namespace"])]


class Socket:
    """A web socket of a thread."""

    def __init__(self, connection):
        self.connection = connection
        self.frames = []
        self._next = 0

    async def send(self, method, params=None, id=None):
        """Sends a command; gives its id."""
        self._next += 1
        number = self._next if id is None else id
        await self.connection.send(json.dumps({"id": number, "method": method, "params": params or {}}))
        return number

    async def ask(self, method, params=None):
        """Sends a command and reads on until its answer."""
        number = await self.send(method, params)
        return (await self.until(lambda frame: frame.get("id") == number and frame["type"] != "event"))[-1]

    async def until(self, done, timeout=PATIENCE):
        """Reads frames until `done(frame)`; gives all frames of this socket."""
        async with asyncio.timeout(timeout):
            while True:
                frame = json.loads(await self.connection.recv())
                self.frames.append(frame)
                if done(frame):
                    return self.frames

    @property
    def events(self):
        return [frame for frame in self.frames if frame["type"] == "event"]


@contextlib.asynccontextmanager
async def socket(url, thread, **more):
    address = url.replace("http", "ws", 1) + f"/threads/{thread}/stream/events"
    async with websockets.connect(address, **more) as connection:
        yield Socket(connection)
