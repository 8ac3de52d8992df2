"""Delivers events to webhooks with durable DBOS workflows.

Each attempt is one workflow. Its result is stored with the delivery; after a failure, the next attempt is enqueued with
a delay, so that no worker waits. The queue is partitioned by the webhook slots of projects and runs one attempt of each
partition at a time. So a project has at most as many concurrent requests as webhooks, and a slow receiver delays no
other webhook. Requests are coroutines of DBOS's event loop; the threads of this module only do database work.

The body is a CloudEvent; the signature is that of Standard Webhooks (https://www.standardwebhooks.com).
"""

import asyncio
import logging
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TypeVar

from dbos import DBOS
from standardwebhooks import Webhook as Signer

from cachewright.clock import now_ms
from cachewright.errors import DatabaseUnavailable
from cachewright.heartbeats import LoopHeartbeats
from cachewright.model.webhooks import Delivery, Webhook
from cachewright.store import webhook_events, webhooks
from cachewright.store.database import Database
from cachewright.tasks.queue import WakeableQueue
from cachewright.tasks.recorder import DATABASE_SECONDS
from cachewright.webhooks.requests import CheckedTransport, Lookups, post

log = logging.getLogger(__name__)

QUEUE = "webhooks"
DELAYS_SECONDS = (2, 10, 60, 600, 3600, 3 * 3600, 6 * 3600, 12 * 3600)
"""Delays before the second attempt, the third, ...; a day in total."""

_TEST_RETRIES = 2
"""Number of retries of a test event, whose sender waits for the result."""

_JITTER = 0.2
_IN_FLIGHT = 200
"""Maximum number of concurrent requests of all projects. Each uses a socket and some memory, but no thread."""

_THREADS = 4
_RELAY_SECONDS = 0.5
_RELAYED_AT_ONCE = 100
_GONE = 410
_ERROR_LIMIT = 200
_NO_ANSWER = "no HTTP response"

Result = TypeVar("Result")
_worker: "WebhookDeliveryWorker | None" = None


