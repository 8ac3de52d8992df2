"""How much a project may have, and how much it has."""

from litestar import Response, get

from cachewright.api import requests, responses
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import Call, Instances, endpoint
from cachewright.api.schemas import quota as schemas


@get("/v2/{project_id:str}/quota", opt=needs("dcs:quota:get"))
@endpoint
def show_quota_of_tenant(request: Call, instances: Instances) -> Response[schemas.Quotas]:
    """ShowQuotaOfTenant. An instance that is being resized counts with the most that it has meanwhile."""
    return responses.json(schemas.quotas(*instances.quota(requests.principal(request))))
