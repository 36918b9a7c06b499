"""Webhook receivers that never answer delay nobody else's deliveries"""

import asyncio
import contextlib
import time
from pathlib import Path

import pytest

from tests.receiver import receiving
from threadloom.clock import SystemClock
from threadloom.config.settings import Settings, WebhookSettings, WebhookUrlRules
from threadloom.engine.finalize import FinalizedRun
from threadloom.services.webhooks import WebhookSender
from threadloom.services.webhooks.delivery import MOST
from threadloom.services.webhooks.post import TIMEOUT
from threadloom.services.webhooks.shares import HostShares, host_of
from threadloom.types import Delivery, Run

pytestmark = pytest.mark.anyio

CLOCK = SystemClock()
SETTINGS = Settings(
    root=Path("/"), data=Path("/"), graphs={}, webhooks=WebhookSettings(url=WebhookUrlRules(disable_loopback=False))
)
DEAD = ("127.0.0.2", "127.0.0.3", "127.0.0.4")


@contextlib.asynccontextmanager
async def dead_receiver():
    """Takes connections on every address of the loopback, and never answers. Gives its port, and who came."""
    came = []

    async def take(reader, writer):
        came.append(writer.get_extra_info("sockname")[0])
        with contextlib.suppress(OSError):
            await reader.read()

    server = await asyncio.start_server(take, "0.0.0.0", 0)
    try:
        yield server.sockets[0].getsockname()[1], came
    finally:
        server.close()


@contextlib.asynccontextmanager
async def delivering(storage):
    async with WebhookSender(SETTINGS, storage, CLOCK) as webhooks:
        looking = asyncio.create_task(webhooks.run())
        try:
            yield webhooks
        finally:
            looking.cancel()
            for task in webhooks._under_way:
                task.cancel()
            await asyncio.wait({looking, *webhooks._under_way})


def delivery(name, url, due):
    made = {"created_at": due, "updated_at": due, "due": due, "tries_left": 3, "body_json": b"{}"}
    return Delivery(delivery_id=name, run_id=name, thread_id="t", url=url, host=host_of(url), **made)


def ended(url):
    run = Run(
        run_id="new",
        thread_id="t",
        assistant_id="a",
        status="success",
        created_at=1,
        updated_at=1,
        metadata={},
        kwargs={"webhook": url},
        multitask_strategy="enqueue",
        due=1,
    )
    return FinalizedRun(run=run, status="success", error=None, values_json=b"{}")


async def test_what_waits_behind_dead_receivers_is_told_at_once(storage):
    """Deliveries to three receivers that do not answer are due first, many more than there are shares."""
    async with dead_receiver() as (port, came):
        with receiving() as receiver:
            now = CLOCK.now()
            waiting = [
                *(
                    delivery(f"{dead}-{n}", f"http://{dead}:{port}/x", now - 10_000)
                    for dead in DEAD
                    for n in range(MOST)
                ),
                *(delivery(f"live-{n}", receiver.url, now) for n in range(20)),
            ]

            async def put(tx):
                for one in waiting:
                    await tx.deliveries.insert(one)

            await storage.write(put)
            began = time.monotonic()
            async with delivering(storage) as webhooks:
                await asyncio.to_thread(receiver.wait, 20)
                while len(set(came)) < len(DEAD):  # each of the dead has its share of the places
                    await asyncio.sleep(0.02)
                finalized = ended(receiver.url)
                finalized.delivery = webhooks.made(finalized)
                await storage.write(lambda tx: tx.deliveries.insert(finalized.delivery))
                await webhooks.after_run(finalized)
                await asyncio.to_thread(receiver.wait, 21)
                assert time.monotonic() - began < TIMEOUT, "they waited for a try at a dead receiver to end"
                assert len(webhooks._under_way) < MOST


def test_a_host_gets_no_more_places_than_are_free():
    shares = HostShares(100)
    taken = {}
    for host in ("a", "b", "c"):
        while shares.may_start(host):
            shares.start(host)
            taken[host] = taken.get(host, 0) + 1
    assert taken == {"a": 50, "b": 25, "c": 13}
    assert shares.saturated() == ["a", "b", "c"]
    assert shares.free == 12
    assert shares.may_start("d")
    for host, count in taken.items():
        for _ in range(count):
            shares.end(host)
    assert (shares.free, shares.saturated(), shares.batch()) == (100, [], 50)


def test_with_fewer_slow_hosts_than_places_one_is_always_free():
    shares = HostShares(100)
    for _ in range(200):
        for host in map(str, range(99)):
            if shares.may_start(host):
                shares.start(host)
    assert shares.free >= 1
    assert shares.batch() == 1
    shares.start("another")
    assert shares.batch() == 0


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://A.Example.:8443/x?y#z", "a.example"),
        ("http://[::1]:80/", "::1"),
        ("/own/path", ""),
        ("http://[", ""),
    ],
)
def test_the_host_of_a_webhook(url, host):
    assert host_of(url) == host