class WebhookDeliveryWorker:
    def __init__(
        self,
        database: Database,
        heartbeats: LoopHeartbeats,
        *,
        to_private: bool = True,
        queue_polling: bool = False,
    ) -> None:
        """:param to_private: send events also to loopback and private addresses.
        :param queue_polling: let DBOS poll the queue; deliveries can then start as soon as it is launched.
        """
        global _worker  # noqa: PLW0603  # DBOS has a process-wide registry of functions, see tasks/engine.py
        _worker = self
        self.database = database
        self._heartbeats = heartbeats
        self._to_private = to_private
        self._queue = WakeableQueue(QUEUE, at_once=_IN_FLIGHT, polling=queue_polling)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="webhooks")
        self._lookups = Lookups()

    def start(self, dbos: DBOS) -> None:
        self._queue.start(dbos)

    def stop(self) -> None:
        """Stop the queue. Must run before DBOS stops."""
        self._queue.stop()

    async def run(self) -> None:
        """Enqueue stored deliveries until cancelled."""
        while True:
            self._heartbeats.beat("webhook delivery")
            while await self._in_thread(self._relay) == _RELAYED_AT_ONCE:
                pass
            await asyncio.sleep(_RELAY_SECONDS)

    def _relay(self) -> int:
        """Enqueue deliveries and return their number. The queue ignores one whose id it already has after a crash."""
        with self.database.read() as connection:
            found = webhooks.unqueued(connection, _RELAYED_AT_ONCE)
        for delivery, partition in found:
            wait_ms = max(0, (delivery.next_try_at or 0) - now_ms())
            attempt_id = f"{delivery.id}.{delivery.attempts}"
            delay_seconds = wait_ms / 1000 if wait_ms else None
            self._queue.enqueue(attempt_id, partition, deliver, delivery.id, delay_seconds)
        if found:
            with self.database.write() as connection:
                for delivery, _ in found:
                    webhooks.change(connection, delivery.id, queued=True)
        return len(found)

    async def attempt(self, delivery_id: str) -> None:
        with self._queue.running():
            await self._attempt(delivery_id)

    async def _attempt(self, delivery_id: str) -> None:
        delivery, webhook = await self._with_database(lambda: self._load(delivery_id))
        if delivery is None or webhook is None or delivery.status != "WAITING":
            return
        if not webhook.enabled:
            await self._record(delivery, None, "the webhook is disabled", over=True)
            return
        try:
            status = await self._post(webhook, delivery)
        except Exception as error:  # any error fails the attempt and is shown to its owner
            await self._record(delivery, None, self._described(webhook, error))
            return
        if status == _GONE:
            log.warning("webhook %s: receiver returned 410 Gone; webhook disabled", webhook.id)
        await self._record(delivery, status, "", over=status == _GONE)

    async def _post(self, webhook: Webhook, delivery: Delivery) -> int:
        """Send the event and return the status of the response."""
        now = datetime.now(UTC)
        headers = {
            "content-type": "application/cloudevents+json; charset=UTF-8",
            "user-agent": "cachewright",
            "webhook-id": delivery.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Signer(webhook.secret).sign(delivery.id, now, delivery.body),
        }
        transport = CheckedTransport(self._lookups, webhook.project_id, to_private=self._to_private)
        return await post(transport, webhook.url, delivery.body.encode(), headers)

    def _described(self, webhook: Webhook, error: Exception) -> str:
        """Error of a failed attempt for its project. If private addresses are not allowed, the text is the same for
        every reason, so that it does not reveal open ports; the log has the reason."""
        reason = f"{type(error).__name__}: {error}"[:_ERROR_LIMIT]
        if self._to_private:
            return reason
        log.info("webhook %s of project %s: no HTTP response: %s", webhook.id, webhook.project_id, reason)
        return _NO_ANSWER

    def _load(self, delivery_id: str) -> tuple[Delivery | None, Webhook | None]:
        with self.database.read() as connection:
            delivery = webhooks.delivery(connection, delivery_id)
            return delivery, webhooks.get(connection, delivery.webhook_id) if delivery else None

    async def _record(self, delivery: Delivery, status: int | None, error: str, over: bool = False) -> None:
        await self._with_database(lambda: self._recorded(delivery, status, error, over))

    def _recorded(self, delivery: Delivery, status: int | None, error: str, over: bool) -> None:
        delivered = status is not None and 200 <= status < 300
        retries = _TEST_RETRIES if delivery.event == webhook_events.TEST else len(DELAYS_SECONDS)
        over = over or delivered or delivery.attempts >= retries
        delay = 0 if over else DELAYS_SECONDS[delivery.attempts] * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311  # spreads load, guards nothing
        with self.database.write() as connection:
            if status == _GONE:
                webhooks.disable(connection, delivery.webhook_id)
            webhooks.change(
                connection,
                delivery.id,
                status="DELIVERED" if delivered else "FAILED" if over else "WAITING",
                attempts=delivery.attempts + 1,
                queued=over,
                next_try_at=None if over else now_ms() + int(delay * 1000),
                http_status=status,
                error=error,
            )

    async def _with_database(self, act: Callable[[], Result]) -> Result:
        """Run database work; wait while the database is unavailable, because an unrecorded attempt would be lost."""
        while True:
            try:
                return await self._in_thread(act)
            except DatabaseUnavailable as error:
                log.warning("database unavailable, retrying: %s", error)
                await asyncio.sleep(DATABASE_SECONDS)

    async def _in_thread(self, act: Callable[[], Result]) -> Result:
        """Run `act` on a thread that neither requests nor tasks use."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, act)


@DBOS.workflow(name="deliver", max_recovery_attempts=1_000_000)
async def deliver(delivery_id: str) -> None:
    assert _worker is not None  # noqa: S101  # it registers itself before it enqueues
    await _worker.attempt(delivery_id)
