"""Flavors."""

from litestar import Response, get

from cachewright.api import requests, responses
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import Call, Hosts, Instances, Query, endpoint
from cachewright.api.schemas import flavors as schemas
from cachewright.flavors import parse


@get("/v2/{project_id:str}/flavors", opt=needs("dcs:flavor:list"))
@endpoint
def list_flavors(
    request: Call, instances: Instances, hosts: Hosts, wanted: Query[schemas.FlavorsQuery]
) -> Response[schemas.FlavorList]:
    """ListFlavors. For an instance, the flavors to which it can be resized."""
    query = wanted.read()
    if not query.instance_id:
        return responses.json(schemas.flavor_list(query, hosts.zones_by_mode()))
    instance = instances.get(requests.principal(request), requests.instance_id(query.instance_id))
    return responses.json(schemas.flavor_list(query, hosts.zones_by_mode(), resized=parse(instance.spec_code)))
