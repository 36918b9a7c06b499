"""Notifies webhooks of the ends of runs, with repeated attempts.

A delivery is stored in the transaction that ends its run, so it survives the process. One process at a time claims it and makes
an attempt. A receiver may get the same delivery twice, with the same id, if the process dies before it stores the response.
"""

import asyncio
import functools
import logging
import uuid
from collections.abc import Callable
from types import TracebackType
from typing import Any

import httpx

from threadloom.clock import SECOND, Clock
from threadloom.config.settings import Settings
from threadloom.engine.finalize import FinalizedRun
from threadloom.engine.retention import DAY
from threadloom.errors import Invalid, StorageError
from threadloom.ids import new_id
from threadloom.services.webhooks.payload import payload, sent
from threadloom.services.webhooks.policy import WebhookPolicy
from threadloom.services.webhooks.post import TIMEOUT, Poster
from threadloom.services.webhooks.shares import HostShares, host_of
from threadloom.storage.base import Storage
from threadloom.types import Delivery

log = logging.getLogger("threadloom.webhooks")

DELAYS = (1.3, 1.4, 10, 60, 300, 1800, 7200)
"""Seconds between two attempts. The last value applies to all further attempts."""

CLAIM_SECONDS = 3 * TIMEOUT
"""How long a claim holds. An attempt is finished and stored long before, or its process is dead."""

MOST = 100
"""Attempts that a process makes at once. `shares` limits how many of them are for one host."""

POLL_INTERVAL_SECONDS = 15.0
"""How often deliveries of other processes are looked for."""

CONTESTED_SECONDS = 0.1
"""How soon the query is repeated if another process claims the due deliveries."""

CLOSE_SECONDS = 5.0
"""Seconds that current attempts get when the server stops."""

KEPT_TRIES = 20
"""The latest attempts that a delivery's record keeps."""


