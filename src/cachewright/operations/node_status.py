"""Stopping and starting single nodes of an instance.

A stopped node stays a member of its cluster and keeps its data. It does not run until it is started again, also after a
restart of the server (`Node.should_run`).
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from cachewright import errors
from cachewright.errors import ApiError
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import Step, Task
from cachewright.operations.actions.action import NodeArguments
from cachewright.operations.actions.former_data import return_former_data
from cachewright.operations.actions.node_status import NodeList, halt_node, resume_node, settle_nodes
from cachewright.operations.context import OperationContext, best_view
from cachewright.operations.ending_node import grace_seconds
from cachewright.operations.former_data import former_data
from cachewright.operations.operation import Accepted, Operation
from cachewright.operations.requests import NodeStatusRequest
from cachewright.operations.step_names import POST_CHECK
from cachewright.tasks.plan import build, effort
from cachewright.topologies import topology_of
from cachewright.valkey.topology import primaries

_STOP_SECONDS = 1.0
_START_SECONDS = 0.5
_SETTLE_SECONDS = 0.5
_LANE = "nodes"


class NodeStatusParams(msgspec.Struct, frozen=True):
    node_ids: tuple[str, ...] = ()
    action: Literal["start", "stop"] = "stop"


class NodeStatus(Operation[NodeStatusRequest, NodeStatusParams]):
    kind = "node_status"
    name = "ChangeNodesStatus"
    permission = "dcs:instance:modifyStatus"
    params = NodeStatusParams
    outline = ("Node status.",)
    accepts = frozenset({"RUNNING", "ERROR"})
    busy = errors.INSTANCE_STATE_CONFLICT
    status_while_running = "RUNNING"

    def validate(
        self, instance: Instance, nodes: Sequence[Node], request: NodeStatusRequest
    ) -> Accepted[NodeStatusParams]:
        """A shard keeps at least one running node, unless the whole instance is stopped."""
        known = {node.id: node for node in nodes}
        for node_id in request.node_ids:
            if node_id not in known:
                raise ApiError(errors.INVALID_NODE_ID, node=node_id)
        chosen = request.node_ids or tuple(known)
        has_sentinel = topology_of(instance.spec_code).has_sentinel
        if request.action == "start" and has_sentinel and not any(node.should_run for node in nodes):
            lead = next(node for node in nodes if node.role == "primary")
            if lead.id not in chosen:
                raise ApiError(errors.NOT_ON_THIS_NODE, reason=f"start node {lead.id} too: it has the last writes")
        if request.action == "stop" and set(chosen) != known.keys():
            running = {node.shard for node in nodes if node.should_run and node.id not in chosen}
            for node_id in chosen:
                if known[node_id].should_run and known[node_id].shard not in running:
                    reason = f"node {node_id} is the last running node of shard {known[node_id].shard}"
                    raise ApiError(errors.NOT_ON_THIS_NODE, reason=f"{reason}, whose keys would not be served")
        return Accepted(NodeStatusParams(chosen, request.action))

    def expected_seconds(self, task: Task, nodes: Sequence[Node], dataset: int) -> float:
        return _SETTLE_SECONDS + _STOP_SECONDS * len(self.params_of(task).node_ids or nodes)

    async def plan(self, context: OperationContext, task: Task) -> tuple[Step, ...]:
        """Replicas stop before primaries. Nodes start together, because they wait for each other."""
        params = self.params_of(task)
        instance, nodes, views = await context.look(task)
        chosen = [node for node in nodes if node.id in params.node_ids]
        if params.action == "start":
            former = await former_data(context, instance.id, chosen, self.kind)
            starts = [
                *(
                    return_former_data.sub_step(_name(node), effort(node.id, seconds=_STOP_SECONDS), former[node.id])
                    for node in chosen
                    if node.id in former
                ),
                *(
                    resume_node.sub_step(_name(node), effort(node.id, seconds=_START_SECONDS), NodeArguments(node.id))
                    for node in chosen
                ),
            ]
            hold = topology_of(instance.spec_code).hold_seconds
            work = effort(_LANE, unit="nodes", total=len(chosen), seconds=_SETTLE_SECONDS + hold, fixed=hold)
            ids = NodeList(tuple(node.id for node in chosen))
            return build(
                task.run_id,
                {"Node start.": starts, POST_CHECK: [settle_nodes.sub_step("Membership check.", work, ids)]},
            )
        leads = primaries(nodes, best_view(views)) if any(views.values()) else {}
        grace = await grace_seconds(context, instance, chosen)
        ordered = sorted(chosen, key=lambda node: (leads.get(node.shard) is node, node.shard, node.id))
        stops = [
            halt_node.sub_step(
                _name(node),
                effort(_LANE, seconds=_STOP_SECONDS + grace.get(node.id, 0.0), fixed=grace.get(node.id, 0.0)),
                NodeArguments(node.id),
            )
            for node in ordered
        ]
        return build(task.run_id, {"Node stop.": stops})

    async def recover(self, context: OperationContext, task: Task) -> None:
        """Record the actual state: a node that still runs, or that should have been started, is supervised again."""
        params = self.params_of(task)
        for node_id in params.node_ids:
            if params.action == "start" or await context.host.process(node_id):
                await context.change_node(node_id, should_run=True)


def _name(node: Node) -> str:
    return f"Node status. Shard {node.shard}, {node.role}"


NODE_STATUS = NodeStatus()
