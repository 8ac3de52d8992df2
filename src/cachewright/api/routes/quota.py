"""How much a project may have, and how much it has."""

from litestar import Response, get

from cachewright.api import requests, responses
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import Call, Plane, in_thread
from cachewright.api.schemas import quota as schemas
from cachewright.operations import admission


@get("/v2/{project_id:str}/quota", opt=needs("dcs:quota:get"))
@in_thread
def show_quota_of_tenant(request: Call, plane: Plane) -> Response[schemas.Quotas]:
    """ShowQuotaOfTenant. An instance that is being resized counts with the most that it has meanwhile."""
    limits = admission.limits(plane.host, plane.settings)
    with plane.database.read() as connection:
        project, _ = admission.allocated(connection, requests.principal(request).project_id)
    return responses.json(schemas.quotas(project, limits))
