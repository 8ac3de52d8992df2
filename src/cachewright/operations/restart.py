"""Restart of an instance: node after node, each only when the one before it is back in its cluster.

Nodes are shut down, never killed, so that acknowledged writes are in their append-only files. A shard with a replica
keeps serving: its primary hands over before it ends. A shard without one is unavailable while its node restarts.
"""

from collections.abc import Sequence

import msgspec

from cachewright import errors
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import Step, Task, Work
from cachewright.operations.actions.action import NodeArguments
from cachewright.operations.actions.nodes import restart_node
from cachewright.operations.context import OperationContext, best_view
from cachewright.operations.ending_node import grace_seconds, hand_over_seconds
from cachewright.operations.operation import Accepted, NoParams, Operation
from cachewright.operations.step_names import NODE_RESTART, POST_CHECK, PRE_CHECK
from cachewright.operations.succession import successors
from cachewright.tasks.plan import build, effort
from cachewright.topologies import topology_of
from cachewright.topologies.topology import status_check
from cachewright.valkey.topology import primaries

_START_SECONDS = 0.5
SECONDS_OF_SHARD = 2.2  # before the plan: most time passes while Valkey holds back a former primary
_LANE = "nodes"


class Restart(Operation[None, NoParams]):
    kind = "restart"
    name = "RestartInstance"
    permission = "dcs:instance:modifyStatus"
    params = NoParams
    outline = (PRE_CHECK, NODE_RESTART, POST_CHECK)
    busy = errors.INSTANCE_RESTARTING
    needs_every_node = True
    status_while_running = "RESTARTING"

    def validate(self, instance: Instance, nodes: Sequence[Node], request: None) -> Accepted[NoParams]:
        return Accepted(NoParams())

    def expected_seconds(self, task: Task, nodes: Sequence[Node], dataset: int) -> float:
        return SECONDS_OF_SHARD * len({node.shard for node in nodes})

    async def plan(self, context: OperationContext, task: Task) -> tuple[Step, ...]:
        """Replicas of a shard restart before its primary, so that the replica that takes over has restarted already."""
        restarts = [
            restart_node.sub_step(f"Node restart. {node.place}", node.work, NodeArguments(node.id))
            for node in await nodes_to_restart(context, task)
        ]
        check = status_check()
        return build(task.run_id, {PRE_CHECK: [check], NODE_RESTART: restarts, POST_CHECK: [check]})


class NodeToRestart(msgspec.Struct, frozen=True):
    """:ivar place: shard and present role, for the name of a sub-step.
    :ivar work: expected effort of the restart.
    """

    id: str
    place: str
    work: Work


async def nodes_to_restart(context: OperationContext, task: Task) -> list[NodeToRestart]:
    """Return the nodes of the task's instance that run in the order of a rolling restart. Nodes that their owner has
    stopped stay so."""
    instance, nodes, views = await context.look(task)
    nodes = [node for node in nodes if node.should_run]
    hold = topology_of(instance.spec_code).hold_seconds
    leads = primaries(nodes, best_view(views))
    ordered = sorted(nodes, key=lambda node: (node.shard, node is leads.get(node.shard), node.id))
    alone = {node.shard for node in nodes} - {lead.shard for lead in leads.values() if successors(lead, nodes)}
    grace = await grace_seconds(context, instance, nodes)
    handed_over = [lead for lead in leads.values() if lead.shard not in alone]
    pauses = {
        **{node.id: hold for node in nodes if node.shard in alone},
        **await hand_over_seconds(context, instance, handed_over),
    }
    return [
        NodeToRestart(
            node.id,
            f"Shard {node.shard}, {'primary' if leads.get(node.shard) is node else 'replica'}",
            _work(grace[node.id] + pauses.get(node.id, 0.0)),
        )
        for node in ordered
    ]


def _work(hold: float) -> Work:
    """`hold` seconds pass before the end and after the start in which no counter shows progress: clients of the node
    leave, and Valkey holds back a former primary."""
    return effort(_LANE, seconds=_START_SECONDS + hold, fixed=hold)


RESTART = Restart()