class WebhookSender:
    """Creates deliveries and delivers them. A context manager: on exit, current attempts get a few seconds.

    Args:
        single_process: whether no other process delivers, so that all claims are void at start.
        app: returns the server's own ASGI app, for relative URLs.
    """

    def __init__(
        self,
        settings: Settings,
        storage: Storage,
        clock: Clock,
        *,
        single_process: bool = True,
        app: Callable[[], Any] = lambda: None,
    ) -> None:
        self.id = uuid.uuid4().hex
        self._poster = Poster(app)
        self.apply_settings(settings)
        self._storage = storage
        self._clock = clock
        self._single_process = single_process
        self._home: asyncio.AbstractEventLoop | None = None
        self._woken = asyncio.Event()
        self._under_way: set[asyncio.Task[None]] = set()
        self._shares = HostShares(MOST)

    def apply_settings(self, settings: Settings) -> None:
        """Replaces the settings, from the next delivery on."""
        own = settings.threadloom
        self._poster.apply_settings(
            WebhookPolicy(settings.webhooks), settings.webhooks.headers, own.webhook_secrets, settings.http.mount_prefix
        )
        self.tries = own.webhook_tries
        self._disabled = settings.http.disable_webhooks
        self._kept = int(own.retention.deliveries_days * DAY)

    async def __aenter__(self) -> "WebhookSender":
        self._home = asyncio.get_running_loop()
        if self._single_process:
            now = self._clock.now()
            await self._storage.write(lambda tx: tx.deliveries.release(now))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.sleep(0)  # lets attempts start that runs on other event loops have just requested
        if self._under_way:
            _, late = await asyncio.wait(self._under_way, timeout=CLOSE_SECONDS)
            for task in late:
                task.cancel()
            if late:
                log.warning("%d webhooks did not answer in time; they are told when the server runs again", len(late))
        await self._poster.close()

    # --- a run ends ---

    def made(self, finalized: FinalizedRun) -> Delivery | None:
        """Returns the delivery for a run that ends, or None if the run has no webhook. Called within the transaction of the run's
        end.

        If there is capacity, the delivery is claimed at once, so that no query is needed before the first attempt.
        """
        url = finalized.run.kwargs.get("webhook")
        if not url or self._disabled:
            return None
        now = self._clock.now()
        host = host_of(url)
        claimed = self._home is not None and self._shares.may_start(host)
        return Delivery(
            delivery_id=new_id(),
            run_id=finalized.run.run_id,
            thread_id=finalized.run.thread_id,
            url=url,
            host=host,
            body_json=payload(finalized, now),
            created_at=now,
            updated_at=now,
            due=_claim_end(now) if claimed else now,
            worker=self.id if claimed else None,
            claims=int(claimed),
            tries_left=self.tries,
        )

    async def after_run(self, finalized: FinalizedRun) -> None:
        """Starts the delivery of a run that has ended, if there is one, without waiting for it. May be called from any event
        loop.
        """
        delivery = finalized.delivery
        if delivery is None or self._home is None:
            return
        begin = (self.wake, ()) if delivery.worker is None else (self._begin, (delivery,))
        if asyncio.get_running_loop() is self._home:
            begin[0](*begin[1])
        else:
            self._home.call_soon_threadsafe(begin[0], *begin[1])

    # --- what is due ---

    def wake(self) -> None:
        """Signals that a delivery may be due now."""
        self._woken.set()

    async def recompute_due(self, now: int, ahead: int) -> None:
        """Makes deliveries due now whose due time was computed more than `ahead` after now, because the clock was set back."""
        await self._storage.write(lambda tx: tx.deliveries.recompute_due(now, ahead, _claim_end(now)))
        self.wake()

    async def run(self) -> None:
        """Delivers what becomes due, until it is cancelled."""
        while True:
            self._woken.clear()
            try:
                seconds = POLL_INTERVAL_SECONDS if self._disabled else await self._take_due()
            except StorageError:
                log.exception("deliveries of webhooks cannot be claimed")
                seconds = POLL_INTERVAL_SECONDS
            await self._wait(seconds)

    async def _take_due(self) -> float:
        """Starts the attempts that are due. Returns the seconds until the next query; the end of an attempt wakes the task
        earlier.
        """
        while (batch := self._shares.batch()) > 0:
            now, full = self._clock.now(), self._shares.saturated()
            due = await self._storage.read(lambda tx: tx.deliveries.next_due(full))  # noqa: B023
            if due is None:
                break
            if due > now:
                return min(max(due - self._clock.now(), 0) / SECOND, POLL_INTERVAL_SECONDS)
            claimed = await self._storage.write(
                lambda tx: tx.deliveries.claim(self.id, now, _claim_end(now), batch, full)  # noqa: B023
            )
            for delivery in claimed:
                self._begin(delivery)
            if not claimed:
                return CONTESTED_SECONDS
        return POLL_INTERVAL_SECONDS

    async def _wait(self, seconds: float) -> None:
        waits = [asyncio.ensure_future(wait) for wait in (self._clock.sleep(seconds), self._woken.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    # --- one attempt ---

    def _begin(self, delivery: Delivery) -> None:
        task = asyncio.ensure_future(self._deliver(delivery))
        self._under_way.add(task)
        self._shares.start(delivery.host)
        task.add_done_callback(functools.partial(self._ended, delivery.host))

    def _ended(self, host: str, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._shares.end(host)
        if not task.cancelled() and (error := task.exception()):
            log.error("a webhook could not be told", exc_info=error)
        self.wake()

    async def _deliver(self, delivery: Delivery) -> None:
        """Makes one attempt and stores its result."""
        began = self._clock.now()
        outcome = await self._try(delivery)
        now = self._clock.now()
        delivery.tries = [*delivery.tries, {"at": began, **outcome}][-KEPT_TRIES:]
        delivery.updated_at = now
        delivery.tries_left -= 1
        if "error" not in outcome:
            delivery.status = "delivered"
        elif delivery.tries_left <= 0:
            delivery.status = "failed"
        if delivery.status == "pending":
            delivery.due = now + int(_delay(self.tries - delivery.tries_left) * SECOND)
        else:
            delivery.expires_at = now + self._kept
        noted = await self._storage.write(lambda tx: tx.deliveries.note(delivery))
        if noted and delivery.status == "failed":
            where, times = shown(delivery.url), self.tries
            log.warning("Webhook %s was not told in %d tries: %s", where, times, outcome["error"])

    async def _try(self, delivery: Delivery) -> dict[str, Any]:
        if not delivery.body_json:
            return {"error": "what is to be told cannot be decrypted"}
        now = self._clock.now()
        body = sent(delivery.body_json, now)
        try:
            status = await self._poster.post(delivery.url, body, message=delivery.delivery_id, seconds=now // SECOND)
        except Invalid as refused:
            # The name resolves to other addresses than when the run was created, or there is no network: then another attempt
            # may succeed.
            return {"error": refused.detail}
        except TimeoutError:
            return {"error": f"no answer within {TIMEOUT:g} seconds"}
        except (httpx.HTTPError, OSError) as failure:
            return {"error": str(failure) or type(failure).__name__}
        if 200 <= status < 300:
            return {"status": status}
        return {"status": status, "error": f"it answered {status}"}


def shown(url: str) -> str:
    """Returns a URL without its query, which may hold a secret, truncated for logs."""
    return url.partition("?")[0].partition("#")[0][:200]


def _claim_end(now: int) -> int:
    return now + int(CLAIM_SECONDS * SECOND)


def _delay(made: int) -> float:
    """Returns the seconds until the next attempt, after `made` attempts."""
    return DELAYS[min(made, len(DELAYS)) - 1]
