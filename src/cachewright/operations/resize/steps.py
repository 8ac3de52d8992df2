"""The steps and sub-steps of a resize plan, as the task stores and shows them. Pure."""

from collections.abc import Mapping, Sequence

from cachewright.model.instances import Node
from cachewright.model.tasks import Step
from cachewright.operations.actions.action import NodeArguments
from cachewright.operations.actions.checks import CheckResources, CheckStatus, check_resources, check_status
from cachewright.operations.actions.cluster import JoinCluster, join_cluster
from cachewright.operations.actions.nodes import ReleaseNode, release_node, set_memory
from cachewright.operations.resize.cost_model import Host, move_specs
from cachewright.operations.resize.plan import ResizePlan
from cachewright.operations.step_names import POST_CHECK, PRE_CHECK, RESOURCE_CHECK, STATUS_CHECK
from cachewright.tasks.plan import SubStepSpec, build, effort
from cachewright.topologies.topology import start_node
from cachewright.valkey.node_load import NodeLoad

_CHECK_SECONDS = 0.05
_JOIN_SECONDS, _JOIN_SECONDS_A_NODE = 0.15, 0.03
_RELEASE_SECONDS = 0.2
_RELEASE_WITHOUT_CLIENTS = f"{release_node.name}: without clients"
_DRAIN_SECONDS = 0.1


def steps(
    run_id: str,
    plan: ResizePlan,
    loads: Mapping[str, NodeLoad],
    host: Host,
    grace: Mapping[str, float] | None = None,
) -> tuple[Step, ...]:
    """Format a plan. Steps without sub-steps are omitted.

    :param loads: of each primary, by node id.
    :param grace: seconds for which a removed node may have to wait for its clients, by node id. 0 if a node is not in
        it.
    """
    memory = [_set_memory(node) for node in plan.resized]
    return build(
        run_id,
        {
            PRE_CHECK: [_check_resources(plan.requirements), _check_status(plan.added)],
            "Resource request.": [start_node(node, founding=False) for node in plan.added],
            "Cluster join.": _join(plan.added, len(plan.kept)),
            "Memory increase.": memory if plan.grows else [],
            "Data migration.": move_specs(plan.moves, loads, host, {node.id for node in plan.added}),
            "Memory decrease.": [] if plan.grows else memory,
            "Resource release.": [_release(node, plan.removed, loads, grace or {}) for node in plan.removed],
            POST_CHECK: [_check_status([])],
        },
    )


def _check_resources(requirements: CheckResources) -> SubStepSpec:
    return check_resources.sub_step(RESOURCE_CHECK, effort("check", seconds=_CHECK_SECONDS), requirements)


def _check_status(added: Sequence[Node]) -> SubStepSpec:
    """Check of all nodes except the added ones, which have not started yet."""
    new = CheckStatus(tuple(node.id for node in added))
    return check_status.sub_step(STATUS_CHECK, effort("check", seconds=_CHECK_SECONDS), new)


def _join(added: Sequence[Node], kept: int) -> list[SubStepSpec]:
    if not added:
        return []
    total = kept + len(added)
    work = effort("join", unit="nodes", total=total, seconds=_JOIN_SECONDS + _JOIN_SECONDS_A_NODE * total)
    return [join_cluster.sub_step("Cluster join.", work, JoinCluster(tuple(node.id for node in added)))]


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
    work = effort(node.id, seconds=_RELEASE_SECONDS + drained, rate="" if drained else _RELEASE_WITHOUT_CLIENTS)
    return release_node.sub_step(name, work, arguments)
