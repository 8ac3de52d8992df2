"""The steps and sub-steps of a resize plan, as the task stores and shows them. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from cachewright.model.instances import Node
from cachewright.model.tasks import Step
from cachewright.operations.actions.checks import CheckResources
from cachewright.operations.actions.nodes import IDLE_SECONDS
from cachewright.operations.resize_estimate import Speed, move_specs
from cachewright.operations.resize_plan import ResizePlan
from cachewright.operations.step_names import POST_CHECK, PRE_CHECK, RESOURCE_CHECK, STATUS_CHECK
from cachewright.tasks.plan import SubStepSpec, build, effort
from cachewright.valkey.node_load import NodeLoad

_CHECK_SECONDS = 0.05
_START_SECONDS = 0.15
_JOIN_SECONDS, _JOIN_SECONDS_A_NODE = 0.15, 0.03
_RELEASE_SECONDS = 0.2


def steps(run_id: str, plan: ResizePlan, loads: Mapping[str, NodeLoad], speed: Speed) -> tuple[Step, ...]:
    """`loads` by node id, of each primary. Steps without a sub-step are left out."""
    memory = [_set_memory(node) for node in plan.resized]
    return build(
        run_id,
        {
            PRE_CHECK: [_check_resources(plan.requirements), _check_status(plan.added)],
            "Resource request.": [_start(node) for node in plan.added],
            "Cluster join.": _join(plan.added, len(plan.kept)),
            "Memory increase.": memory if plan.grows else [],
            "Data migration.": move_specs(plan.moves, loads, speed),
            "Memory decrease.": [] if plan.grows else memory,
            "Resource release.": [_release(node, plan.removed, loads.get(node.id)) for node in plan.removed],
            POST_CHECK: [_check_status([])],
        },
    )


def resource_arguments(requirements: CheckResources) -> dict[str, Any]:
    """The stored arguments of the action "check resources"."""
    arguments: dict[str, Any] = msgspec.to_builtins(requirements)
    return arguments | {"rooms": [list(room) for room in arguments["rooms"]]}


def _check_resources(requirements: CheckResources) -> SubStepSpec:
    return SubStepSpec(
        name=RESOURCE_CHECK,
        action="check resources",
        work=effort("check", seconds=_CHECK_SECONDS),
        arguments=resource_arguments(requirements),
    )


def _check_status(added: Sequence[Node]) -> SubStepSpec:
    """Of all nodes but the added ones, which have not started yet."""
    return SubStepSpec(
        name=STATUS_CHECK,
        action="check status",
        work=effort("check", seconds=_CHECK_SECONDS),
        arguments={"new": [node.id for node in added]},
    )


def _start(node: Node) -> SubStepSpec:
    return SubStepSpec(
        name=f"Node start. Shard {node.shard}, {node.role}",
        action="start node",
        work=effort(node.id, seconds=_START_SECONDS),
        arguments={"node_id": node.id, "founding": False},
    )


def _join(added: Sequence[Node], kept: int) -> list[SubStepSpec]:
    if not added:
        return []
    total = kept + len(added)
    work = effort("join", unit="nodes", total=total, seconds=_JOIN_SECONDS + _JOIN_SECONDS_A_NODE * total)
    node_ids = [node.id for node in added]
    return [SubStepSpec(name="Cluster join.", action="join cluster", work=work, arguments={"node_ids": node_ids})]


def _set_memory(node: Node) -> SubStepSpec:
    return SubStepSpec(
        name=f"Memory change. Shard {node.shard}, {node.role}",
        action="set memory",
        work=effort(node.id, seconds=_CHECK_SECONDS),
        arguments={"node_id": node.id},
    )


def _release(node: Node, removed: Sequence[Node], load: NodeLoad | None) -> SubStepSpec:
    """A node with clients runs on until they have learnt where its slots went."""
    drained = IDLE_SECONDS if load and load.clients else 0.0
    return SubStepSpec(
        name=f"Node release. Shard {node.shard}, {node.role}",
        action="release node",
        work=effort(node.id, seconds=_RELEASE_SECONDS + drained),
        arguments={"node_id": node.id, "leaving": [other.id for other in removed]},
    )
