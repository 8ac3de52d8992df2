"""Nodes of a shard: switchovers, priorities of replicas, repairs."""

from litestar import Response, post, put

from cachewright.api import requests, responses
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import (
    Body,
    Call,
    GroupId,
    InstanceId,
    NodeId,
    Rebuilds,
    Switchovers,
    Tasks,
    endpoint,
    while_connected,
)
from cachewright.api.schemas.plans import JobId
from cachewright.api.schemas.switchover import NodeStatusBody, PriorityBody
from cachewright.operations.node_status import NODE_STATUS
from cachewright.operations.requests import NodeStatusRequest

_INSTANCES = "/v2/{project_id:str}/instances/{instance_id:str}"
_INSTANCE = "/v2/{project_id:str}/instance/{instance_id:str}"
_REPLICA = "/groups/{group_id:str}/replications/{node_id:str}"


@post(_INSTANCES + "/swap", status_code=204, opt=needs("dcs:instance:swap"))
@endpoint
async def change_master_standby(request: Call, switchovers: Switchovers, instance_id: InstanceId) -> Response[None]:
    """ChangeMasterStandby: as ChangeMasterStandbyAsync. The response has no id; the task is the newest of the
    instance."""
    await while_connected(request, switchovers.switch_over(requests.principal(request), instance_id))
    return responses.no_content()


@put(_INSTANCES + "/async-swap", status_code=200, opt=needs("dcs:instance:swap"))
@endpoint
async def change_master_standby_async(
    request: Call, switchovers: Switchovers, instance_id: InstanceId
) -> Response[JobId]:
    """ChangeMasterStandbyAsync: lets the best replica of an instance of type ha take over. Follow it with
    ShowJobInfo."""
    task = await while_connected(request, switchovers.switch_over(requests.principal(request), instance_id))
    return responses.json(JobId(task.id))


@post(_INSTANCE + _REPLICA + "/async-switchover", status_code=200, opt=needs("dcs:instance:swap"))
@endpoint
async def execute_cluster_switchover(
    request: Call, switchovers: Switchovers, *, instance_id: InstanceId, group_id: GroupId, node_id: NodeId
) -> Response[JobId]:
    """ExecuteClusterSwitchover: lets a replica become the primary of its shard. Follow it with ShowJobInfo."""
    started = switchovers.switch_over(requests.principal(request), instance_id, group_id=group_id, node_id=node_id)
    task = await while_connected(request, started)
    return responses.json(JobId(task.id))


@post(_INSTANCES + _REPLICA + "/slave-priority", status_code=204, opt=needs("dcs:instance:modify"))
@endpoint
async def update_slave_priority(
    request: Call,
    switchovers: Switchovers,
    *,
    instance_id: InstanceId,
    group_id: GroupId,
    node_id: NodeId,
    body: Body[PriorityBody],
) -> Response[None]:
    """UpdateSlavePriority: sets the order in which the replicas of a shard take over."""
    changed = switchovers.set_priority(
        requests.principal(request),
        instance_id,
        group_id=group_id,
        node_id=node_id,
        priority=body.read().slave_priority_weight,
    )
    await while_connected(request, changed)
    return responses.no_content()


@post(_INSTANCES + "/nodes/{node_id:str}/rebuild", status_code=200, opt=needs("dcs:instance:modifyStatus"))
@endpoint
async def rebuild_node(request: Call, rebuilds: Rebuilds, instance_id: InstanceId, node_id: NodeId) -> Response[JobId]:
    """An extension: repairs a node that does not start, or gives a replica all data of its primary again. Follow it
    with ShowJobInfo."""
    task = await while_connected(request, rebuilds.rebuild(requests.principal(request), instance_id, node_id))
    return responses.json(JobId(task.id))


@put(_INSTANCES + "/nodes/status", status_code=200, opt=needs("dcs:instance:modifyStatus"))
@endpoint
def change_nodes_start_stop_status(
    request: Call, tasks: Tasks, instance_id: InstanceId, body: Body[NodeStatusBody]
) -> Response[str]:
    """ChangeNodesStartStopStatus: stops or starts nodes. Follow it with ShowJobInfo."""
    wanted = body.read()
    ids = tuple(dict.fromkeys(node_id.lower() for node_id in wanted.node_ids))
    principal = requests.principal(request)
    task = tasks.submit(NODE_STATUS, principal, instance_id, NodeStatusRequest(wanted.action, ids))
    return responses.text(f"job_id:{task.id}")
