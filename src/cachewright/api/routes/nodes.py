"""Shards and nodes, as they are when they are asked."""

from collections.abc import Sequence

from litestar import Response, get

from cachewright import errors
from cachewright.api import requests, responses
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import (
    Call,
    PathId,
    Plane,
    Query,
    instance_of,
    reading,
    run_in_thread,
    while_connected,
)
from cachewright.api.schemas import nodes as schemas
from cachewright.api.schemas.paging import PageQuery
from cachewright.errors import ApiError
from cachewright.model.instances import Instance, Node
from cachewright.monitoring.inspection import NodeInfo
from cachewright.services.instances import InstanceService
from cachewright.store import instances

_INSTANCES = "/v2/{project_id:str}/instances/{instance_id:str}"
_INSTANCE = "/v2/{project_id:str}/instance/{instance_id:str}"


@get(_INSTANCE + "/groups", opt=needs("dcs:instance:get"))
async def list_group_replication_info(request: Call, plane: Plane, instance_id: PathId) -> Response[schemas.GroupList]:
    """ListGroupReplicationInfo: shards, and the nodes of each."""
    return responses.json(schemas.groups(*await _seen(request, plane, instance_id)))


@get(_INSTANCE + "/groups/{group_id:str}/group-nodes-state", opt=needs("dcs:instance:get"))
async def show_replication_states(
    request: Call, plane: Plane, instance_id: PathId, group_id: PathId
) -> Response[list[schemas.Replication]]:
    """ShowReplicationStates: the nodes of one shard."""
    groups = schemas.groups(*await _seen(request, plane, instance_id)).group_list
    found = [group for group in groups if group.group_id == group_id.lower()]
    if not found:
        raise ApiError(errors.INVALID_PARAMETER, parameter="group_id", reason="the instance has no such shard")
    return responses.json(found[0].replication_list)


@get(_INSTANCES + "/logical-nodes", opt=needs("dcs:instance:get"))
async def show_nodes_information(request: Call, plane: Plane, instance_id: PathId) -> Response[schemas.NodeList]:
    """ShowNodesInformation."""
    return responses.json(schemas.node_list(*await _seen(request, plane, instance_id)))


@get(_INSTANCES + "/nodes", opt=needs("dcs:instance:get"))
async def show_instance_topology(request: Call, plane: Plane, instance_id: PathId) -> Response[schemas.Topology]:
    """ShowInstanceTopology: nodes with their counters."""
    return responses.json(schemas.topology(*await _seen(request, plane, instance_id)))


@get("/v2/{project_id:str}/instances-logical-nodes", opt=needs("dcs:instance:list"))
@reading
async def batch_show_nodes_information(
    request: Call, plane: Plane, wanted: Query[PageQuery]
) -> Response[schemas.InstanceNodesList]:
    """BatchShowNodesInformation: a page of instances, newest first, each with its nodes."""
    query, project_id = wanted.read(), requests.principal(request).project_id

    def read() -> tuple[int, list[tuple[Instance, list[Node]]]]:
        with plane.database.read() as connection:
            count, page = instances.search(connection, project_id, offset=query.offset, limit=query.limit)
            return count, [(instance, instances.nodes_of(connection, instance.id)) for instance in page]

    count, page = await run_in_thread(request, read)
    seen = await while_connected(request, plane.inspector.look(project_id, page))
    return responses.json(
        schemas.InstanceNodesList(count, [schemas.instance_nodes(instance, seen[instance.id]) for instance, _ in page])
    )


async def _seen(request: Call, plane: InstanceService, instance_id: str) -> tuple[Instance, Sequence[NodeInfo]]:
    def read() -> tuple[Instance, list[Node]]:
        with plane.database.read() as connection:
            instance = instance_of(connection, request, instance_id)
            return instance, instances.nodes_of(connection, instance.id)

    instance, nodes = await run_in_thread(request, read)
    seen = await while_connected(request, plane.inspector.look(instance.project_id, [(instance, nodes)]))
    return instance, seen[instance.id]
