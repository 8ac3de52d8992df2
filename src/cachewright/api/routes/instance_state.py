"""Extensions of this project: an instance as it is now, once or as a stream, and its last hour."""

from litestar import Response, get

from cachewright import errors
from cachewright.api import event_streams, requests, responses
from cachewright.api.auth.permissions import needs
from cachewright.api.auth.rights import rights_check
from cachewright.api.routes.parameters import (
    Authentication,
    Call,
    PathId,
    Plane,
    Streams,
    in_thread,
    instance_of,
    while_connected,
)
from cachewright.api.schemas import instance_state as schemas
from cachewright.errors import ApiError
from cachewright.monitoring.snapshots import InstanceSnapshot

_INSTANCE = "/v2/{project_id:str}/instances/{instance_id:str}"


@get(_INSTANCE + "/state", opt=needs("dcs:instance:get"))
async def show_instance_state(
    request: Call, plane: Plane, authenticator: Authentication, streams: Streams, instance_id: PathId
) -> Response[schemas.InstanceState]:
    """Status, running task, and of each shard its slots and what its nodes say, all as it is now.

    With `Accept: text/event-stream`, an event `state` whenever something of it has changed, about once a second and
    oftener while slots move; `end` when the instance is gone, `refused` when the caller may not read it any longer.
    """
    known, project_id = requests.instance_id(instance_id), requests.principal(request).project_id

    async def look() -> InstanceSnapshot | None:
        return await plane.observer.look(project_id, known)

    streamed = event_streams.wanted(request.headers.get("accept", ""))
    first_look = plane.observer.first_look(project_id, known)
    # A stream has to receive the end of the connection itself: that comes once.
    seen = await first_look if streamed else await while_connected(request, first_look)
    if seen is None:
        raise ApiError(errors.INSTANCE_NOT_FOUND)
    if streamed:
        streams.open(request.scope, requests.identity(request).user_id)
        return event_streams.instance_stream(plane.feed, known, look, rights_check(authenticator, request))
    return responses.json(schemas.instance_state(seen))


@get(_INSTANCE + "/statistics", opt=needs("dcs:instance:get"))
@in_thread
def list_instance_statistics(request: Call, plane: Plane, instance_id: PathId) -> Response[schemas.StatisticsSamples]:
    """Memory, keys, commands and traffic over the last hour, or since the server started."""
    with plane.database.read() as connection:
        instance = instance_of(connection, request, instance_id)
    return responses.json(schemas.statistics_samples(instance.id, plane.statistics.history(instance.id)))
