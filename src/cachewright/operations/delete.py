"""Deletion of an instance: it stops every node, deletes all files, and deletes the record last.

It cancels the other tasks of the instance: those that wait end immediately, the one that runs ends within seconds.
"""

from collections.abc import Sequence

from cachewright import errors
from cachewright.model.instances import Instance, Node, has_proxy
from cachewright.model.tasks import Step, Task
from cachewright.operations.actions.action import NoArguments, NodeArguments
from cachewright.operations.actions.failover import end_proxy
from cachewright.operations.actions.nodes import stop_node
from cachewright.operations.context import OperationContext
from cachewright.operations.operation import Accepted, NoParams, Operation
from cachewright.tasks.plan import SubStepSpec, build, effort
from cachewright.topologies import topology_of

_STOP_SECONDS = 0.2
_EXPECTED_SECONDS = 0.3  # before the plan; nodes are stopped concurrently


class Delete(Operation[None, NoParams]):
    kind = "delete"
    name = "DeleteInstance"
    permission = "dcs:instance:delete"
    params = NoParams
    outline = ("Resource release.",)
    accepts = frozenset(
        {
            "CREATING",
            "RUNNING",
            "EXTENDING",
            "RESTARTING",
            "UPGRADING",
            "FLUSHING",
            "RESTORING",
            "MIGRATING",
            "ERROR",
            "CREATEFAILED",
        }
    )
    not_accepted = errors.INSTANCE_NOT_DELETABLE
    busy = errors.INSTANCE_STATE_CONFLICT
    cancels_others = True
    repeatable = False
    interruptible = False
    status_while_running = "DELETING"
    status_after_success = None
    status_after_failure = "ERROR"
    nodes_should_run = False

    def validate(self, instance: Instance, nodes: Sequence[Node], request: None) -> Accepted[NoParams]:
        return Accepted(NoParams())

    def expected_seconds(self, task: Task, nodes: Sequence[Node], dataset: int) -> float:
        return _EXPECTED_SECONDS

    async def plan(self, context: OperationContext, task: Task) -> tuple[Step, ...]:
        instance, nodes = await context.instance_and_nodes(task)
        topology = topology_of(instance.spec_code)
        before = {**topology.dissolution(nodes)}
        if not (topology.is_cluster or topology.has_sentinel) and has_proxy(instance, nodes):
            work = effort("proxy", seconds=_STOP_SECONDS)
            before["Proxy end."] = [end_proxy.sub_step("Proxy end.", work, NoArguments())]
        nodes += await context.apart_nodes(instance.id)
        return build(task.run_id, {**before, "Resource release.": [_stop(node) for node in nodes]})


def _stop(node: Node) -> SubStepSpec:
    name = f"Node stop. Shard {node.shard}, {node.role}"
    return stop_node.sub_step(name, effort(node.id, seconds=_STOP_SECONDS), NodeArguments(node.id))


DELETE = Delete()
