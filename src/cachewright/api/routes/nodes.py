"""Shards and nodes in their present state."""

from litestar import Response, get

from cachewright import errors
from cachewright.api import requests, responses
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import Call, GroupId, InstanceId, Nodes, Query, endpoint, while_connected
from cachewright.api.schemas import nodes as schemas
from cachewright.api.schemas.paging import PageQuery
from cachewright.errors import ApiError
from cachewright.services.node_queries import InstanceNodes, NodeQueries

_INSTANCES = "/v2/{project_id:str}/instances/{instance_id:str}"
_INSTANCE = "/v2/{project_id:str}/instance/{instance_id:str}"


@get(_INSTANCE + "/groups", opt=needs("dcs:instance:get"))
@endpoint
async def list_group_replication_info(
    request: Call, nodes: Nodes, instance_id: InstanceId
) -> Response[schemas.GroupList]:
    """ListGroupReplicationInfo: shards with their nodes."""
    inspected = await _of_instance(request, nodes, instance_id)
    return responses.json(schemas.groups(inspected.instance, inspected.nodes))


@get(_INSTANCE + "/groups/{group_id:str}/group-nodes-state", opt=needs("dcs:instance:get"))
@endpoint
async def show_replication_states(
    request: Call, nodes: Nodes, instance_id: InstanceId, group_id: GroupId
) -> Response[list[schemas.Replication]]:
    """ShowReplicationStates: the nodes of one shard."""
    inspected = await _of_instance(request, nodes, instance_id)
    for group in schemas.groups(inspected.instance, inspected.nodes).group_list:
        if group.group_id == group_id:
            return responses.json(group.replication_list)
    raise ApiError(errors.INVALID_PARAMETER, parameter="group_id", reason="the instance has no such shard")


@get(_INSTANCES + "/logical-nodes", opt=needs("dcs:instance:get"))
@endpoint
async def show_nodes_information(request: Call, nodes: Nodes, instance_id: InstanceId) -> Response[schemas.NodeList]:
    """ShowNodesInformation: the nodes of an instance."""
    inspected = await _of_instance(request, nodes, instance_id)
    return responses.json(schemas.node_list(inspected.instance, inspected.nodes))


@get(_INSTANCES + "/deletable-replication", opt=needs("dcs:instance:get"))
@endpoint
async def validate_deletable_replica(
    request: Call, nodes: Nodes, instance_id: InstanceId
) -> Response[schemas.DeletableReplicas]:
    """ValidateDeletableReplica: the replicas that a resize can remove."""
    inspected = await _of_instance(request, nodes, instance_id)
    return responses.json(schemas.deletable_replicas(inspected.instance, inspected.nodes))


@get(_INSTANCES + "/nodes", opt=needs("dcs:instance:get"))
@endpoint
async def show_instance_topology(request: Call, nodes: Nodes, instance_id: InstanceId) -> Response[schemas.Topology]:
    """ShowInstanceTopology: nodes with their counters."""
    inspected = await _of_instance(request, nodes, instance_id)
    return responses.json(schemas.topology(inspected.instance, inspected.nodes))


@get("/v2/{project_id:str}/instances-logical-nodes", opt=needs("dcs:instance:list"))
@endpoint
async def batch_show_nodes_information(
    request: Call, nodes: Nodes, wanted: Query[PageQuery]
) -> Response[schemas.InstanceNodesList]:
    """BatchShowNodesInformation: a page of instances with their nodes, newest first."""
    query = wanted.read()
    reading = nodes.page(requests.principal(request), offset=query.offset, limit=query.limit)
    count, page = await while_connected(request, reading)
    return responses.json(
        schemas.InstanceNodesList(count, [schemas.instance_nodes(entry.instance, entry.nodes) for entry in page])
    )


async def _of_instance(request: Call, nodes: NodeQueries, instance_id: str) -> InstanceNodes:
    return await while_connected(request, nodes.of_instance(requests.principal(request), instance_id))
