"""Deliveries of webhooks: what they tell, when they are tried, and when they are given up."""

import asyncio
import contextlib
import itertools
import json
from pathlib import Path

import msgspec
import pytest

from tests.clocks import ManualClock
from tests.receiver import receiving
from threadloom.auth.authorize import OPEN
from threadloom.config.settings import (
    HttpSettings,
    RetentionSettings,
    Settings,
    ThreadloomSettings,
    WebhookSettings,
    WebhookUrlRules,
)
from threadloom.engine.finalize import FinalizedRun
from threadloom.errors import Conflict, NotFound
from threadloom.services.webhooks import DeliveryService, WebhookSender
from threadloom.services.webhooks.delivery import CLAIM_SECONDS, DELAYS, POLL_INTERVAL_SECONDS, shown
from threadloom.services.webhooks.payload import payload
from threadloom.storage.deliveries import DeliveryQuery
from threadloom.types import SYSTEM, Run

pytestmark = pytest.mark.anyio

CALLER = {"langgraph_auth_user": {"token": "secret"}, "Authorization": "secret", "cookie": "secret"}


def settings(tries=3, **http):
    return Settings(
        root=Path("/"),
        data=Path("/"),
        graphs={},
        http=HttpSettings(**http),
        webhooks=WebhookSettings(url=WebhookUrlRules(disable_loopback=False)),
        threadloom=ThreadloomSettings(webhook_tries=tries, retention=RetentionSettings(deliveries_days=1)),
    )


def run(**kwargs):
    return Run(
        run_id="r",
        thread_id="t",
        assistant_id="a",
        status="success",
        created_at=1,
        updated_at=3,
        started_at=2,
        ended_at=3,
        metadata={"who": "me"},
        kwargs=kwargs,
        multitask_strategy="enqueue",
        due=1,
    )


@pytest.fixture
def clock():
    return ManualClock()


@contextlib.asynccontextmanager
async def delivering(storage, clock, **options):
    """Webhooks that also look for what is due."""
    single_process = options.pop("single_process", True)
    async with WebhookSender(settings(**options), storage, clock, single_process=single_process) as webhooks:
        looking = asyncio.create_task(webhooks.run())
        try:
            yield webhooks
        finally:
            looking.cancel()
            await asyncio.wait({looking})


async def end(storage, webhooks, **kwargs):
    """Ends a run as the worker does: stored, then begun. Gives its delivery."""
    finalized = FinalizedRun(run=run(**kwargs), status="success", error=None, values_json=b"{}")
    finalized.delivery = webhooks.made(finalized)
    if finalized.delivery is not None:
        await storage.write(lambda tx: tx.deliveries.insert(finalized.delivery))
    await webhooks.after_run(finalized)
    return finalized.delivery


async def until(storage, delivery, hold, clock=None):
    """Waits until a delivery is as it should be; lets a clock stand at the end of whatever is slept for."""
    async with asyncio.timeout(120):
        while True:
            found = await storage.read(lambda tx: tx.deliveries.get(delivery.delivery_id))
            if hold(found):
                return found
            await asyncio.sleep(0.005)
            if clock is not None and found.worker is None and found.status == "pending":
                clock.move(max(found.due - clock.now(), 0) / 1_000_000)


def ended(delivery):
    return delivery.status != "pending"


# --- what is told ---


def test_a_run_is_told_of_in_full():
    config = {"configurable": {"graph_id": "g", **CALLER}}
    made = run(webhook="http://x/?key=1", config=config, context=CALLER | {"a": 1})
    error = {"error": "ValueError", "message": "ouch"}
    told = json.loads(payload(FinalizedRun(run=made, status="error", error=error, values_json=b'{"n":1}'), 9))
    assert (told["run_id"], told["thread_id"], told["status"], told["values"]) == ("r", "t", "error", {"n": 1})
    assert told["error"] == error
    assert told["run_started_at"] < told["run_ended_at"]
    assert told["kwargs"]["config"]["configurable"] == {"graph_id": "g"}
    assert told["kwargs"]["context"] == {"a": 1}


def test_a_run_whose_state_was_not_read_is_told_with_its_output():
    values = b'{"n":1,"__interrupt__":[{"id":"i","value":"?"}]}'
    told = json.loads(
        payload(FinalizedRun(run=run(temporary=True), status="success", error=None, values_json=values), 9)
    )
    assert told["values"] == {"n": 1}
    assert told["interrupts"] == [{"id": "i", "value": "?"}]
    assert "error" not in told


def test_a_run_that_stopped_at_a_question_is_told_with_it():
    asked = b'{"task":[{"id":"i","value":"?"}]}'
    finalized = FinalizedRun(run=run(), status="success", error=None, values_json=b"{}", interrupts_json=asked)
    told = json.loads(payload(finalized, 9))
    assert (told["values"], told["interrupts"]) == ({}, [{"id": "i", "value": "?"}])


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://a.example/x?key=secret#y", "http://a.example/x"),
        ("/own?key=secret", "/own"),
        ("http://[x/?k=1", "http://[x/"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url, said):
    assert shown(url) == said


# --- tries ---


async def test_a_run_with_a_webhook_is_told_at_once(storage, clock):
    with receiving() as receiver:
        async with WebhookSender(settings(), storage, clock) as webhooks:
            delivery = await end(storage, webhooks, webhook=receiver.url)
            done = await until(storage, delivery, ended)
        [(_, headers, body)] = receiver.received
    assert headers["webhook-id"] == delivery.delivery_id
    assert json.loads(body)["webhook_sent_at"] == "2026-01-01T09:00:00.000000+00:00"
    assert (done.status, done.tries) == ("delivered", [{"at": clock.now(), "status": 200}])
    assert done.expires_at == clock.now() + 86_400_000_000


