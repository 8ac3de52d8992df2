"""What can be bought."""

from litestar import Response, get

from cachewright.api import answers, asked
from cachewright.api.routes.parameters import Call, Plane, in_thread
from cachewright.api.wire import flavors as wire
from cachewright.errors import Refusal
from cachewright.flavors import parse
from cachewright.store import instances


@get("/v2/{project_id:str}/flavors")
@in_thread
def list_flavors(request: Call, plane: Plane) -> Response[bytes]:
    """ListFlavors; with an instance, those it can be resized to."""
    query = asked.query(request, wire.FlavorsQuery)
    if not query.instance_id:
        return answers.json(wire.flavor_list(query))
    known = asked.instance_id(query.instance_id)
    with plane.database.read() as connection:
        instance = instances.get(connection, asked.principal(request).project_id, known)
    if instance is None:
        raise Refusal("DCS.3022")
    return answers.json(wire.flavor_list(query, resized=parse(instance.spec_code)))
