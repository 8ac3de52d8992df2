"""The steps and sub-steps of a resize plan, as the task stores and shows them. Pure."""

from collections.abc import Mapping, Sequence

from cachewright.model.instances import Node, has_proxy
from cachewright.model.tasks import Step
from cachewright.operations.actions.action import NoArguments, NodeArguments
from cachewright.operations.actions.checks import resource_check
from cachewright.operations.actions.child_processes import WaitForChild, wait_for_child
from cachewright.operations.actions.cluster import JoinCluster, join_cluster, join_work
from cachewright.operations.actions.instance_type import (
    ChangeType,
    become_ha,
    become_single,
    end_direct_connections,
)
from cachewright.operations.actions.nodes import ReleaseNode, release_node, set_memory
from cachewright.operations.actions.replicas import AddReplica, add_replica, remove_replica
from cachewright.operations.resize.cost_model import copy_effort, move_specs, needs_snapshot
from cachewright.operations.resize.new_cluster import NewCluster
from cachewright.operations.resize.plan import Observation, ResizePlan, copied_bytes
from cachewright.operations.step_names import POST_CHECK, PRE_CHECK
from cachewright.tasks.plan import SubStepSpec, build, effort
from cachewright.tasks.progress import planned_seconds
from cachewright.topologies import topology_of
from cachewright.topologies.ha import watch_steps
from cachewright.topologies.topology import start_node, status_check
from cachewright.valkey.node_load import NodeLoad

_CHECK_SECONDS = 0.02
_WATCH_SECONDS, _UNWATCH_SECONDS = 2.0, 0.4
_LEAVE_SECONDS = 5.0
"""Time in which active clients leave the former port of a node."""
_RELEASE_SECONDS, _RELEASE_SECONDS_A_BYTE = 0.03, 0.6e-9
_RELEASE_WITHOUT_CLIENTS = f"{release_node.name}: without clients"
_DRAIN_SECONDS = 0.04
_REMOVE_SECONDS = 0.3
_CHILD_SECONDS_A_BYTE, _LONE_CHILD_SECONDS_A_BYTE = 5e-9, 3.3e-9
"""Seconds of a child process for each byte of its node's memory, while other sources work and without any."""
_CHILD_LATENCY = 0.7
"""Share of a child process's time in which the moves of other sources are as fast as without it: it uses one processor,
they use two, and it waits for the disk."""


def steps(
    run_id: str,
    plan: ResizePlan,
    observed: Observation,
    grace: Mapping[str, float] | None = None,
    change: NewCluster | None = None,
) -> tuple[Step, ...]:
    """Format the plan that was made from an observation. Steps without sub-steps are omitted.

    :param grace: seconds for which a removed node may have to wait for its clients, by node id. 0 if a node is not in
        it.
    :param change: makes the instance the cluster that was observed.
    """
    loads, host, topology = observed.loads, observed.host, topology_of(plan.to.spec_code)
    memory = [_set_memory(node) for node in plan.resized]
    before = build(
        run_id,
        {
            PRE_CHECK: [
                resource_check(plan.requirements),
                status_check([node.id for node in plan.added]),
                *(change.checks if change else ()),
            ],
            "Type change.": change.sub_steps if change else _become_ha(plan, observed, grace or {}),
            "Resource request.": [start_node(node, founding=False) for node in plan.added],
            "Cluster join.": _join(plan.added, len(plan.kept)) if topology.is_cluster else [],
            "Replica synchronization.": _add_replicas(plan, observed),
            "Memory increase.": memory if plan.grows else [],
        },
    )
    children = _wait_for_children(plan, observed, planned_seconds(before))
    from_moves = build(
        run_id,
        {
            "Data migration.": [
                *children,
                *move_specs(plan.moves, loads, host, {node.id for node in plan.added}),
            ],
            "Memory decrease.": [] if plan.grows else memory,
            "Replica removal.": [_remove_replica(node, plan, grace or {}) for node in plan.surplus],
            "Resource release.": [_release(node, plan.removed, loads, grace or {}) for node in plan.removed],
            "Failover.": watch_steps() if topology.has_sentinel and (plan.added or plan.surplus) else [],
            "End of failover.": _become_single(plan),
            POST_CHECK: [status_check()],
        },
    )
    return (*before, *from_moves)


