"""Webhooks, and the deliveries of events to them.

A transactional outbox: the transaction of a change stores its event once for each webhook that subscribes to it. So no
event is lost, and no event describes a change that was rolled back. Secrets are stored encrypted.
"""

import itertools
import uuid
from typing import Any

import msgspec
import sqlalchemy as sa

from cachewright.model.tasks import Task
from cachewright.model.webhooks import Delivery, Webhook
from cachewright.store import webhook_events
from cachewright.store.database import secret_cipher
from cachewright.store.rows import from_row, to_row
from cachewright.store.tables import deliveries, webhooks

_WITHOUT_BODY = [column for column in deliveries.c if column.name not in {"sequence", "body"}]


def announce(connection: sa.Connection, task: Task) -> None:
    """Store the event of a task's status for the project's webhooks."""
    at = task.end_time or task.begin_time or task.created_at
    publish(connection, task.project_id, webhook_events.of_task(task), at)


def publish(connection: sa.Connection, project_id: str, event: webhook_events.CloudEvent, at: int) -> None:
    """Store the event for each of the project's webhooks that subscribes to its type."""
    for webhook_id in _subscribed(connection, project_id, event.type):
        send(connection, webhook_id, msgspec.structs.replace(event, id=uuid.uuid4().hex), at)


def _subscribed(connection: sa.Connection, project_id: str, event_type: str) -> list[str]:
    query = sa.select(webhooks.c.id, webhooks.c.events).where(webhooks.c.project_id == project_id, webhooks.c.enabled)
    rows = connection.execute(query).all()
    return [row.id for row in rows if event_type in (msgspec.json.decode(row.events) or [event_type])]


def send(connection: sa.Connection, webhook_id: str, event: webhook_events.CloudEvent, at: int) -> Delivery:
    delivery = Delivery(
        id=event.id,
        webhook_id=webhook_id,
        event=event.type,
        subject=event.subject,
        body=msgspec.json.encode(event).decode(),
        created_at=at,
    )
    connection.execute(deliveries.insert().values(to_row(delivery)))
    return delivery


def add(connection: sa.Connection, webhook: Webhook) -> None:
    """Store a webhook in the lowest free slot of its project."""
    encrypted = msgspec.structs.replace(webhook, secret=secret_cipher(connection).encrypt(webhook.secret))
    query = sa.select(webhooks.c.slot).where(webhooks.c.project_id == webhook.project_id)
    taken = set(connection.execute(query).scalars())
    slot = next(number for number in itertools.count() if number not in taken)
    connection.execute(webhooks.insert().values(**to_row(encrypted), slot=slot))


def of_project(connection: sa.Connection, project_id: str) -> list[Webhook]:
    """Return the webhooks of a project, oldest first."""
    query = webhooks.select().where(webhooks.c.project_id == project_id)
    rows = connection.execute(query.order_by(webhooks.c.created_at, webhooks.c.id))
    return [_with_decrypted_secret(connection, row) for row in rows]


def get(connection: sa.Connection, webhook_id: str) -> Webhook | None:
    row = connection.execute(webhooks.select().where(webhooks.c.id == webhook_id)).one_or_none()
    return _with_decrypted_secret(connection, row) if row else None


def disable(connection: sa.Connection, webhook_id: str) -> None:
    connection.execute(webhooks.update().where(webhooks.c.id == webhook_id).values(enabled=False))


def remove(connection: sa.Connection, webhook_id: str) -> None:
    """Delete a webhook with its deliveries."""
    connection.execute(deliveries.delete().where(deliveries.c.webhook_id == webhook_id))
    connection.execute(webhooks.delete().where(webhooks.c.id == webhook_id))


def page(connection: sa.Connection, webhook_id: str, *, offset: int, limit: int) -> tuple[int, list[Delivery]]:
    """Return the number of deliveries, and one page of them without their bodies, newest first."""
    is_of_webhook = deliveries.c.webhook_id == webhook_id
    count = connection.execute(sa.select(sa.func.count()).select_from(deliveries).where(is_of_webhook)).scalar_one()
    query = sa.select(*_WITHOUT_BODY, sa.literal("").label("body")).where(is_of_webhook)
    rows = connection.execute(query.order_by(deliveries.c.sequence.desc()).offset(offset).limit(limit))
    return count, [from_row(Delivery, row._mapping) for row in rows]


def delivery(connection: sa.Connection, delivery_id: str) -> Delivery | None:
    row = connection.execute(deliveries.select().where(deliveries.c.id == delivery_id)).one_or_none()
    return from_row(Delivery, row._mapping) if row else None


def unqueued(connection: sa.Connection, limit: int) -> list[tuple[Delivery, str]]:
    """Return deliveries whose next attempt is not queued, oldest first, each with its partition of the queue.

    A partition is a slot of a project, not a webhook. So concurrent requests are limited by the number of webhooks that
    a project may have, even if it creates and deletes many.
    """
    columns = (*_WITHOUT_BODY, sa.literal("").label("body"), webhooks.c.project_id, webhooks.c.slot)
    joined = deliveries.join(webhooks, webhooks.c.id == deliveries.c.webhook_id)
    query = sa.select(*columns).select_from(joined).where(sa.not_(deliveries.c.queued))
    rows = connection.execute(query.order_by(deliveries.c.sequence).limit(limit)).all()
    return [(from_row(Delivery, row._mapping), f"{row.project_id}.{row.slot}") for row in rows]


def newest_tests(connection: sa.Connection, webhook_id: str, limit: int) -> list[Delivery]:
    """Return the last test events of a webhook, newest first."""
    query = sa.select(*_WITHOUT_BODY, sa.literal("").label("body")).where(
        deliveries.c.webhook_id == webhook_id, deliveries.c.event == webhook_events.TEST
    )
    rows = connection.execute(query.order_by(deliveries.c.sequence.desc()).limit(limit))
    return [from_row(Delivery, row._mapping) for row in rows]


def change(connection: sa.Connection, delivery_id: str, **values: Any) -> None:
    connection.execute(deliveries.update().where(deliveries.c.id == delivery_id).values(values))


def forget(connection: sa.Connection, before: int) -> None:
    """Delete deliveries of events before that time."""
    connection.execute(deliveries.delete().where(deliveries.c.created_at < before))


def _with_decrypted_secret(connection: sa.Connection, row: sa.Row[tuple[Any, ...]]) -> Webhook:
    webhook = from_row(Webhook, row._mapping)
    return msgspec.structs.replace(webhook, secret=secret_cipher(connection).decrypt(webhook.secret))
