"""Quotas of a project and their use."""

from litestar import Response, get

from cachewright.api import requests, responses
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import Call, Instances, endpoint
from cachewright.api.schemas import quota as schemas


@get("/v2/{project_id:str}/quota", opt=needs("dcs:quota:get"))
@endpoint
def show_quota_of_tenant(request: Call, instances: Instances) -> Response[schemas.Quotas]:
    """ShowQuotaOfTenant: quotas and their use. During a resize, an instance counts with its largest size."""
    return responses.json(schemas.quotas(*instances.quota(requests.principal(request))))
