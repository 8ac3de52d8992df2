"""Switchover: a replica becomes the primary of its shard, while clients use it.

The primary pauses writes, the replica applies what it lacks, and then takes over, so that no acknowledged write is
lost. Clients wait for less than a second. The former primary becomes a replica.
"""

from collections.abc import Mapping, Sequence

import msgspec

from cachewright import errors
from cachewright.errors import ApiError
from cachewright.model.instances import NEVER_PRIMARY, Instance, Node, group_id
from cachewright.model.tasks import Step, Task
from cachewright.operations.actions.action import NodeArguments
from cachewright.operations.actions.switchover import (
    CheckFollowers,
    SwitchOver,
    check_followers,
    compare_offsets,
    switch_over,
)
from cachewright.operations.context import OperationContext, best_view
from cachewright.operations.operation import Accepted, Operation
from cachewright.operations.requests import SwitchoverRequest
from cachewright.operations.step_names import POST_CHECK, PRE_CHECK
from cachewright.operations.succession import successors
from cachewright.tasks.operation import ActionFailed
from cachewright.tasks.plan import build, effort
from cachewright.topologies import topology_of
from cachewright.valkey.replication import replication_of
from cachewright.valkey.topology import View, primaries

_BYTES_PER_SECOND = 50_000_000.0  # of replication
_SWITCH_SECONDS = 0.6
_FOLLOW_SECONDS = 0.3
_LANE = "shard"


class SwitchoverParams(msgspec.Struct, frozen=True):
    """`node_id` is the replica that takes over; empty for the one with the best priority."""

    node_id: str = ""


class Switchover(Operation[SwitchoverRequest, SwitchoverParams]):
    kind = "switchover"
    name = "masterStandbySwapJob"
    permission = "dcs:instance:swap"
    params = SwitchoverParams
    outline = (PRE_CHECK, "Switchover.", POST_CHECK)
    busy = errors.INSTANCE_STATE_CONFLICT
    status_while_running = "RUNNING"

    def validate(
        self, instance: Instance, nodes: Sequence[Node], request: SwitchoverRequest
    ) -> Accepted[SwitchoverParams]:
        if request.node_id is None:
            return self._validate_any(instance, nodes, request.roles)
        if not topology_of(instance.spec_code).is_cluster:
            raise ApiError(errors.SWITCHOVER_UNSUPPORTED)
        node = require_replica(instance, nodes, request)
        if node.priority == NEVER_PRIMARY:
            raise ApiError(errors.NO_SUCCESSOR, reason=f"node {node.id} has priority 0")
        return Accepted(SwitchoverParams(node.id), {"node_name": f"{node.host}:{node.port}"})

    def _validate_any(
        self, instance: Instance, nodes: Sequence[Node], roles: Mapping[str, str]
    ) -> Accepted[SwitchoverParams]:
        if topology_of(instance.spec_code).cache_mode != "ha":
            raise ApiError(errors.NOT_PRIMARY_STANDBY)
        lead = next((node for node in nodes if roles.get(node.id) == "primary"), nodes[0])
        if not successors(lead, nodes):
            raise ApiError(errors.NO_SUCCESSOR, reason="every replica has priority 0")
        return Accepted(SwitchoverParams())

    def expected_seconds(self, task: Task, nodes: Sequence[Node], dataset: int) -> float:
        return _SWITCH_SECONDS + _FOLLOW_SECONDS

    async def plan(self, context: OperationContext, task: Task) -> tuple[Step, ...]:
        instance, nodes, views = await context.look(task)
        leads = primaries(nodes, best_view(views))
        node = _chosen(self.params_of(task).node_id, nodes, leads, views)
        lead = leads.get(node.shard, node)
        access = context.access(instance)
        missing = 0
        if lead.id != node.id:
            written, applied = await replication_of(lead, access), await replication_of(node, access)
            missing = max(written.offset - applied.offset, 0)
        shard = tuple(other.id for other in nodes if other.shard == node.shard and views[other.id])
        compare = compare_offsets.sub_step(
            f"Offset comparison. Shard {node.shard}",
            effort(_LANE, unit="bytes", total=max(missing, 1), seconds=missing / _BYTES_PER_SECOND + 0.05),
            NodeArguments(node.id),
        )
        switch = switch_over.sub_step(
            f"Switchover. Shard {node.shard}", effort(_LANE, seconds=_SWITCH_SECONDS), SwitchOver(node.id, lead.id)
        )
        check = check_followers.sub_step(
            f"Replication check. Shard {node.shard}",
            effort(_LANE, unit="nodes", total=len(shard), seconds=_FOLLOW_SECONDS),
            CheckFollowers(shard),
        )
        return build(task.run_id, {PRE_CHECK: [compare], "Switchover.": [switch], POST_CHECK: [check]})


def require_replica(instance: Instance, nodes: Sequence[Node], request: SwitchoverRequest) -> Node:
    """Return the node that the request names. ApiError DCS.3053, DCS.4062 or DCS.4931 if it is no node of the instance,
    not of that shard, or not a replica."""
    node = next((node for node in nodes if node.id == request.node_id), None)
    if node is None:
        raise ApiError(errors.INVALID_NODE_ID, node=request.node_id)
    if group_id(instance.id, node.shard) != request.group_id:
        raise ApiError(errors.INVALID_PARAMETER, parameter="group_id", reason="the node belongs to another shard")
    if request.roles.get(node.id) == "primary":
        raise ApiError(errors.NOT_A_REPLICA, node=node.id)
    return node


def _chosen(node_id: str, nodes: Sequence[Node], leads: Mapping[int, Node], views: Mapping[str, View | None]) -> Node:
    """The replica that takes over. ActionFailed if there is none."""
    if node_id:
        named = [node for node in nodes if node.id == node_id]
    else:
        named = [node for lead in leads.values() for node in successors(lead, nodes) if views[node.id]]
    if not named:
        raise ActionFailed(errors.SWITCHOVER_FAILED, "no replica that may take over responds")
    return named[0]


SWITCHOVER = Switchover()
