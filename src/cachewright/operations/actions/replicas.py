"""Actions on replicas of a shard that stays: add one, remove one."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress

import msgspec

from cachewright import errors
from cachewright.model.instances import Instance, Node
from cachewright.operations.actions.action import action
from cachewright.operations.actions.cluster import is_settled
from cachewright.operations.actions.nodes import ReleaseNode, require_no_slots, take_out
from cachewright.operations.actions.slots import current_primary
from cachewright.operations.context import OperationContext, best_view
from cachewright.operations.ending_node import LONGEST_GRACE_SECONDS, EndingNode, node_detail
from cachewright.operations.watched_roles import present_primary, record_primary, wait_until_admitted
from cachewright.tasks.operation import ActionFailed, StepContext
from cachewright.topologies import topology_of
from cachewright.valkey import cluster_membership, plain_replication, replica_sync
from cachewright.valkey.client import NODE_GONE, NodeRefused
from cachewright.valkey.replica_sync import SyncProgress, SyncState
from cachewright.valkey.topology import primaries

_POLL_SECONDS = 0.1
_FOLLOW_SECONDS = 15.0
_SETTLE_SECONDS = 60.0


class AddReplica(msgspec.Struct, frozen=True):
    """`absent` are ids of nodes that do not answer, and for which nothing waits."""

    node_id: str
    absent: tuple[str, ...] = ()


@action("add replica", AddReplica, timeout=24 * 3600, attempts=6, first_delay=1.0, stalled=60, cancelling=5)
async def add_replica(context: OperationContext, step: StepContext, arguments: AddReplica) -> None:
    """Ensure that a node that has joined its cluster replicates the primary of its shard, has all its data, also in its
    append-only file, and accepts clients. A node that has become the primary of its shard meanwhile stays that."""
    await step.wait_until_allowed()
    instance, nodes = await context.instance_and_nodes(step.task)
    node = next(node for node in nodes if node.id == arguments.node_id)
    await Synchronization(context, step, instance, node, absent=arguments.absent).ensure()
    access, topology = context.access(instance), topology_of(instance.spec_code)
    await wait_until_admitted(context, instance, node, step.raise_if_cancelled)
    others = [other for other in nodes if other.should_run and other.id not in arguments.absent]
    async with asyncio.timeout(_SETTLE_SECONDS):
        while not await is_settled(topology, node, others, access):
            step.raise_if_cancelled()
            await asyncio.sleep(_POLL_SECONDS)
    await context.open_port(instance, node)


@action("remove replica", ReleaseNode, timeout=120 + LONGEST_GRACE_SECONDS, attempts=6, cancelling=60)
async def remove_replica(context: OperationContext, step: StepContext, arguments: ReleaseNode) -> None:
    """Ensure that a node is removed from a shard that stays. If it is the primary, another node takes over first."""
    await leave_shard(context, step, arguments)


async def leave_shard(
    context: OperationContext,
    step: StepContext,
    arguments: ReleaseNode,
    succeed: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Perform `remove_replica`.

    :param succeed: called when another node is the primary, before the node refuses new connections of clients.
    """
    await step.wait_until_allowed()
    instance, nodes, views = await context.look(step.task)
    node = next((node for node in nodes if node.id == arguments.node_id), None)
    if node is None:
        return
    staying = [other for other in nodes if other.id not in arguments.leaving]
    topology, ending = topology_of(instance.spec_code), EndingNode(context, step, instance, node)
    lead = primaries(nodes, best_view(views)).get(node.shard)
    # Sentinel chooses among all nodes. If it chooses one that leaves too, that one hands over in its turn.
    candidates = [other for other in nodes if other.should_run] if topology.has_sentinel else [node, *staying]
    if lead is None or (lead is node and not await ending.hand_over(candidates, views)):
        message = f"no replica can take over from node {node.id}" if lead else f"shard {node.shard} has no primary"
        raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, message)
    if succeed:
        await succeed()
    await context.change_node(node.id, should_run=False)
    await ending.end_clients(has_successor=True)
    # While it waited for clients, it may have taken over again: then it must hand over once more.
    views = await context.views(instance, nodes)
    require_no_slots(node, views if topology.is_cluster else {node.id: views[node.id]})
    if topology.has_sentinel:
        await record_another_primary(context, instance, node.id)
    await take_out(context, instance, node, staying)


