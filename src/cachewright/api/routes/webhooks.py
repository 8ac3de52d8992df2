"""Webhooks: an extension of this project. Only for admins, because URLs may contain secrets."""

from litestar import Response, delete, get, post

from cachewright.api import requests, responses
from cachewright.api.auth.authorization import name_subjects
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import Body, Call, Query, WebhookId, Webhooks, endpoint
from cachewright.api.schemas import webhooks as schemas
from cachewright.api.schemas.paging import PageQuery

_WEBHOOKS = "/v2/{project_id:str}/webhooks"
_WEBHOOK = _WEBHOOKS + "/{webhook_id:str}"


@post(_WEBHOOKS, status_code=200, opt=needs("dcs:webhook:modify"))
@endpoint
def create_webhook(
    request: Call, webhooks: Webhooks, body: Body[schemas.WebhookBody]
) -> Response[schemas.CreatedWebhook]:
    """Creates a webhook. It receives every change of a task's status as a CloudEvent, signed by Standard Webhooks."""
    webhook = body.read()
    if not webhook.is_addressed():
        raise requests.refused("url", "it needs a host, and neither a user nor a fragment")
    events = tuple(dict.fromkeys(webhook.events))
    created = webhooks.create(requests.principal(request), webhook.url, webhook.host(), events)
    name_subjects(request, [created.id])
    return responses.json(schemas.created(created))


@get(_WEBHOOKS, opt=needs("dcs:webhook:list"))
@endpoint
def list_webhooks(request: Call, webhooks: Webhooks) -> Response[schemas.WebhookList]:
    """Lists the webhooks of the project without their secrets."""
    all_webhooks = webhooks.all(requests.principal(request))
    return responses.json(schemas.WebhookList([schemas.shown(webhook) for webhook in all_webhooks]))


@delete(_WEBHOOK, status_code=204, opt=needs("dcs:webhook:modify"))
@endpoint
def delete_webhook(request: Call, webhooks: Webhooks, webhook_id: WebhookId) -> Response[None]:
    """Deletes a webhook and its deliveries, including waiting ones."""
    webhooks.delete(requests.principal(request), webhook_id)
    return responses.no_content()


@post(_WEBHOOK + "/test", status_code=200, opt=needs("dcs:webhook:modify"))
@endpoint
def test_webhook(request: Call, webhooks: Webhooks, webhook_id: WebhookId) -> Response[schemas.ShownDelivery]:
    """Sends a test event. Each webhook is limited to five in ten seconds, and to five that wait."""
    return responses.json(schemas.shown_delivery(webhooks.send_test_event(requests.principal(request), webhook_id)))


@get(_WEBHOOK + "/deliveries", opt=needs("dcs:webhook:list"))
@endpoint
def list_deliveries(
    request: Call, webhooks: Webhooks, webhook_id: WebhookId, wanted: Query[PageQuery]
) -> Response[schemas.DeliveryList]:
    """Lists the deliveries of a webhook with their results, newest first."""
    query = wanted.read()
    count, page = webhooks.deliveries(requests.principal(request), webhook_id, offset=query.offset, limit=query.limit)
    return responses.json(schemas.DeliveryList(count, [schemas.shown_delivery(delivery) for delivery in page]))
