"""Extensions of this project: the present state of an instance, also as a stream, and statistics of the last hour."""

from litestar import Response, get

from cachewright.api import event_streams, requests, responses
from cachewright.api.auth.permissions import needs
from cachewright.api.auth.rights import rights_check
from cachewright.api.routes.parameters import (
    Authentication,
    Call,
    Feed,
    InstanceId,
    Instances,
    Nodes,
    Streams,
    endpoint,
    while_connected,
)
from cachewright.api.schemas import instance_state as schemas

_INSTANCE = "/v2/{project_id:str}/instances/{instance_id:str}"


@get(_INSTANCE + "/state", opt=needs("dcs:instance:get"))
@endpoint
async def show_instance_state(
    request: Call,
    nodes: Nodes,
    feed: Feed,
    *,
    authenticator: Authentication,
    streams: Streams,
    instance_id: InstanceId,
) -> Response[schemas.InstanceState]:
    """Shows the present state: status, running task, and the slots and nodes of each shard.

    With `Accept: text/event-stream`, sends an event `state` after each change, about once a second and more often while
    slots move, `end` when the instance was deleted, and `refused` when the caller may no longer read it.
    """
    principal = requests.principal(request)
    first = nodes.snapshot(principal, instance_id)
    if not event_streams.wanted(request.headers.get("accept", "")):
        return responses.json(schemas.instance_state(await while_connected(request, first)))
    await first  # not `while_connected`: the disconnect is received once, and the stream needs it
    streams.open(request.scope, principal.user_id)
    return event_streams.instance_stream(
        feed, instance_id, lambda: nodes.next_snapshot(principal, instance_id), rights_check(authenticator, request)
    )


@get(_INSTANCE + "/statistics", opt=needs("dcs:instance:get"))
@endpoint
def list_instance_statistics(
    request: Call, instances: Instances, instance_id: InstanceId
) -> Response[schemas.StatisticsSamples]:
    """Lists memory, keys, commands and traffic of the last hour, or since the start of the server."""
    samples = instances.statistics(requests.principal(request), instance_id)
    return responses.json(schemas.statistics_samples(instance_id, samples))
