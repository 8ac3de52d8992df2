"""Actions on a whole cluster: form it, let new nodes join it."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from cachewright.model.instances import Node
from cachewright.model.tasks import Work
from cachewright.operations.actions.action import action
from cachewright.operations.context import OperationContext, best_view
from cachewright.operations.slot_moves.equal_nodes import copy_libraries
from cachewright.tasks.operation import StepContext
from cachewright.tasks.plan import effort
from cachewright.topologies import CLUSTER
from cachewright.topologies.topology import Topology
from cachewright.valkey import cluster_membership
from cachewright.valkey.access import Access
from cachewright.valkey.client import ANSWER_SECONDS, NODE_GONE, NodeBusy, NodeRefused
from cachewright.valkey.node_control import is_in_sync
from cachewright.valkey.topology import knows_client_ports, primaries

_POLL_SECONDS = 0.02
_JOIN_SECONDS, _JOIN_SECONDS_A_NODE = 0.14, 0.007


class FormCluster(msgspec.Struct, frozen=True):
    """`node_ids` are the nodes that found the cluster; without ids, all nodes of the instance."""

    node_ids: tuple[str, ...] = ()


class JoinCluster(msgspec.Struct, frozen=True):
    """`node_ids` are the nodes that join, `absent` those that do not answer, and for which nothing waits."""

    node_ids: tuple[str, ...]
    absent: tuple[str, ...] = ()


@action("form cluster", FormCluster, timeout=60, attempts=2)
async def form_cluster(context: OperationContext, step: StepContext, arguments: FormCluster) -> None:
    """Make the nodes of a new instance one cluster."""
    instance = await context.instance(step.task)
    nodes = [
        node
        for node in await context.nodes(step.task.instance_id)
        if not arguments.node_ids or node.id in arguments.node_ids
    ]
    access = context.access(instance)
    await cluster_membership.introduce(nodes, nodes, access)
    await _open(context, step, [node for node in nodes if node.role == "primary"], nodes)
    await _attach_replicas(nodes, access)
    await _open(context, step, nodes, nodes)


@action("join cluster", JoinCluster, timeout=60, attempts=3)
async def join_cluster(context: OperationContext, step: StepContext, arguments: JoinCluster) -> None:
    """Make new nodes members of the cluster, ready for slots, with the functions of the other nodes.

    New replicas of shards that exist do not follow their primaries yet, and their ports stay closed ("add replica").
    """
    instance = await context.instance(step.task)
    nodes = await context.nodes(step.task.instance_id)
    new = [node for node in nodes if node.id in arguments.node_ids]
    others = {node.id for node in nodes} - {*arguments.node_ids, *arguments.absent}
    old = [node for node in nodes if node.id in others and node.should_run]
    members = [*old, *new]
    access = context.access(instance)
    await cluster_membership.introduce(members, new, access)
    new_primaries = [node for node in new if node.role == "primary"]
    replacing = asyncio.gather(
        *(cluster_membership.replace_placeholder(node, access, founding=False) for node in new_primaries)
    )
    await _announcing_slots(replacing, members, access)
    serving = primaries(old, best_view(await context.views(instance, old)))
    await copy_libraries(new, list(serving.values()), access)
    await _open(context, step, [*old, *new_primaries], members)
    await _attach_replicas(new, access)
    shards = {node.shard for node in old}
    await _open(context, step, [node for node in members if node in old or node.shard not in shards], members)


def join_work(joining: int, members: int) -> Work:
    """The effort of `join_cluster`, for this number of new nodes and of other members."""
    total = joining + members
    return effort("join", unit="nodes", total=total, seconds=_JOIN_SECONDS + _JOIN_SECONDS_A_NODE * total)


async def is_settled(topology: Topology, node: Node, nodes: Sequence[Node], access: Access) -> bool:
    """Whether the node knows all `nodes` of its cluster, their ports and the owner of every slot, is ok, and is in sync
    with its primary if it is a replica. Raises NodeBusy."""
    try:
        view = await topology.view(node, nodes, access, ANSWER_SECONDS)
        known = nodes if topology.is_cluster else [node]  # outside of clusters replicas do not know each other
        if not view.ok or not view.is_whole or not view.knows([other.id for other in known]):
            return False
        if topology.is_cluster and not await knows_client_ports(node, nodes, access):
            return False
        if primaries([node], view):
            return True
        return await is_in_sync(node, access)
    except NodeBusy:
        raise
    except (*NODE_GONE, NodeRefused):
        return False


async def _announcing_slots(replacing: asyncio.Future[Any], members: Sequence[Node], access: Access) -> None:
    """Announce slots until new nodes have replaced their placeholders. They wait for an owner of each slot, which they
    otherwise learn by a PING of this owner: in a cluster of one shard after up to three seconds."""
    announced: set[tuple[str, str]] = set()
    try:
        while not replacing.done():
            await cluster_membership.announce_slots(members, access, announced)
            await asyncio.wait({replacing}, timeout=_POLL_SECONDS)
        await replacing
    finally:
        replacing.cancel()


async def _attach_replicas(new: Sequence[Node], access: Access) -> None:
    """Make each new replica follow the new primary of its shard."""
    new_primaries = {node.shard: node for node in new if node.role == "primary"}
    replicas = [node for node in new if node.role == "replica" and node.shard in new_primaries]
    await asyncio.gather(*(cluster_membership.replicate(node, new_primaries[node.shard], access) for node in replicas))


async def _open(context: OperationContext, step: StepContext, nodes: Sequence[Node], members: Sequence[Node]) -> None:
    """Open the ports of nodes to clients once these nodes know the whole cluster. Replicas need the open port of their
    primary, so primaries come first."""
    instance = await context.instance(step.task)
    await _wait_until_settled(step, nodes, members, context.access(instance))
    await asyncio.gather(*(context.open_port(instance, node) for node in nodes))


async def _wait_until_settled(
    step: StepContext, nodes: Sequence[Node], members: Sequence[Node], access: Access
) -> None:
    """Wait until each of the nodes knows all `members`."""
    announced: set[tuple[str, str]] = set()
    while True:
        healthy = {node.id for node in await cluster_membership.announce_slots(members, access, announced)}
        whole = [node for node in nodes if node.id in healthy]
        settled = sum(await asyncio.gather(*(is_settled(CLUSTER, node, members, access) for node in whole)))
        step.measure(done=settled, detail=f"{{nodes_ready:{settled}/{len(members)}}}")
        if settled == len(nodes):
            return
        await asyncio.sleep(_POLL_SECONDS)
