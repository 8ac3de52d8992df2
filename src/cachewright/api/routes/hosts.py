"""Extension of this project: hosts and their nodes."""

from litestar import Response, get

from cachewright.api import requests, responses
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import Call, Hosts, endpoint
from cachewright.api.schemas import hosts as schemas


@get("/v2/{project_id:str}/hosts", opt=needs("dcs:host:list"))
@endpoint
def list_hosts(request: Call, hosts: Hosts) -> Response[schemas.HostList]:
    """List the hosts with their zones and capacity, and the nodes of the project that they run."""
    return responses.json(schemas.host_list(hosts.all(requests.principal(request))))