def _become_ha(plan: ResizePlan, observed: Observation, grace: Mapping[str, float]) -> list[SubStepSpec]:
    if (plan.now.cache_mode, plan.to.cache_mode) != ("single", "ha"):
        return []
    change = ChangeType(plan.to.spec_code)
    become = become_ha.sub_step("Failover and address.", effort("type", seconds=_WATCH_SECONDS), change)
    if has_proxy(observed.instance, observed.nodes):
        return [become]
    active = _LEAVE_SECONDS if any(load.clients for load in observed.loads.values()) else 0.0
    leaving = max([active, *(grace.get(node.id, 0.0) for node in plan.kept)])
    work = effort("type", seconds=_CHECK_SECONDS + leaving, fixed=leaving)
    return [become, end_direct_connections.sub_step("Connections to the former port.", work, NoArguments())]


def _become_single(plan: ResizePlan) -> list[SubStepSpec]:
    if (plan.now.cache_mode, plan.to.cache_mode) != ("ha", "single"):
        return []
    change = ChangeType(plan.to.spec_code)
    return [become_single.sub_step("End of failover.", effort("type", seconds=_UNWATCH_SECONDS), change)]


def _join(added: Sequence[Node], kept: int) -> list[SubStepSpec]:
    if not added:
        return []
    arguments = JoinCluster(tuple(node.id for node in added))
    return [join_cluster.sub_step("Cluster join.", join_work(len(added), kept), arguments)]


def _add_replicas(plan: ResizePlan, observed: Observation) -> list[SubStepSpec]:
    """One sub-step for each replica. As many run at the same time as the host serves at full speed. Replicas of one
    shard are neighbours, so that they can share a snapshot of their primary."""
    turns = observed.host.turns
    return [
        _add_replica(node, copied_bytes(observed, node), f"replica {number % turns}", turns)
        for number, node in enumerate(sorted(plan.replicas, key=lambda node: node.shard))
    ]


def _add_replica(node: Node, size: int, lane: str, turns: int) -> SubStepSpec:
    work = copy_effort(lane, size, turns)
    return add_replica.sub_step(f"Replica synchronization. Shard {node.shard}", work, AddReplica(node.id))


def _wait_for_children(plan: ResizePlan, observed: Observation, before: float) -> list[SubStepSpec]:
    """One sub-step for each source that must not make a snapshot yet, in the lane of its moves.

    :param before: planned seconds of the steps before the moves, in which the child process works too.
    """
    specs = []
    sources = dict.fromkeys(move.source for move in plan.moves)
    a_byte = _CHILD_SECONDS_A_BYTE if len(sources) > 1 else _LONE_CHILD_SECONDS_A_BYTE
    for source in sources:
        load = observed.loads[source]
        if load.child is None or not needs_snapshot(load, observed.host):
            continue
        seconds = load.used_memory * a_byte * load.child.left
        if seconds > before:
            left = load.child.left * (1 - before / seconds)
            rest = seconds - before
            latency = _CHILD_LATENCY * rest
            work = effort(source, unit="keys", total=max(load.child.keys, 1), seconds=rest, latency=latency)
            name = f"Child process. Node {source}"
            specs.append(wait_for_child.sub_step(name, work, WaitForChild(source, left)))
    return specs


def _remove_replica(node: Node, plan: ResizePlan, grace: Mapping[str, float]) -> SubStepSpec:
    """Nodes of one shard leave one after another."""
    drained = grace.get(node.id, 0.0)
    arguments = ReleaseNode(node.id, leaving=tuple(other.id for other in plan.surplus))
    rate = "" if drained else f"{remove_replica.name}: without clients"
    work = effort(f"shard {node.shard}", seconds=_REMOVE_SECONDS + drained, fixed=drained, rate=rate)
    return remove_replica.sub_step(f"Replica removal. Shard {node.shard}", work, arguments)


def _set_memory(node: Node) -> SubStepSpec:
    name = f"Memory change. Shard {node.shard}, {node.role}"
    return set_memory.sub_step(name, effort(node.id, seconds=_CHECK_SECONDS), NodeArguments(node.id))


def _release(
    node: Node, removed: Sequence[Node], loads: Mapping[str, NodeLoad], grace: Mapping[str, float]
) -> SubStepSpec:
    """A node with clients keeps running until they have learnt the new owners of its slots."""
    load = loads.get(node.id)
    drained = grace.get(node.id) or (_DRAIN_SECONDS if load and load.clients else 0.0)
    name = f"Node release. Shard {node.shard}, {node.role}"
    arguments = ReleaseNode(node.id, leaving=tuple(other.id for other in removed))
    seconds = _RELEASE_SECONDS + (load.used_memory * _RELEASE_SECONDS_A_BYTE if load else 0.0)
    work = effort(node.id, seconds=seconds + drained, rate="" if drained else _RELEASE_WITHOUT_CLIENTS)
    return release_node.sub_step(name, work, arguments)
