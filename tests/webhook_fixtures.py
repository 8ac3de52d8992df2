"""Webhook delivery in this process: a database, DBOS and the worker, for tests that inspect them."""

import asyncio
import base64
import contextlib
import secrets
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from cachewright.clock import now_ms
from cachewright.heartbeats import LoopHeartbeats
from cachewright.model.webhooks import Delivery, Webhook
from cachewright.store import webhook_events, webhooks
from cachewright.tasks.engine import Engine
from cachewright.tasks.feed import TaskFeed
from cachewright.webhooks.delivery import WebhookDeliveryWorker
from database_fixtures import new_database

PATIENCE_SECONDS = 60
SECRET = f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"


class Post:
    """A running webhook delivery worker."""

    def __init__(self, folder: Path, *, to_private: bool = True) -> None:
        self.database = new_database(folder)
        self._engine = Engine(self.database, {}, TaskFeed())
        self._worker = worker = WebhookDeliveryWorker(self.database, LoopHeartbeats(), to_private=to_private)
        worker.start(self._engine.start())
        self._loop = asyncio.new_event_loop()
        self._running = self._loop.create_task(worker.run())
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._running)
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._running.cancel)
        self._thread.join()
        self._worker.stop()
        self._engine.stop()
        self.database.close()

    def webhook(self, url: str, project_id: str = "p") -> str:
        hook = Webhook(
            id=uuid.uuid4().hex,
            project_id=project_id,
            url=url,
            events=(),
            secret=SECRET,
            enabled=True,
            created_at=now_ms(),
        )
        with self.database.write() as connection:
            webhooks.add(connection, hook)
        return hook.id

    def send(self, webhook_id: str) -> str:
        now = now_ms()
        with self.database.write() as connection:
            return webhooks.send(connection, webhook_id, webhook_events.of_test("p", webhook_id, now), now).id

    def until(self, delivery_id: str, condition: Callable[[Delivery], bool]) -> Delivery:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            with self.database.read() as connection:
                found = webhooks.delivery(connection, delivery_id)
            assert found
            if condition(found):
                return found
            assert time.monotonic() < deadline, found
            time.sleep(0.05)

    def over(self, delivery_id: str) -> Delivery:
        return self.until(delivery_id, lambda delivery: delivery.status != "WAITING")
