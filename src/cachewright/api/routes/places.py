"""Available zones and maintenance windows, which are the same for all projects."""

from litestar import Response, get, put

from cachewright.api import requests, responses
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import Body, Call, InstanceId, Instances, endpoint
from cachewright.api.schemas import places as schemas
from cachewright.api.validation import require_zones


@get("/v2/available-zones", sync_to_thread=False, opt=needs("dcs:zone:list"))
def list_available_zones() -> Response[schemas.ZoneList]:
    """ListAvailableZones: the only zone."""
    return responses.json(schemas.ZoneList())


@get("/v2.1/{project_id:str}/os-availability-zone", sync_to_thread=False, opt=needs("dcs:zone:list"))
def list_zones_of_compute() -> Response[schemas.ComputeZoneList]:
    """The only zone, as the cloud's compute service lists it: terraform reads the zones of a region there."""
    return responses.json(schemas.ComputeZoneList())


@put(
    "/v2/{project_id:str}/instances/{instance_id:str}/available-zones",
    status_code=204,
    opt=needs("dcs:instance:modify"),
)
@endpoint
def migrate_az(
    request: Call, instances: Instances, instance_id: InstanceId, body: Body[schemas.MigrateZoneBody]
) -> Response[None]:
    """MigrateAz: does nothing, because all nodes are in the only zone. Other zones are refused."""
    instances.get(requests.principal(request), instance_id)
    require_zones("new_available_zones", body.read().new_available_zones)
    return responses.no_content()


@get("/v2/instances/maintain-windows", sync_to_thread=False, opt=needs("dcs:zone:list"))
def list_maintenance_windows() -> Response[schemas.WindowList]:
    """ListMaintenanceWindows: windows of four hours."""
    return responses.json(schemas.windows())
