"""Webhooks: an extension of this project. For admins: an address may hold a secret."""

from litestar import Response, delete, get, post

from cachewright.api import answers, asked
from cachewright.api.auth.guard import name_subjects
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import Body, Call, PathId, Plane, Query, in_thread
from cachewright.api.wire import webhooks as wire
from cachewright.api.wire.paging import PageQuery
from cachewright.hosts.addresses import is_allowed, literal, own_addresses
from cachewright.operations.notify import add_webhook, remove_webhook, try_webhook, webhook_of
from cachewright.store import outbox

_WEBHOOKS = "/v2/{project_id:str}/webhooks"
_WEBHOOK = _WEBHOOKS + "/{webhook_id:str}"


@post(_WEBHOOKS, status_code=200, opt=needs("dcs:webhook:modify"))
@in_thread
def create_webhook(request: Call, plane: Plane, body: Body[wire.WebhookBody]) -> Response[wire.CreatedWebhook]:
    """From now on every change of a task's status is sent there: a CloudEvent, signed as Standard Webhooks has it."""
    wished = body.read()
    if not wished.is_addressed():
        raise asked.refused("url", "it needs a host, and neither a user nor a fragment")
    address = literal(wished.host())
    if address and not is_allowed(address, to_private=plane.settings.webhooks_to_private, own=own_addresses()):
        raise asked.refused("url", "events are not sent to this address")
    made = add_webhook(plane.database, asked.principal(request), wished.url, tuple(dict.fromkeys(wished.events)))
    name_subjects(request, [made.id])
    return answers.json(wire.created(made))


@get(_WEBHOOKS, opt=needs("dcs:webhook:list"))
@in_thread
def list_webhooks(request: Call, plane: Plane) -> Response[wire.WebhookList]:
    """Without their secrets."""
    with plane.database.read() as connection:
        found = outbox.of_project(connection, asked.principal(request).project_id)
    return answers.json(wire.WebhookList([wire.shown(webhook) for webhook in found]))


@delete(_WEBHOOK, status_code=204, opt=needs("dcs:webhook:modify"))
@in_thread
def delete_webhook(request: Call, plane: Plane, webhook_id: PathId) -> Response[None]:
    """With everything that was on its way."""
    remove_webhook(plane.database, asked.principal(request), asked.webhook_id(webhook_id))
    return answers.no_content()


@post(_WEBHOOK + "/test", status_code=200, opt=needs("dcs:webhook:modify"))
@in_thread
def test_webhook(request: Call, plane: Plane, webhook_id: PathId) -> Response[wire.ShownDelivery]:
    """Sends a test event. At most five in ten seconds, and five that wait, for each webhook."""
    sent = try_webhook(plane.database, asked.principal(request), asked.webhook_id(webhook_id))
    return answers.json(wire.shown_delivery(sent))


@get(_WEBHOOK + "/deliveries", opt=needs("dcs:webhook:list"))
@in_thread
def list_deliveries(
    request: Call, plane: Plane, webhook_id: PathId, wanted: Query[PageQuery]
) -> Response[wire.DeliveryList]:
    """What was sent and what came of it, newest first."""
    query = wanted.read()
    with plane.database.read() as connection:
        webhook = webhook_of(connection, asked.principal(request), asked.webhook_id(webhook_id))
        count, page = outbox.page(connection, webhook.id, offset=query.offset, limit=query.limit)
    return answers.json(wire.DeliveryList(count, [wire.shown_delivery(delivery) for delivery in page]))
