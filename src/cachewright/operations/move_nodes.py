"""Moving nodes of an instance to other hosts, while it serves clients.

Each node that leaves gets a replacement on another host, which becomes a replica of its shard and copies all data. A
primary then hands over as in a switchover, and the node is removed. Nodes of a host that does not report are replaced
in the same way, once another copy of their shard is the primary. The only node of a single instance moves as
`move_single` describes.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import msgspec
import sqlalchemy as sa

from cachewright import errors
from cachewright.errors import ApiError
from cachewright.flavors import parse
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import Step, Task
from cachewright.operations import client_firewall, move_single
from cachewright.operations.actions.action import NodeArguments
from cachewright.operations.actions.cluster import JoinCluster, join_cluster, join_work
from cachewright.operations.actions.moves import (
    MoveNode,
    move_node,
    promote_survivor,
    replace_lost_node,
    require_agreed,
    succeed,
)
from cachewright.operations.actions.nodes import remove_node
from cachewright.operations.actions.replicas import AddReplica, add_replica
from cachewright.operations.actions.single_move import settle_single
from cachewright.operations.context import OperationContext, best_view
from cachewright.operations.ending_node import grace_seconds, hand_over_seconds
from cachewright.operations.move_plan import MovePlan, decide, heir, surplus_additions
from cachewright.operations.operation import Accepted, Operation
from cachewright.operations.requests import MoveCause, MoveRequest, NodeMove
from cachewright.operations.resize import added_nodes
from cachewright.operations.resize.cost_model import copy_effort
from cachewright.operations.resize.replica_plan import seed_of
from cachewright.operations.step_names import POST_CHECK, PRE_CHECK
from cachewright.store import instances
from cachewright.tasks.plan import SubStepSpec, build, effort
from cachewright.topologies import layout, topology_of
from cachewright.topologies.ha import watch_steps
from cachewright.topologies.topology import start_node, status_check
from cachewright.valkey import cluster_membership, key_deletion
from cachewright.valkey.client import NODE_GONE, NodeRefused

_PROMOTION_SECONDS = 10.0
_REMOVE_SECONDS = 0.5
_BYTES_PER_SECOND = 50e6
LOST_CAUSES: frozenset[MoveCause] = frozenset({"silent_host", "lost_host"})


class MoveParams(msgspec.Struct, frozen=True, kw_only=True):
    cause: MoveCause
    moves: tuple[NodeMove, ...]
    zones: tuple[str, ...] = ()

    @property
    def node_ids(self) -> frozenset[str]:
        return frozenset(move.node_id for move in self.moves)


class MoveNodes(Operation[MoveRequest, MoveParams]):
    kind = "move_nodes"
    name = "MoveNodes"
    permission = "dcs:instance:modify"
    params = MoveParams
    outline = (PRE_CHECK, "Replica synchronization.", "Node removal.", POST_CHECK)
    accepts = frozenset({"RUNNING", "ERROR"})
    busy = errors.INSTANCE_STATE_CONFLICT
    status_while_running = "RUNNING"

    def validate(self, instance: Instance, nodes: Sequence[Node], request: MoveRequest) -> Accepted[MoveParams]:
        if reason := immovable(instance, nodes, request.cause):
            raise ApiError(errors.UNSUPPORTED_RESIZE, reason=reason)
        present = {node.id: node for node in nodes}
        for move in request.moves:
            node = present.get(move.node_id)
            if node is None:
                raise ApiError(errors.INVALID_NODE_ID, node=move.node_id)
            if not node.should_run and request.cause not in LOST_CAUSES:
                raise ApiError(errors.NOT_ON_THIS_NODE, reason=f"node {node.id} is stopped; start it")
        params = MoveParams(cause=request.cause, moves=request.moves, zones=request.zones)
        return Accepted(params)

    def expected_seconds(self, task: Task, nodes: Sequence[Node], dataset: int) -> float:
        moved, shards = len(self.params_of(task).moves), max(len({node.shard for node in nodes}), 1)
        return 1.0 + moved * (_REMOVE_SECONDS + dataset / shards / _BYTES_PER_SECOND)

    async def plan(self, context: OperationContext, task: Task) -> tuple[Step, ...]:
        params = self.params_of(task)
        instance, nodes, views = await context.look(task)
        is_lost = params.cause in LOST_CAUSES
        topology = topology_of(instance.spec_code)
        if not (topology.is_cluster or topology.has_sentinel):
            own, zones = params.moves, params.zones
            return await move_single.plan(context, task, instance, nodes[0], moves=own, zones=zones)
        newest, salt = added_nodes.newest_version(nodes), task.run_id
        plan = decide(
            nodes=[node for node in nodes if not layout.has_salt(node, salt)],
            views=views,
            moved=params.node_ids,
            cause=params.cause,
            copies=parse(instance.spec_code).copies,
            new=lambda numbers: layout.new_replicas(
                context.settings, instance.id, parse(instance.spec_code), numbers, salt=salt, server_version=newest
            ),
            is_cluster=topology.is_cluster,
        )
        if topology.has_sentinel and params.cause == "silent_host":
            for source in plan.sources.values():
                await require_agreed(context, instance, source)
        seed = seed_of(instance, nodes)
        targets = {move.node_id: move.to for move in params.moves if move.to is not None}
        try:
            await asyncio.to_thread(
                added_nodes.store,
                context,
                task,
                plan.added,
                leaving={node.id for node in plan.leaving},
                zones=params.zones,
                targets={new.id: targets[old.id] for old, new in plan.replacements if old.id in targets},
                # Nodes that Sentinel watches are told apart by their ports.
                kept_port=None
                if topology.has_sentinel
                else next(((new.id, old.port) for old, new in plan.replacements if old == seed), None),
            )
        except ApiError:  # no host has room. The instance shall serve, and the next task replaces the lost nodes
            if not plan.leaderless:
                raise
            return build(task.run_id, {"Promotion.": [_promote(node) for node in plan.leaderless]})
        return build(task.run_id, await _steps(context, instance, plan, is_lost=is_lost))

    async def recover(self, context: OperationContext, task: Task) -> None:
        """Remove new nodes that their shards do not need: those without slots, while the shard has more copies than it
        should have. Before, a node that stays gets what they have: the address of the instance, and the role."""
        instance, nodes, views = await context.look(task)
        topology = topology_of(instance.spec_code)
        if not (topology.is_cluster or topology.has_sentinel):
            await settle_single(context, task)
            return
        members, copies = best_view(views).members, parse(instance.spec_code).copies
        surplus = surplus_additions(nodes, members, copies, lambda node: layout.has_salt(node, task.run_id))
        staying = [node for node in nodes if node not in surplus]
        moved = self.params_of(task).node_ids
        heirs = [(node, heir(node, staying, views, moved)) for node in surplus]

        def give_back() -> None:
            with context.database.write() as connection:
                for node, successor in heirs:
                    succeed(connection, instance.id, node.id, successor.id)

        if heirs and topology.is_cluster:
            await asyncio.to_thread(give_back)
        for node in surplus:
            for other in staying if topology.is_cluster else ():
                with suppress(*NODE_GONE, NodeRefused):
                    await cluster_membership.forget(other, node.id, context.access(instance))
            await remove_node(context, node)
        for node in nodes:
            if node.id in moved and not node.should_run and self.params_of(task).cause not in LOST_CAUSES:
                await context.change_node(node.id, should_run=True)

    def withdrawn(self, connection: sa.Connection, task: Task) -> None:
        """Remove new nodes, which have never run."""
        of_instance = task.instance_id
        nodes = [*instances.nodes_of(connection, of_instance), *instances.apart_of(connection, of_instance)]
        instances.remove_nodes(connection, [node.id for node in nodes if layout.has_salt(node, task.run_id)])

    def succeeded(self, context: OperationContext, connection: sa.Connection, task: Task) -> None:
        """Record the new zones."""
        instance, zones = instances.find(connection, task.instance_id), self.params_of(task).zones
        if instance is not None and zones:
            attributes = {**instance.attributes, "az_codes": list(zones)}
            instances.change(connection, instance.id, attributes=attributes)


def immovable(instance: Instance, nodes: Sequence[Node], cause: MoveCause = "drain") -> str | None:
    """Return why nodes of an instance cannot move to other hosts; None if they can."""
    topology = topology_of(instance.spec_code)
    if not topology.is_cluster:
        if not topology.has_sentinel and cause in LOST_CAUSES:
            return "a single instance has no copy of its data on another host"
        return added_nodes.bound_to_server(instance, nodes)
    if client_firewall.is_filtered(instance):
        return "instances with a whitelist stay on the host of the server"
    return None


async def _steps(
    context: OperationContext, instance: Instance, plan: MovePlan, *, is_lost: bool
) -> dict[str, list[SubStepSpec]]:
    access, turns = context.access(instance), context.migrations.concurrency
    sizes = {shard: (await key_deletion.state(lead, access)).used_memory for shard, lead in plan.sources.items()}
    new = tuple(node.id for node in plan.added)
    check = status_check((*new, *plan.silent))
    after = status_check(plan.silent)
    joining = join_work(len(new), len(plan.staying))
    joins = join_cluster.sub_step("Cluster join.", joining, JoinCluster(new, plan.silent))
    topology = topology_of(instance.spec_code)
    watching = watch_steps() if topology.has_sentinel else []
    return {
        PRE_CHECK: [] if is_lost else [check],
        "Promotion.": [_promote(node) for node in plan.leaderless],
        "Resource request.": [start_node(node, founding=False) for node in plan.added],
        "Cluster join.": [joins] if new and topology.is_cluster else [],
        "Replica synchronization.": [
            _synchronize(node, sizes.get(node.shard, 0), f"replica {number % turns}", turns, plan.silent)
            for number, node in enumerate(plan.added)
        ],
        "New replicas.": watching if new and not is_lost else [],
        "Node removal.": await _remove(context, instance, plan, is_lost=is_lost),
        "Failover.": watching,
        POST_CHECK: [after],
    }


def _promote(node: Node) -> SubStepSpec:
    work = effort(f"shard {node.shard}", seconds=_PROMOTION_SECONDS)
    return promote_survivor.sub_step(f"Promotion of a replica. Shard {node.shard}", work, NodeArguments(node.id))


def _synchronize(node: Node, size: int, lane: str, turns: int, absent: tuple[str, ...]) -> SubStepSpec:
    work = copy_effort(lane, size, turns)
    return add_replica.sub_step(f"Replica synchronization. Shard {node.shard}", work, AddReplica(node.id, absent))


async def _remove(context: OperationContext, instance: Instance, plan: MovePlan, *, is_lost: bool) -> list[SubStepSpec]:
    """Nodes of one shard leave one after another, the primary last."""
    grace: dict[str, float] = {}
    if not is_lost:
        grace = await grace_seconds(context, instance, plan.leaving)
        leads = [node for node in plan.leaving if node in plan.sources.values()]
        for node_id, seconds in (await hand_over_seconds(context, instance, leads)).items():
            grace[node_id] += seconds
    leaving = tuple(node.id for node in plan.leaving)
    performed = replace_lost_node if is_lost else move_node
    return [
        performed.sub_step(
            f"Node removal. Shard {node.shard}, {node.role}",
            effort(
                f"shard {node.shard}", seconds=_REMOVE_SECONDS + (drained := grace.get(node.id, 0.0)), fixed=drained
            ),
            MoveNode(node.id, plan.successors[node.id], leaving),
        )
        for node in plan.leaving
    ]


MOVE_NODES = MoveNodes()
