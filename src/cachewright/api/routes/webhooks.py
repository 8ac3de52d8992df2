"""Webhooks: an extension of this project. For admins: an address may hold a secret."""

from litestar import Response, delete, get, post

from cachewright.api import requests, responses
from cachewright.api.auth.authorization import name_subjects
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import Body, Call, PathId, Plane, Query, in_thread
from cachewright.api.schemas import webhooks as schemas
from cachewright.api.schemas.paging import PageQuery
from cachewright.hosts.addresses import is_allowed, literal, own_addresses
from cachewright.services.webhooks import add_webhook, remove_webhook, send_test_event, webhook_of
from cachewright.store import webhooks

_WEBHOOKS = "/v2/{project_id:str}/webhooks"
_WEBHOOK = _WEBHOOKS + "/{webhook_id:str}"


@post(_WEBHOOKS, status_code=200, opt=needs("dcs:webhook:modify"))
@in_thread
def create_webhook(request: Call, plane: Plane, body: Body[schemas.WebhookBody]) -> Response[schemas.CreatedWebhook]:
    """From now on every change of a task's status is sent there: a CloudEvent, signed as Standard Webhooks has it."""
    wished = body.read()
    if not wished.is_addressed():
        raise requests.refused("url", "it needs a host, and neither a user nor a fragment")
    address = literal(wished.host())
    if address and not is_allowed(address, to_private=plane.settings.webhooks_to_private, own=own_addresses()):
        raise requests.refused("url", "events are not sent to this address")
    made = add_webhook(plane.database, requests.principal(request), wished.url, tuple(dict.fromkeys(wished.events)))
    name_subjects(request, [made.id])
    return responses.json(schemas.created(made))


@get(_WEBHOOKS, opt=needs("dcs:webhook:list"))
@in_thread
def list_webhooks(request: Call, plane: Plane) -> Response[schemas.WebhookList]:
    """Without their secrets."""
    with plane.database.read() as connection:
        found = webhooks.of_project(connection, requests.principal(request).project_id)
    return responses.json(schemas.WebhookList([schemas.shown(webhook) for webhook in found]))


@delete(_WEBHOOK, status_code=204, opt=needs("dcs:webhook:modify"))
@in_thread
def delete_webhook(request: Call, plane: Plane, webhook_id: PathId) -> Response[None]:
    """With everything that was on its way."""
    remove_webhook(plane.database, requests.principal(request), requests.webhook_id(webhook_id))
    return responses.no_content()


@post(_WEBHOOK + "/test", status_code=200, opt=needs("dcs:webhook:modify"))
@in_thread
def test_webhook(request: Call, plane: Plane, webhook_id: PathId) -> Response[schemas.ShownDelivery]:
    """Sends a test event. At most five in ten seconds, and five that wait, for each webhook."""
    sent = send_test_event(plane.database, requests.principal(request), requests.webhook_id(webhook_id))
    return responses.json(schemas.shown_delivery(sent))


@get(_WEBHOOK + "/deliveries", opt=needs("dcs:webhook:list"))
@in_thread
def list_deliveries(
    request: Call, plane: Plane, webhook_id: PathId, wanted: Query[PageQuery]
) -> Response[schemas.DeliveryList]:
    """What was sent and what came of it, newest first."""
    query = wanted.read()
    with plane.database.read() as connection:
        webhook = webhook_of(connection, requests.principal(request), requests.webhook_id(webhook_id))
        count, page = webhooks.page(connection, webhook.id, offset=query.offset, limit=query.limit)
    return responses.json(schemas.DeliveryList(count, [schemas.shown_delivery(delivery) for delivery in page]))
