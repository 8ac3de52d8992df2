"""Webhooks and deliveries."""

from typing import Literal

import msgspec


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription of a project to events.

    :ivar events: types of events; empty for all.
    :ivar secret: key that signs requests, `whsec_...`.
    :ivar enabled: false after the receiver has returned 410 Gone.
    """

    id: str
    project_id: str
    url: str
    events: tuple[str, ...]
    secret: str
    enabled: bool
    created_at: int


DeliveryStatus = Literal["WAITING", "DELIVERED", "FAILED"]


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One event on its way to one webhook.

    :ivar id: id of the event, the same for every attempt.
    :ivar event: type of the event.
    :ivar subject: id of the task or incident.
    :ivar body: the CloudEvent.
    :ivar queued: the next attempt is enqueued.
    :ivar next_try_at: earliest time of the next attempt; None for immediately.
    :ivar http_status: status of the last response; None without a response, `error` then has the reason.
    """

    id: str
    webhook_id: str
    event: str
    subject: str
    body: str
    created_at: int
    status: DeliveryStatus = "WAITING"
    attempts: int = 0
    queued: bool = False
    next_try_at: int | None = None
    http_status: int | None = None
    error: str = ""
