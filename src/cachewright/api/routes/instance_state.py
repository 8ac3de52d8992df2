"""Extensions of this project: an instance as it is now, once or as a stream, and its last hour."""

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
    """Status, running task, and of each shard its slots and what its nodes say, all as it is now.

    With `Accept: text/event-stream`, an event `state` whenever something of it has changed, about once a second and
    more often while slots move; `end` when the instance was deleted, `refused` when the caller may no longer read it.
    """
    principal = requests.principal(request)
    first = nodes.snapshot(principal, instance_id)
    if not event_streams.wanted(request.headers.get("accept", "")):
        return responses.json(schemas.instance_state(await while_connected(request, first)))
    await first  # not `while_connected`: the stream itself has to receive the end of the connection, which comes once
    streams.open(request.scope, principal.user_id)
    return event_streams.instance_stream(
        feed, instance_id, lambda: nodes.next_snapshot(principal, instance_id), rights_check(authenticator, request)
    )


@get(_INSTANCE + "/statistics", opt=needs("dcs:instance:get"))
@endpoint
def list_instance_statistics(
    request: Call, instances: Instances, instance_id: InstanceId
) -> Response[schemas.StatisticsSamples]:
    """Memory, keys, commands and traffic over the last hour, or since the server started."""
    samples = instances.statistics(requests.principal(request), instance_id)
    return responses.json(schemas.statistics_samples(instance_id, samples))
