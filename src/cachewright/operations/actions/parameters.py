"""Actions that change parameters: on one node, and the check of all nodes at the end.

A node that does not respond is no failure if another one does: its file has the new values for its next start, and
`ParameterEnforcement` sets them if it comes back without a restart.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress

from cachewright import errors
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import Task
from cachewright.operations.actions.action import NoArguments, NodeArguments, action
from cachewright.operations.actions.nodes import SETTLE_SECONDS, ensure_restarted
from cachewright.operations.context import OperationContext
from cachewright.operations.ending_node import LONGEST_GRACE_SECONDS
from cachewright.tasks.operation import ActionFailed, StepContext
from cachewright.valkey import node_control
from cachewright.valkey.client import NODE_GONE, NodeBusy, NodeRefused


def new_values(task: Task) -> dict[str, str]:
    """The values that a parameter task sets, by the name of the parameter."""
    return {change["param_name"]: change["new_value"] for change in task.params["redis_config"]}


@action("set parameters", NodeArguments, timeout=30, attempts=4)
async def set_parameters(context: OperationContext, step: StepContext, arguments: NodeArguments) -> None:
    """Set the new values on one node, now and for its next start. The file changes only after the node has accepted the
    values: the node could not start with a value that it refuses."""
    instance = await context.instance(step.task)
    node = await context.node(instance.id, arguments.node_id)
    if node is None:
        return
    values = new_values(step.task)
    try:
        await node_control.set_parameters(node, context.access(instance), values)
    except NODE_GONE:
        step.measure(detail=f"{{node_id:{node.id},parameters:to set when the node is back}}")
        return
    except NodeBusy:
        raise
    except NodeRefused as refusal:
        raise _refused(node, refusal) from refusal
    await context.host.write_files(node.id, await context.files(instance, node, values))
    step.measure(detail=f"{{node_id:{node.id},parameters:set}}")


@action(
    "restart with parameters", NodeArguments, timeout=SETTLE_SECONDS + LONGEST_GRACE_SECONDS, attempts=4, cancelling=10
)
async def restart_with_parameters(context: OperationContext, step: StepContext, arguments: NodeArguments) -> None:
    """Restart one node with the new values, as "restart node" does it."""
    await ensure_restarted(context, step, arguments.node_id, parameters=new_values(step.task))


@action("check parameters", NoArguments, timeout=60, attempts=3)
async def check_parameters(context: OperationContext, step: StepContext, _: NoArguments) -> None:
    """Ensure the new values on every node that responds, and on every node for its next start."""
    instance = await context.instance(step.task)
    nodes = [node for node in await context.nodes(instance.id) if node.should_run]
    values = new_values(step.task)
    answered = await asyncio.gather(*(_ensure(context, instance, node, values) for node in nodes))
    step.measure(detail=f"{{nodes_set:{sum(answered)}/{len(nodes)}}}")
    if not any(answered):
        raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, "no node answers")
    for node in nodes:
        await context.host.write_files(node.id, await context.files(instance, node, values))


async def restore_parameters(
    context: OperationContext, instance: Instance, nodes: Sequence[Node], values: Mapping[str, str]
) -> None:
    """Set the recorded values again. `ParameterEnforcement` repeats this later for nodes that do not accept them."""

    async def restore(node: Node) -> None:
        await context.host.write_files(node.id, await context.files(instance, node))
        with suppress(*NODE_GONE, NodeRefused):
            await node_control.set_parameters(node, context.access(instance), values)

    await asyncio.gather(*(restore(node) for node in nodes))


async def _ensure(context: OperationContext, instance: Instance, node: Node, values: Mapping[str, str]) -> bool:
    """Set values on a node. False if it does not respond."""
    try:
        await node_control.ensure_parameters(node, context.access(instance), values)
    except NODE_GONE:
        return False
    except NodeBusy:
        raise
    except NodeRefused as refusal:
        raise _refused(node, refusal) from refusal
    return True


def _refused(node: Node, refusal: NodeRefused) -> ActionFailed:
    return ActionFailed(errors.INVALID_CONFIGURATION, f"node {node.id} refuses: {refusal}", True)
