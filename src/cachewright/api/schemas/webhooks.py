"""Shapes of webhooks and of what was delivered to them."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec

from cachewright.api.schemas import iso, rfc3339
from cachewright.model.webhooks import Delivery, Webhook

EventType = Literal[
    "io.cachewright.task.waiting",
    "io.cachewright.task.executing",
    "io.cachewright.task.succeeded",
    "io.cachewright.task.failed",
    "io.cachewright.incident.began",
    "io.cachewright.incident.ended",
]
_Url = Annotated[str, msgspec.Meta(min_length=8, max_length=2048, pattern=r"\Ahttps?://[!-~]+\Z")]


class WebhookBody(msgspec.Struct, frozen=True):
    """`events` names the types that are wanted; all of them where it is left out or empty."""

    url: _Url
    events: Annotated[list[EventType], msgspec.Meta(max_length=6)] = msgspec.field(default_factory=list)

    def is_addressed(self) -> bool:
        """Whether a request could be sent to `url`, and says nothing there that is not sent."""
        try:
            parts = urlsplit(self.url)
            return bool(parts.hostname) and parts.port != 0 and parts.username is None and not parts.fragment
        except ValueError:
            return False

    def host(self) -> str:
        """The host of `url`, where that is addressed."""
        return urlsplit(self.url).hostname or ""


class ShownWebhook(msgspec.Struct, frozen=True, kw_only=True):
    """`enabled` is false once the receiver has answered 410."""

    id: str
    url: str
    events: tuple[str, ...]
    enabled: bool
    created_at: str


class CreatedWebhook(ShownWebhook, frozen=True, kw_only=True):
    """`secret` is shown this once: what is sent is signed with it."""

    secret: str


class WebhookList(msgspec.Struct, frozen=True):
    """Oldest first."""

    webhooks: list[ShownWebhook]


class ShownDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """One event on its way. `http_status` and `error` are those of the last attempt."""

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
    """`count` is that of all, not of this page."""

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
