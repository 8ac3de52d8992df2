"""Shards and nodes, as they are when they are asked."""

from collections.abc import Sequence

from litestar import Response, get

from cachewright.api import answers, asked
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import Call, PathId, Plane, Query, in_thread, instance_of
from cachewright.api.wire import nodes as wire
from cachewright.api.wire.paging import PageQuery
from cachewright.errors import Refusal
from cachewright.operations.inspection import Sight, look
from cachewright.operations.plane import ControlPlane
from cachewright.store import instances
from cachewright.store.records import Instance

_INSTANCES = "/v2/{project_id:str}/instances/{instance_id:str}"
_INSTANCE = "/v2/{project_id:str}/instance/{instance_id:str}"


@get(_INSTANCE + "/groups", opt=needs("dcs:instance:get"))
@in_thread
def list_group_replication_info(request: Call, plane: Plane, instance_id: PathId) -> Response[wire.GroupList]:
    """ListGroupReplicationInfo: shards, and the nodes of each."""
    return answers.json(wire.groups(*_seen(request, plane, instance_id)))


@get(_INSTANCE + "/groups/{group_id:str}/group-nodes-state", opt=needs("dcs:instance:get"))
@in_thread
def show_replication_states(
    request: Call, plane: Plane, instance_id: PathId, group_id: PathId
) -> Response[list[wire.Replication]]:
    """ShowReplicationStates: the nodes of one shard."""
    groups = wire.groups(*_seen(request, plane, instance_id)).group_list
    found = [group for group in groups if group.group_id == group_id.lower()]
    if not found:
        raise Refusal("DCS.4062", parameter="group_id", reason="the instance has no such shard")
    return answers.json(found[0].replication_list)


@get(_INSTANCES + "/logical-nodes", opt=needs("dcs:instance:get"))
@in_thread
def show_nodes_information(request: Call, plane: Plane, instance_id: PathId) -> Response[wire.NodeList]:
    """ShowNodesInformation."""
    return answers.json(wire.node_list(*_seen(request, plane, instance_id)))


@get(_INSTANCES + "/nodes", opt=needs("dcs:instance:get"))
@in_thread
def show_instance_topology(request: Call, plane: Plane, instance_id: PathId) -> Response[wire.Topology]:
    """ShowInstanceTopology: nodes with their counters."""
    return answers.json(wire.topology(*_seen(request, plane, instance_id)))


@get("/v2/{project_id:str}/instances-logical-nodes", opt=needs("dcs:instance:list"))
@in_thread
def batch_show_nodes_information(
    request: Call, plane: Plane, wanted: Query[PageQuery]
) -> Response[wire.InstanceNodesList]:
    """BatchShowNodesInformation: a page of instances, newest first, each with its nodes."""
    query, project_id = wanted.read(), asked.principal(request).project_id
    with plane.database.read() as connection:
        count, page = instances.search(connection, project_id, offset=query.offset, limit=query.limit)
        nodes = [(instance, instances.nodes_of(connection, instance.id)) for instance in page]
    seen = look(nodes, plane.access)
    return answers.json(
        wire.InstanceNodesList(count, [wire.instance_nodes(instance, seen[instance.id]) for instance in page])
    )


def _seen(request: Call, plane: ControlPlane, instance_id: str) -> tuple[Instance, Sequence[Sight]]:
    with plane.database.read() as connection:
        instance = instance_of(connection, request, instance_id)
        nodes = instances.nodes_of(connection, instance.id)
    return instance, look([(instance, nodes)], plane.access)[instance.id]
