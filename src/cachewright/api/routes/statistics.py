"""Counts and statistics of the instances of a project."""

from litestar import Response, get

from cachewright.api import requests, responses
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import Call, Instances, Nodes, Query, endpoint, while_connected
from cachewright.api.schemas import statistics as schemas

_INSTANCES = "/v2/{project_id:str}/instances"


@get(_INSTANCES + "/status", opt=needs("dcs:instance:list"))
@endpoint
def list_number_of_instances_in_different_status(
    request: Call, instances: Instances, wanted: Query[schemas.StatusQuery]
) -> Response[schemas.AllStatusCounts]:
    """ListNumberOfInstancesInDifferentStatus: counts failed creations only on request."""
    include_failure = wanted.read().include_failure.lower() == "true"
    counted = instances.count_by_status(requests.principal(request))
    return responses.json(schemas.status_counts(counted, include_failure=include_failure))


@get(_INSTANCES + "/statistic", opt=needs("dcs:instance:list"))
@endpoint
async def list_statistics_of_running_instances(request: Call, nodes: Nodes) -> Response[schemas.StatisticList]:
    """ListStatisticsOfRunningInstances: present counters of the nodes."""
    running = await while_connected(request, nodes.of_running_instances(requests.principal(request)))
    return responses.json(schemas.StatisticList([schemas.statistic(entry.instance, entry.nodes) for entry in running]))
