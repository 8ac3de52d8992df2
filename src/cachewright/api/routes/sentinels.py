"""Extension of this project: the sentinels of an instance."""

from litestar import Response, get

from cachewright.api import requests, responses
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import Call, InstanceId, Instances, endpoint
from cachewright.api.schemas import sentinels as schemas


@get("/v2/{project_id:str}/instances/{instance_id:str}/sentinels", opt=needs("dcs:instance:get"))
@endpoint
def list_sentinels(request: Call, instances: Instances, instance_id: InstanceId) -> Response[schemas.Sentinels]:
    """List the sentinels of an instance of type ha, for clients that know Sentinel."""
    fleet = instances.sentinels(requests.principal(request), instance_id)
    return responses.json(schemas.sentinels(instance_id, fleet))