async def test_without_a_webhook_or_when_they_are_off_nothing_is_made(storage, clock):
    for kwargs, http in (({}, {}), ({"webhook": "http://127.0.0.1:1/"}, {"disable_webhooks": True})):
        async with WebhookSender(settings(**http), storage, clock) as webhooks:
            assert await end(storage, webhooks, **kwargs) is None


@pytest.mark.parametrize(
    ("statuses", "status", "tries"),
    [
        ((200,), "delivered", 1),
        ((500, 204), "delivered", 2),
        ((503, 302, 200), "delivered", 3),
        ((500,), "failed", 3),
        ((404,), "failed", 3),
    ],
)
async def test_a_receiver_that_fails_is_tried_again(storage, clock, statuses, status, tries, caplog):
    with receiving(*statuses) as receiver:
        async with delivering(storage, clock) as webhooks:
            delivery = await end(storage, webhooks, webhook=receiver.url + "?key=hidden")
            done = await until(storage, delivery, ended, clock)
        assert len(receiver.received) == len(done.tries) == tries
        assert {headers["webhook-id"] for _, headers, _ in receiver.received} == {delivery.delivery_id}
    assert done.status == status
    told = [record.getMessage() for record in caplog.records if record.name == "threadloom.webhooks"]
    assert bool(told) is (status == "failed")
    assert "hidden" not in "".join(told)


async def test_tries_come_ever_more_seldom(storage, clock):
    async with delivering(storage, clock, tries=9) as webhooks:
        delivery = await end(storage, webhooks, webhook="http://127.0.0.1:1/nobody")
        done = await until(storage, delivery, ended, clock)
    moments = [one["at"] for one in done.tries]
    gaps = [(after - before) / 1e6 for before, after in itertools.pairwise(moments)]
    assert gaps == [*DELAYS, DELAYS[-1]]
    assert done.status == "failed"
    assert "onnect" in done.tries[0]["error"]


async def test_a_run_on_another_loop_is_told_from_the_servers(storage, clock):
    with receiving() as receiver:
        async with WebhookSender(settings(), storage, clock) as webhooks:
            finalized = FinalizedRun(run=run(webhook=receiver.url), status="success", error=None, values_json=b"{}")
            finalized.delivery = webhooks.made(finalized)
            await storage.write(lambda tx: tx.deliveries.insert(finalized.delivery))
            await asyncio.to_thread(lambda: asyncio.run(webhooks.after_run(finalized)))
            await until(storage, finalized.delivery, ended)
        assert len(receiver.received) == 1


# --- whose try it is ---


async def test_what_a_process_left_is_told_at_the_next_start(storage, clock):
    with receiving() as receiver:
        dead = WebhookSender(settings(), storage, clock)
        async with dead:
            finalized = FinalizedRun(run=run(webhook=receiver.url), status="success", error=None, values_json=b"{}")
            delivery = dead.made(finalized)
            await storage.write(lambda tx: tx.deliveries.insert(delivery))
        assert receiver.received == []
        async with delivering(storage, clock):
            assert (await until(storage, delivery, ended)).status == "delivered"


async def test_another_process_takes_over_when_a_claim_is_over_and_the_first_may_not_write(storage, clock):
    with receiving() as receiver:
        async with WebhookSender(settings(), storage, clock) as slow, delivering(storage, clock, single_process=False):
            finalized = FinalizedRun(run=run(webhook=receiver.url), status="success", error=None, values_json=b"{}")
            delivery = slow.made(finalized)
            await storage.write(lambda tx: tx.deliveries.insert(delivery))
            clock.move(CLAIM_SECONDS - 1)
            await asyncio.sleep(0.05)
            assert receiver.received == []
            clock.move(POLL_INTERVAL_SECONDS)
            done = await until(storage, delivery, ended)
            assert (done.status, done.claims) == ("delivered", 2)
            late = msgspec.structs.replace(delivery, status="failed")
            assert not await storage.write(lambda tx: tx.deliveries.note(late))
        assert len(receiver.received) == 1


# --- the log ---


async def test_a_delivery_can_be_made_again(storage, clock):
    with receiving(500, 500, 500, 200) as receiver:
        async with delivering(storage, clock) as webhooks:
            service = DeliveryService(guard=OPEN, storage=storage, clock=clock, webhooks=webhooks)
            receiver.answers.clear()
            delivery = await end(storage, webhooks, webhook=receiver.url)
            with pytest.raises(Conflict, match="under way"):
                await service.redeliver(SYSTEM, delivery.delivery_id)
            receiver.answers.set()
            assert (await until(storage, delivery, ended, clock)).status == "failed"
            again = await service.redeliver(SYSTEM, delivery.delivery_id)
            assert (again.status, again.tries_left, len(again.tries)) == ("pending", 3, 3)
            done = await until(storage, delivery, ended, clock)
            assert (done.status, len(done.tries)) == ("delivered", 4)
            found, following, total = await service.search(SYSTEM, DeliveryQuery(run_id="r"))
            assert ([one.status for one in found], following, total) == (["delivered"], None, 1)
            with pytest.raises(NotFound):
                await service.get(SYSTEM, "no-such")
        assert len({headers["webhook-id"] for _, headers, _ in receiver.received}) == 1
