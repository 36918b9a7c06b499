"""Answers that last."""

import asyncio

import pytest

from threadloom.api.sse import PIECE, DeferredJsonResponse, EventStreamResponse, frame
from threadloom.errors import NotFound
from threadloom.types import Event

pytestmark = pytest.mark.anyio

SCOPE = {"type": "http", "method": "GET"}


def event(n=1, name="values", data=b'{"a":1}', ms=7):
    return Event(thread_id="t", run_id="r", name=name, data=data, ms=ms, n=n)


class Batches:
    """Gives batches, each after it was asked for; notes that it was closed."""

    def __init__(self, *batches, hold=False):
        self.batches = list(batches)
        self.hold = hold
        self.closed = False
        self.ended = asyncio.Event()

    def __aiter__(self):
        return self

    async def __anext__(self):
        if not self.batches:
            if self.hold:
                await asyncio.Event().wait()
            raise StopAsyncIteration
        batch = self.batches.pop(0)
        if isinstance(batch, Exception):
            raise batch
        return batch

    async def aclose(self):
        self.closed = True
        self.ended.set()


class Client:
    """The other end of an ASGI call; `hang_up` after so many parts of the body."""

    def __init__(self, hang_up_after=None):
        self.sent = []
        self.left = asyncio.Event()
        self.two = asyncio.Event()
        self.hang_up_after = hang_up_after

    async def receive(self):
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        self.sent.append(message)
        if len(self.bodies) == 2:
            self.two.set()
        if self.hang_up_after is not None and len(self.bodies) >= self.hang_up_after:
            self.left.set()

    @property
    def bodies(self):
        return [message["body"] for message in self.sent if message.get("body")]


async def test_frames_of_a_batch_go_out_in_one_piece():
    client, batches = Client(), Batches([event(1), event(2, name="updates|a:b")], [], [event(3, ms=0)])
    await EventStreamResponse(batches)(SCOPE, client.receive, client.send)
    assert client.bodies == [
        b'event: values\r\ndata: {"a":1}\r\nid: 7-1\r\n\r\nevent: updates|a:b\r\ndata: {"a":1}\r\nid: 7-2\r\n\r\n',
        b'event: values\r\ndata: {"a":1}\r\n\r\n',
    ]
    assert client.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    assert dict(client.sent[0]["headers"])[b"content-type"] == b"text/event-stream; charset=utf-8"
    assert batches.closed


async def test_ids_are_left_out_when_the_reader_is_not_to_have_them():
    client = Client()
    await EventStreamResponse(Batches([event()]), ids=False)(SCOPE, client.receive, client.send)
    assert b"id:" not in client.bodies[0]


async def test_silence_is_filled_with_heartbeats():
    client, batches = Client(hang_up_after=3), Batches(hold=True)
    await EventStreamResponse(batches, seconds=0.001)(SCOPE, client.receive, client.send)
    assert client.bodies[:3] == [b": heartbeat\r\n\r\n"] * 3


async def test_hanging_up_closes_the_source_and_ends_the_answer_unfinished():
    client, batches = Client(hang_up_after=1), Batches([event()], hold=True)
    await EventStreamResponse(batches)(SCOPE, client.receive, client.send)
    assert batches.closed
    assert client.sent[-1]["more_body"] is True


async def test_a_slow_reader_is_waited_for():
    ready = asyncio.Event()
    batches = Batches(*[[event(n)] for n in range(100)])

    class Slow(Client):
        async def send(self, message):
            await super().send(message)
            if len(self.bodies) == 2:
                await ready.wait()

    client = Slow()
    task = asyncio.create_task(EventStreamResponse(batches)(SCOPE, client.receive, client.send))
    await client.two.wait()
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(batches.batches) == 98
    ready.set()
    await task
    assert len(client.bodies) == 100


async def test_no_sign_of_life_stands_in_the_midst_of_what_a_slow_reader_is_sent():
    """Behind a large event, on a slow line, each piece takes longer than the silence that is filled."""
    large, small = event(1, data=b'"' + b"x" * (2 * PIECE) + b'"'), event(2)

    class Slow(Client):
        async def send(self, message):
            await asyncio.sleep(0.02)
            await super().send(message)

    client = Slow()
    await EventStreamResponse(Batches([large], [small]), seconds=0.001)(SCOPE, client.receive, client.send)
    assert max(map(len, client.bodies)) == PIECE
    assert b"".join(client.bodies).replace(b": heartbeat\r\n\r\n", b"") == frame(large) + frame(small)
    whole = b"".join(client.bodies).split(b"\r\n\r\n")
    assert [part for part in whole if part.startswith(b"event")] == [frame(large)[:-4], frame(small)[:-4]]


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (NotFound("gone"), b'{"error":"HTTPException","message":"404: gone"}'),
        (KeyError("secret"), b'{"error":"KeyError","message":"An internal error occurred"}'),
    ],
)
async def test_a_source_that_fails_ends_with_an_error_event(failure, told):
    client = Client()
    await EventStreamResponse(Batches([event()], failure))(SCOPE, client.receive, client.send)
    assert client.bodies[-1] == b"event: error\r\ndata: " + told + b"\r\n\r\n"


async def test_head_gets_the_headers_only():
    client, batches = Client(), Batches([event()], hold=True)
    await EventStreamResponse(batches)({**SCOPE, "method": "HEAD"}, client.receive, client.send)
    assert client.bodies == []
    assert batches.closed


async def test_late_json_comes_after_newlines():
    client = Client()

    async def output():
        await client.two.wait()
        return b'{"done":true}'

    await DeferredJsonResponse(output(), [(b"location", b"/x")], seconds=0.001)(SCOPE, client.receive, client.send)
    assert b"".join(client.bodies).lstrip(b"\n") == b'{"done":true}'
    assert client.bodies[:2] == [b"\n", b"\n"]
    assert dict(client.sent[0]["headers"]) == {b"content-type": b"application/json", b"location": b"/x"}


async def test_hanging_up_cancels_what_was_waited_for():
    client = Client(hang_up_after=1)
    cancelled = []

    async def output():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    await DeferredJsonResponse(output(), seconds=0.001)(SCOPE, client.receive, client.send)
    assert cancelled == [True]


async def test_late_json_tells_of_an_error_in_its_body():
    async def output():
        raise NotFound("Run not found")

    client = Client()
    await DeferredJsonResponse(output())(SCOPE, client.receive, client.send)
    assert client.bodies == [b'{"__error__":{"error":"HTTPException","message":"404: Run not found"}}']
