"""Extensions of this project: an instance as it is now, once or as a stream, and its last hour."""

from litestar import Response, get

from cachewright.api import answers, asked, watching
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
from cachewright.api.wire import live as wire
from cachewright.errors import Refusal
from cachewright.operations.live import Live

_INSTANCE = "/v2/{project_id:str}/instances/{instance_id:str}"


@get(_INSTANCE + "/live", opt=needs("dcs:instance:get"))
async def show_live(
    request: Call, plane: Plane, authenticator: Authentication, streams: Streams, instance_id: PathId
) -> Response[wire.LiveInstance]:
    """Status, running task, and of each shard its slots and what its nodes say, all as it is now.

    With `Accept: text/event-stream`, an event `live` whenever something of it has changed, about once a second and
    oftener while slots move; `end` when the instance is gone, `refused` when the caller may not read it any longer.
    """
    known, project_id = asked.instance_id(instance_id), asked.principal(request).project_id

    async def look() -> Live | None:
        return await plane.observer.look(project_id, known)

    streamed = watching.wanted(request.headers.get("accept", ""))
    first_look = plane.observer.first_look(project_id, known)
    # A stream has to receive the end of the connection itself: that comes once.
    seen = await first_look if streamed else await while_connected(request, first_look)
    if seen is None:
        raise Refusal("DCS.3022")
    if streamed:
        streams.open(request.scope, asked.identity(request).user_id)
        return watching.instance_stream(plane.feed, known, look, rights_check(authenticator, request))
    return answers.json(wire.live(seen))


@get(_INSTANCE + "/vitals", opt=needs("dcs:instance:get"))
@in_thread
def list_vitals(request: Call, plane: Plane, instance_id: PathId) -> Response[wire.VitalSamples]:
    """Memory, keys, commands and traffic over the last hour, or since the server started."""
    with plane.database.read() as connection:
        instance = instance_of(connection, request, instance_id)
    return answers.json(wire.samples(instance.id, plane.vitals.history(instance.id)))
