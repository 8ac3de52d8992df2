"""Actions of a switchover: compare offsets, hand over, wait for the other nodes of the shard."""

import asyncio

import msgspec

from cachewright import errors
from cachewright.model.instances import Instance, Node
from cachewright.operations import watched_roles
from cachewright.operations.actions.action import NodeArguments, action
from cachewright.operations.actions.cluster import is_settled
from cachewright.operations.context import OperationContext, best_view
from cachewright.tasks.operation import ActionFailed, StepContext
from cachewright.topologies import topology_of
from cachewright.valkey import cluster_membership
from cachewright.valkey.replication import replication_of
from cachewright.valkey.topology import primaries

_POLL_SECONDS = 0.02
_FOLLOW_SECONDS = 600.0


class SwitchOver(msgspec.Struct, frozen=True):
    """:ivar node_id: the replica that takes over. Where Sentinel decides, it may choose another one.
    :ivar lead_id: the primary when the plan was made.
    """

    node_id: str
    lead_id: str = ""


class CheckFollowers(msgspec.Struct, frozen=True):
    """`node_ids` are nodes of the shard that responded when the plan was made."""

    node_ids: tuple[str, ...]


@action("compare offsets", NodeArguments, timeout=_FOLLOW_SECONDS, attempts=6)
async def compare_offsets(context: OperationContext, step: StepContext, arguments: NodeArguments) -> None:
    """Wait until a replica is connected to its primary and has received everything that the primary had written when
    the sub-step looked first."""
    instance, node, lead = await _node_and_primary(context, step, arguments.node_id)
    if node == lead:
        return
    access = context.access(instance)
    written = (await replication_of(lead, access)).offset
    begin: int | None = None
    while True:
        step.raise_if_cancelled()
        replica = await replication_of(node, access)
        begin = replica.offset if begin is None else begin
        shown = f"{{node_id:{node.id},primary_offset:{written},replica_offset:{replica.offset}}}"
        missing = max(written - replica.offset, 0) / max(written - begin, 1)
        step.measure(done=step.sub_step.work.total * (1 - min(missing, 1)), detail=shown)
        if replica.is_linked and replica.offset >= written:
            return
        await asyncio.sleep(_POLL_SECONDS)


@action("switch over", SwitchOver, timeout=60, attempts=8, cancelling=10)
async def switch_over(context: OperationContext, step: StepContext, arguments: SwitchOver) -> None:
    """Ensure that the node is the primary of its shard. The former primary first hands over all acknowledged writes."""
    instance, node, lead = await _node_and_primary(context, step, arguments.node_id)
    has_sentinel = topology_of(instance.spec_code).has_sentinel
    if node == lead or (has_sentinel and arguments.lead_id and lead.id != arguments.lead_id):
        return
    await step.wait_until_allowed()
    nodes = [other for other in await context.nodes(instance.id) if other.should_run]
    step.measure(detail=f"{{node_id:{node.id},address:{node.host}:{node.port},former_primary:{lead.id}}}")
    if has_sentinel:
        is_done = await watched_roles.hand_over(context, instance, lead, nodes)
    else:
        is_done = await cluster_membership.fail_over(lead, [node], nodes, context.access(instance))
    if not is_done:
        message = f"node {node.id} did not take over from {lead.id}: it is not in sync, or the nodes do not agree"
        raise ActionFailed(errors.SWITCHOVER_FAILED, message)


@action("check followers", CheckFollowers, timeout=_FOLLOW_SECONDS, attempts=4)
async def check_followers(context: OperationContext, step: StepContext, arguments: CheckFollowers) -> None:
    """Wait until all nodes of the shard know the new primary, and its replicas are in sync with it."""
    instance, nodes = await context.instance_and_nodes(step.task)
    topology, access = topology_of(instance.spec_code), context.access(instance)
    shard = [node for node in nodes if node.id in arguments.node_ids]
    while True:
        step.raise_if_cancelled()
        settled = sum(await asyncio.gather(*(is_settled(topology, node, shard, access) for node in shard)))
        step.measure(done=settled, detail=f"{{nodes_ready:{settled}/{len(shard)}}}")
        if settled == len(shard):
            return
        await asyncio.sleep(_POLL_SECONDS)


async def _node_and_primary(context: OperationContext, step: StepContext, node_id: str) -> tuple[Instance, Node, Node]:
    """Return the instance, the node, and the present primary of its shard. ActionFailed if either is missing."""
    instance, nodes, views = await context.look(step.task)
    node = next((node for node in nodes if node.id == node_id), None)
    if node is None:
        raise ActionFailed(errors.SWITCHOVER_FAILED, f"node {node_id} was removed", True)
    lead = primaries(nodes, best_view(views)).get(node.shard)
    if lead is None:
        raise ActionFailed(errors.SWITCHOVER_FAILED, f"the shard of node {node_id} has no primary now")
    return instance, node, lead
