"""Webhooks of a project: made, tried and taken away."""

import base64
import secrets
import uuid

import sqlalchemy as sa

from cachewright import errors
from cachewright.clock import now_ms
from cachewright.errors import ApiError
from cachewright.model.identity import Principal
from cachewright.model.webhooks import Delivery, Webhook
from cachewright.store import webhook_events, webhooks
from cachewright.store.database import Database

MOST_WEBHOOKS = 10
MOST_TESTS = 5
TEST_SECONDS = 10
"""A webhook is sent no test event while it has `MOST_TESTS` that are waiting or younger than this."""

_SECRET_BYTES = 32


def add_webhook(database: Database, who: Principal, url: str, wanted: tuple[str, ...]) -> Webhook:
    """ApiError DCS.4966 where the project has as many as it may."""
    made = Webhook(
        id=uuid.uuid4().hex,
        project_id=who.project_id,
        url=url,
        events=wanted,
        secret=f"whsec_{base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()}",
        enabled=True,
        created_at=now_ms(),
    )
    with database.write() as connection:
        if len(webhooks.of_project(connection, who.project_id)) >= MOST_WEBHOOKS:
            raise ApiError(errors.TOO_MANY_WEBHOOKS)
        webhooks.add(connection, made)
    return made


def remove_webhook(database: Database, who: Principal, webhook_id: str) -> None:
    """ApiError DCS.4967."""
    with database.write() as connection:
        webhooks.remove(connection, webhook_of(connection, who, webhook_id).id)


def send_test_event(database: Database, who: Principal, webhook_id: str) -> Delivery:
    """Sends a test event. ApiError DCS.4967, or DCS.4962 where there are too many already."""
    now = now_ms()
    with database.write() as connection:
        webhook = webhook_of(connection, who, webhook_id)
        newest = webhooks.newest_tests(connection, webhook.id, MOST_TESTS)
        if sum(_is_counted(test, now) for test in newest) >= MOST_TESTS:
            raise ApiError(errors.TOO_MANY_REQUESTS, retry_after=TEST_SECONDS)
        return webhooks.send(connection, webhook.id, webhook_events.of_test(who.project_id, webhook.id, now), now)


def _is_counted(test: Delivery, now: int) -> bool:
    return test.status == "WAITING" or 0 <= now - test.created_at < TEST_SECONDS * 1000


def webhook_of(connection: sa.Connection, who: Principal, webhook_id: str) -> Webhook:
    """The caller's webhook of this id. ApiError DCS.4967 where there is none."""
    webhook = webhooks.get(connection, webhook_id)
    if webhook is None or webhook.project_id != who.project_id:
        raise ApiError(errors.WEBHOOK_NOT_FOUND)
    return webhook
