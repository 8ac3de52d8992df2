"""Available zones and maintenance windows, which are the same for all projects."""

from litestar import Response, get

from cachewright.api import responses
from cachewright.api.auth.permissions import needs
from cachewright.api.schemas import places as schemas


@get("/v2/available-zones", sync_to_thread=False, opt=needs("dcs:zone:list"))
def list_available_zones() -> Response[schemas.ZoneList]:
    """ListAvailableZones: the only zone."""
    return responses.json(schemas.ZoneList())


@get("/v2/instances/maintain-windows", sync_to_thread=False, opt=needs("dcs:zone:list"))
def list_maintenance_windows() -> Response[schemas.WindowList]:
    """ListMaintenanceWindows: windows of four hours."""
    return responses.json(schemas.windows())
