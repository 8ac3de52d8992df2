"""Instances of a project, counted."""

from litestar import Response, get

from cachewright.api import requests, responses
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import Call, Plane, Query, in_thread, run_in_thread, while_connected
from cachewright.api.schemas import statistics as schemas
from cachewright.model.instances import Instance, Node
from cachewright.store import counts, instances

_INSTANCES = "/v2/{project_id:str}/instances"
_ALL = 2**31 - 1


@get(_INSTANCES + "/status", opt=needs("dcs:instance:list"))
@in_thread
def list_number_of_instances_in_different_status(
    request: Call, plane: Plane, wanted: Query[schemas.StatusQuery]
) -> Response[schemas.AllStatusCounts]:
    """ListNumberOfInstancesInDifferentStatus; those whose creation failed only where they are asked for."""
    include_failure = wanted.read().include_failure.lower() == "true"
    with plane.database.read() as connection:
        counted = counts.by_status(connection, requests.principal(request).project_id)
    return responses.json(schemas.status_counts(counted, include_failure=include_failure))


@get(_INSTANCES + "/statistic", opt=needs("dcs:instance:list"))
async def list_statistics_of_running_instances(request: Call, plane: Plane) -> Response[schemas.StatisticList]:
    """ListStatisticsOfRunningInstances, from the counters of their nodes now."""
    project_id = requests.principal(request).project_id

    def read() -> list[tuple[Instance, list[Node]]]:
        with plane.database.read() as connection:
            _, running = instances.search(connection, project_id, offset=0, limit=_ALL, status="RUNNING")
            return [(instance, instances.nodes_of(connection, instance.id)) for instance in running]

    running = await run_in_thread(request, read)
    seen = await while_connected(request, plane.inspector.look(project_id, running))
    return responses.json(
        schemas.StatisticList([schemas.statistic(instance, seen[instance.id]) for instance, _ in running])
    )
