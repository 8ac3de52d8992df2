"""What is the same for every project."""

from litestar import Response, get

from cachewright.api import answers
from cachewright.api.auth.permissions import needs
from cachewright.api.wire import places as wire


@get("/v2/available-zones", sync_to_thread=False, opt=needs("dcs:zone:list"))
def list_available_zones() -> Response[wire.ZoneList]:
    """ListAvailableZones: one."""
    return answers.json(wire.ZoneList())


@get("/v2/instances/maintain-windows", sync_to_thread=False, opt=needs("dcs:zone:list"))
def list_maintenance_windows() -> Response[wire.WindowList]:
    """ListMaintenanceWindows."""
    return answers.json(wire.windows())
