"""Webhooks of a project: create, list, test and delete them."""

import base64
import secrets
import uuid

import sqlalchemy as sa

from cachewright import errors
from cachewright.clock import now_ms
from cachewright.errors import ApiError
from cachewright.hosts.addresses import is_allowed, literal, own_addresses
from cachewright.model.identity import Principal
from cachewright.model.webhooks import Delivery, Webhook
from cachewright.store import webhook_events, webhooks
from cachewright.store.database import Database

MOST_WEBHOOKS = 10
MOST_TESTS = 5
TEST_SECONDS = 10
"""Period for the limit on test events: a webhook gets no more while `MOST_TESTS` are waiting or younger than this."""

_SECRET_BYTES = 32


class WebhookService:
    def __init__(self, database: Database, *, to_private: bool) -> None:
        """:param to_private: whether events may be sent to private addresses."""
        self._database = database
        self._to_private = to_private

    def create(self, principal: Principal, url: str, host: str, events: tuple[str, ...]) -> Webhook:
        """Create a webhook for `url`, whose host is `host`. Raises ApiError DCS.4062 if the address is not allowed,
        DCS.4966 if the project has reached its limit of webhooks."""
        address = literal(host)
        if address and not is_allowed(address, to_private=self._to_private, own=own_addresses()):
            raise ApiError(errors.INVALID_PARAMETER, parameter="url", reason="events are not sent to this address")
        webhook = Webhook(
            id=uuid.uuid4().hex,
            project_id=principal.project_id,
            url=url,
            events=events,
            secret=f"whsec_{base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()}",
            enabled=True,
            created_at=now_ms(),
        )
        with self._database.write() as connection:
            if len(webhooks.of_project(connection, principal.project_id)) >= MOST_WEBHOOKS:
                raise ApiError(errors.TOO_MANY_WEBHOOKS)
            webhooks.add(connection, webhook)
        return webhook

    def all(self, principal: Principal) -> list[Webhook]:
        """Return all webhooks of the project."""
        with self._database.read() as connection:
            return webhooks.of_project(connection, principal.project_id)

    def delete(self, principal: Principal, webhook_id: str) -> None:
        """Delete the webhook and its deliveries. Raises ApiError DCS.4967."""
        with self._database.write() as connection:
            webhooks.remove(connection, _webhook_of(connection, principal, webhook_id).id)

    def send_test_event(self, principal: Principal, webhook_id: str) -> Delivery:
        """Send a test event. Raises ApiError DCS.4967, or DCS.4962 if there are too many test events."""
        now = now_ms()
        with self._database.write() as connection:
            webhook = _webhook_of(connection, principal, webhook_id)
            newest = webhooks.newest_tests(connection, webhook.id, MOST_TESTS)
            if sum(_is_counted(test, now) for test in newest) >= MOST_TESTS:
                raise ApiError(errors.TOO_MANY_REQUESTS, retry_after=TEST_SECONDS)
            return webhooks.send(
                connection, webhook.id, webhook_events.of_test(principal.project_id, webhook.id, now), now
            )

    def deliveries(
        self, principal: Principal, webhook_id: str, *, offset: int, limit: int
    ) -> tuple[int, list[Delivery]]:
        """Return the number of the webhook's deliveries and one page, newest first. Raises ApiError DCS.4967."""
        with self._database.read() as connection:
            webhook = _webhook_of(connection, principal, webhook_id)
            return webhooks.page(connection, webhook.id, offset=offset, limit=limit)


def _is_counted(test: Delivery, now: int) -> bool:
    return test.status == "WAITING" or 0 <= now - test.created_at < TEST_SECONDS * 1000


def _webhook_of(connection: sa.Connection, principal: Principal, webhook_id: str) -> Webhook:
    """Return a webhook of the caller's project. Raises ApiError DCS.4967."""
    webhook = webhooks.get(connection, webhook_id)
    if webhook is None or webhook.project_id != principal.project_id:
        raise ApiError(errors.WEBHOOK_NOT_FOUND)
    return webhook
