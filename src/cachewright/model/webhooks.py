"""Webhooks and deliveries, as they are stored."""

from typing import Literal

import msgspec


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """Where a project wants to be told of its tasks.

    :ivar events: types of events; all of them where it is empty.
    :ivar secret: what its requests are signed with, `whsec_...`.
    :ivar enabled: false once the receiver has said 410 Gone.
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

    :ivar id: the event's id too: the same for every attempt.
    :ivar event: its type; `subject` is the task's id.
    :ivar body: the CloudEvent as it is sent.
    :ivar queued: the next attempt is in line.
    :ivar next_try_at: not before then; None for at once.
    :ivar http_status: how the last attempt was answered; None where it was not, `error` then says why.
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
