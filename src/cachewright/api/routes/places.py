"""Available zones and maintenance windows, which are the same for all projects."""

from litestar import Response, get, put

from cachewright import errors
from cachewright.api import requests, responses
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import Body, Call, Hosts, InstanceId, Instances, Moves, endpoint
from cachewright.api.schemas import places as schemas
from cachewright.api.validation import require_zones
from cachewright.errors import ApiError
from cachewright.operations.move_nodes import immovable


@get("/v2/available-zones", opt=needs("dcs:zone:list"))
@endpoint
def list_available_zones(request: Call, hosts: Hosts) -> Response[schemas.ZoneList]:
    """ListAvailableZones: the zones of all hosts."""
    return responses.json(schemas.zone_list(hosts.zones(), hosts.available_zones()))


@get("/v2.1/{project_id:str}/os-availability-zone", opt=needs("dcs:zone:list"))
@endpoint
def list_zones_of_compute(request: Call, hosts: Hosts) -> Response[schemas.ComputeZoneList]:
    """The zones, as the cloud's compute service lists them: terraform reads the zones of a region there."""
    return responses.json(schemas.compute_zone_list(hosts.zones(), hosts.available_zones()))


@put(
    "/v2/{project_id:str}/instances/{instance_id:str}/available-zones",
    status_code=204,
    opt=needs("dcs:instance:modify"),
)
@endpoint
def migrate_az(
    request: Call,
    *,
    instances: Instances,
    hosts: Hosts,
    host_moves: Moves,
    instance_id: InstanceId,
    body: Body[schemas.MigrateZoneBody],
) -> Response[None]:
    """MigrateAz: moves nodes of an instance to these zones, as the task MoveNodes. Without effect if it is there
    already. Instances that need the host of the server stay in their zone."""
    principal = requests.principal(request)
    details = instances.show(principal, instance_id)
    instance, reason = details.instance, immovable(details.instance, details.nodes)
    zones = body.read().new_available_zones
    require_zones("new_available_zones", zones, hosts.zones())
    own = instance.attributes.get("az_codes", zones)
    if set(zones) != set(own) and reason:
        raise requests.refused("new_available_zones", f"the instance is in {', '.join(own)}: {reason}")
    if not reason:
        if missing := set(zones) - {*own, *hosts.available_zones()}:
            raise ApiError(errors.NOT_ENOUGH_MEMORY, reason=f"no host in zone {min(missing)} takes new nodes")
        host_moves.migrate(principal, instance_id, zones)
    return responses.no_content()


@get("/v2/instances/maintain-windows", sync_to_thread=False, opt=needs("dcs:zone:list"))
def list_maintenance_windows() -> Response[schemas.WindowList]:
    """ListMaintenanceWindows: windows of four hours."""
    return responses.json(schemas.windows())
