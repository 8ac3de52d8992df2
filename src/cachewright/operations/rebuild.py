"""Repair of a node that cannot start because its files are damaged or lost, or of a replica by request.

- Its nodes.conf is damaged: it gets the view of another node, and keeps its data.
- Its data is damaged or lost: another node of its shard is or becomes the primary, and the node gets all data from it.

The supervisor starts such tasks; until they end the instance serves and refuses changes of its nodes (DCS.4104).
"""

from collections.abc import Sequence

import msgspec

from cachewright import errors
from cachewright.errors import ApiError
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import Step, Task
from cachewright.operations.actions.action import NodeArguments
from cachewright.operations.actions.rebuild import (
    RebuildNode,
    other_primary,
    promote_replica,
    rebuild_node,
    restore_membership,
)
from cachewright.operations.actions.switchover import CheckFollowers, check_followers
from cachewright.operations.context import OperationContext
from cachewright.operations.operation import Accepted, Operation
from cachewright.operations.requests import RebuildRequest
from cachewright.operations.start_failure import way_out
from cachewright.operations.step_names import POST_CHECK
from cachewright.tasks.operation import ActionFailed
from cachewright.tasks.plan import build, effort
from cachewright.valkey import key_deletion

_LANE = "node"
_PROMOTION_SECONDS = 10.0
_START_SECONDS = 0.5
_CHECK_SECONDS = 0.1
_BYTES_PER_SECOND = 100_000_000.0


class RebuildParams(msgspec.Struct, frozen=True):
    """`keeps_data`: only the node's nodes.conf is replaced."""

    node_id: str
    keeps_data: bool = False


class Rebuild(Operation[RebuildRequest, RebuildParams]):
    kind = "rebuild"
    name = "RebuildNode"
    permission = "dcs:instance:modifyStatus"
    params = RebuildParams
    outline = ("Node rebuild.", POST_CHECK)
    accepts = frozenset({"RUNNING", "ERROR"})
    busy = errors.INSTANCE_RECOVERING
    status_while_running = "RUNNING"

    def validate(self, instance: Instance, nodes: Sequence[Node], request: RebuildRequest) -> Accepted[RebuildParams]:
        node = next((node for node in nodes if node.id == request.node_id), None)
        if node is None:
            raise ApiError(errors.INVALID_NODE_ID, node=request.node_id)
        if not node.should_run:
            raise ApiError(errors.NOT_ON_THIS_NODE, reason=f"node {node.id} is stopped; start it")
        if request.is_serving_primary:
            raise ApiError(errors.NOT_A_REPLICA, node=node.id)
        keeps_data = request.failure is not None and request.failure.damage == "membership"
        has_other = any(other.shard == node.shard and other is not node and other.should_run for other in nodes)
        if not (keeps_data or has_other):
            cause = f"node {node.id} is the only one of its shard"
            if request.failure:
                cause += f" and does not start: {request.failure.cause}. {way_out(request.failure, has_other=False)}"
            raise ApiError(errors.NOT_ON_THIS_NODE, reason=cause)
        return Accepted(RebuildParams(node.id, keeps_data), {"node_name": f"{node.host}:{node.port}"})

    def expected_seconds(self, task: Task, nodes: Sequence[Node], dataset: int) -> float:
        return _PROMOTION_SECONDS + dataset / max(len({node.shard for node in nodes}), 1) / _BYTES_PER_SECOND

    async def plan(self, context: OperationContext, task: Task) -> tuple[Step, ...]:
        params = self.params_of(task)
        instance, nodes, views = await context.look(task)
        node = next((node for node in nodes if node.id == params.node_id), None)
        if node is None:
            raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, f"node {params.node_id} was removed", True)
        name = f"Shard {node.shard}"
        arguments = NodeArguments(node.id)
        promotions, total = [], 1
        if params.keeps_data:
            work = effort(_LANE, seconds=_START_SECONDS)
            repair = restore_membership.sub_step(f"Membership. {name}", work, arguments)
        else:
            lead = other_primary(node, nodes, views)
            if lead is None:
                work = effort(_LANE, seconds=_PROMOTION_SECONDS)
                promotions = [promote_replica.sub_step(f"Promotion of a replica. {name}", work, arguments)]
            else:
                total = (await key_deletion.state(lead, context.access(instance))).used_memory
            seconds = _START_SECONDS + total / _BYTES_PER_SECOND
            work = effort(_LANE, unit="bytes", total=total, seconds=seconds, fixed=_START_SECONDS)
            repair = rebuild_node.sub_step(f"Node rebuild. {name}", work, RebuildNode(node.id, total))
        shard = [other.id for other in nodes if other.shard == node.shard and (views[other.id] or other is node)]
        check = check_followers.sub_step(
            f"Replication check. {name}",
            effort(_LANE, unit="nodes", total=len(shard), seconds=_CHECK_SECONDS),
            CheckFollowers(tuple(shard)),
        )
        return build(task.run_id, {"Promotion.": promotions, "Node rebuild.": [repair], POST_CHECK: [check]})


REBUILD = Rebuild()