async def record_another_primary(context: OperationContext, instance: Instance, node_id: str) -> None:
    """Record which node is the primary, before a node is removed from the record. ActionFailed if it is that one."""
    primary = await present_primary(context, instance, await context.nodes(instance.id))
    if primary is None or primary.id == node_id:
        message = f"node {node_id} has not handed over yet"
        raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, message)
    await record_primary(context, instance.id, primary.id)


class Synchronization:
    """The full synchronization of one new replica."""

    def __init__(
        self,
        context: OperationContext,
        step: StepContext,
        instance: Instance,
        node: Node,
        attach: Callable[[Node], Awaitable[None]] | None = None,
        *,
        absent: Collection[str] = (),
    ) -> None:
        """:param attach: makes the node follow a primary, where it is no node of the instance yet.
        :param absent: ids of nodes that are not queried: a host that is cut off does not even refuse.
        """
        self._attach = attach
        self._absent = absent
        self._context = context
        self._step = step
        self._instance = instance
        self._node = node
        self._access = context.access(instance)
        self._is_cluster = topology_of(instance.spec_code).is_cluster
        self._progress = SyncProgress(int(step.sub_step.work.total))
        self._moved_at = time.monotonic()
        self._seen: SyncState | None = None

    async def ensure(self) -> None:
        """Return when the node has everything. ActionFailed if the task is cancelled, if no counter moves for a while,
        or if the shard has no primary."""
        primary = await self._primary()
        while primary.id != self._node.id:
            self._step.raise_if_cancelled()
            state = await self._state(primary)
            if state and state.primary_port == primary.peer_port:
                self._progress.see(state)
                self._report(state)
                if self._progress.is_complete(state):
                    return
            else:
                primary = await self._follow()
            self._require_movement(state, primary)
            await asyncio.sleep(_POLL_SECONDS)

    async def _state(self, primary: Node) -> SyncState | None:
        """None if a node does not answer. One that has died is restarted by the supervisor."""
        try:
            return await replica_sync.read(self._node, primary, self._access)
        except (*NODE_GONE, NodeRefused):
            return None

    async def _follow(self) -> Node:
        """Make the node follow the present primary of its shard, and return that, if both answer."""
        primary = await self._primary()
        if self._attach:
            await self._attach(primary)
            return primary
        with suppress(*NODE_GONE):
            async with asyncio.timeout(_FOLLOW_SECONDS):
                if self._is_cluster:
                    await cluster_membership.replicate(self._node, primary, self._access)
                elif primary.id != self._node.id:
                    await plain_replication.follow(self._node, primary, self._access)
        return primary

    async def _primary(self) -> Node:
        if self._is_cluster:
            instance, nodes = await self._context.instance_and_nodes(self._step.task)
            present = [node for node in nodes if node.id not in self._absent]
            views = await self._context.views(instance, present)
            return current_primary(nodes, views)(self._node.id)
        while True:  # the sentinels decide; a new node says that it is a primary, too
            self._step.raise_if_cancelled()
            nodes = await self._context.nodes(self._instance.id)
            if primary := await present_primary(self._context, self._instance, nodes):
                return primary
            await asyncio.sleep(_POLL_SECONDS)

    def _report(self, state: SyncState) -> None:
        loaded = f"{state.loaded}/{state.to_load}" if state.to_load else "0"
        figures = f"received_bytes:{state.received},loaded_bytes:{loaded},offset:{state.offset}/{state.primary_offset}"
        total = self._step.sub_step.work.total
        detail = f"{node_detail(self._node)[:-1]},{figures}}}"
        self._step.measure(done=min(self._progress.share, 1.0) * total, detail=detail)

    def _require_movement(self, state: SyncState | None, primary: Node) -> None:
        """Show a wait for the primary, and raise ActionFailed DCS.9006 if nothing has changed for the time after which
        the sub-step counts as stalled."""
        now = time.monotonic()
        is_waiting = state is not None and state.is_rewriting and not state.is_linked and not state.received
        if is_waiting:
            cause = f"a rewrite of the append-only file of node {primary.id}"
            self._step.begin_wait(f"waiting for {cause}", cause=cause)
        else:
            self._step.end_wait()
        if is_waiting or state != self._seen:
            self._seen, self._moved_at = state, now
        if now - self._moved_at > self._step.policy.stalled:
            message = f"replica {self._node.id} makes no progress"
            raise ActionFailed(errors.SUB_STEP_TIMEOUT, message)
