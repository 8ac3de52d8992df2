"""Extension of this project: servers on the same database."""

from litestar import Response, get

from cachewright.api import responses
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import Call, Servers, endpoint
from cachewright.api.schemas import servers as schemas


@get("/v2/{project_id:str}/servers", opt=needs("dcs:server:list"))
@endpoint
def list_servers(request: Call, servers: Servers) -> Response[schemas.ServerList]:
    """List the servers on the database with their latest reports, the one that performs tasks, and the latest
    takeovers."""
    return responses.json(schemas.server_list(servers.overview()))
