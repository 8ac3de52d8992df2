"""What can be bought."""

from litestar import Response, get

from cachewright.api import responses
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import Call, Plane, Query, in_thread, instance_of
from cachewright.api.schemas import flavors as schemas
from cachewright.flavors import parse


@get("/v2/{project_id:str}/flavors", opt=needs("dcs:flavor:list"))
@in_thread
def list_flavors(request: Call, plane: Plane, wanted: Query[schemas.FlavorsQuery]) -> Response[schemas.FlavorList]:
    """ListFlavors; with an instance, those it can be resized to."""
    query = wanted.read()
    if not query.instance_id:
        return responses.json(schemas.flavor_list(query))
    with plane.database.read() as connection:
        instance = instance_of(connection, request, query.instance_id)
    return responses.json(schemas.flavor_list(query, resized=parse(instance.spec_code)))
