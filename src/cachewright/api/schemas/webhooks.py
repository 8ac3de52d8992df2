"""Shapes of webhooks and deliveries."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec

from cachewright.api.schemas import forms, iso, rfc3339
from cachewright.model.webhooks import Delivery, Webhook

EventType = Literal[
    "io.cachewright.task.waiting",
    "io.cachewright.task.executing",
    "io.cachewright.task.succeeded",
    "io.cachewright.task.failed",
    "io.cachewright.incident.began",
    "io.cachewright.incident.ended",
]
_Url = Annotated[str, msgspec.Meta(min_length=8, max_length=2048, pattern=forms.WEB_ADDRESS)]


class WebhookBody(msgspec.Struct, frozen=True):
    """`events` are the types to deliver. All types are delivered if it is omitted or empty."""

    url: _Url
    events: Annotated[list[EventType], msgspec.Meta(max_length=6)] = msgspec.field(default_factory=list)

    def is_addressed(self) -> bool:
        """Whether requests can be sent to `url`, and all of its parts are used in them."""
        try:
            parts = urlsplit(self.url)
            return bool(parts.hostname) and parts.port != 0 and parts.username is None and not parts.fragment
        except ValueError:
            return False

    def host(self) -> str:
        """Return the host of `url`, if `is_addressed`."""
        return urlsplit(self.url).hostname or ""


class ShownWebhook(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook. `enabled` is false after the receiver has responded with 410."""

    id: str
    url: str
    events: tuple[str, ...]
    enabled: bool
    created_at: str


class CreatedWebhook(ShownWebhook, frozen=True, kw_only=True):
    """A new webhook. `secret` is the key of the signatures; it is shown only once."""

    secret: str


class WebhookList(msgspec.Struct, frozen=True):
    """Webhooks, oldest first."""

    webhooks: list[ShownWebhook]


class ShownDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """Delivery of an event. `http_status` and `error` are those of the last attempt."""

    id: str
    event: str
    subject: str
    status: Literal["WAITING", "DELIVERED", "FAILED"]
    attempts: int
    http_status: int | None
    error: str
    created_at: str
    next_try_at: str | None


class DeliveryList(msgspec.Struct, frozen=True):
    """A page of deliveries. `count` is the number of all deliveries."""

    count: int
    deliveries: list[ShownDelivery]


def shown(webhook: Webhook) -> ShownWebhook:
    return ShownWebhook(
        id=webhook.id,
        url=webhook.url,
        events=webhook.events,
        enabled=webhook.enabled,
        created_at=rfc3339(webhook.created_at),
    )


def created(webhook: Webhook) -> CreatedWebhook:
    return CreatedWebhook(**msgspec.structs.asdict(shown(webhook)), secret=webhook.secret)


def shown_delivery(delivery: Delivery) -> ShownDelivery:
    return ShownDelivery(
        id=delivery.id,
        event=delivery.event,
        subject=delivery.subject,
        status=delivery.status,
        attempts=delivery.attempts,
        http_status=delivery.http_status,
        error=delivery.error,
        created_at=rfc3339(delivery.created_at),
        next_try_at=iso(delivery.next_try_at),
    )
