"""What is the same for every project."""

from litestar import Response, get

from cachewright.api import responses
from cachewright.api.auth.permissions import needs
from cachewright.api.schemas import places as schemas


@get("/v2/available-zones", sync_to_thread=False, opt=needs("dcs:zone:list"))
def list_available_zones() -> Response[schemas.ZoneList]:
    """ListAvailableZones: one."""
    return responses.json(schemas.ZoneList())


@get("/v2/instances/maintain-windows", sync_to_thread=False, opt=needs("dcs:zone:list"))
def list_maintenance_windows() -> Response[schemas.WindowList]:
    """ListMaintenanceWindows."""
    return responses.json(schemas.windows())
