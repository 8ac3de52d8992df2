"""Actions that change users: on one node, and the check of all nodes at the end."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from cachewright import errors
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import Task
from cachewright.operations.actions.action import NoArguments, NodeArguments, action
from cachewright.operations.context import OperationContext
from cachewright.operations.user_records import after_success
from cachewright.tasks.operation import ActionFailed, StepContext
from cachewright.valkey.client import NODE_GONE, NodeBusy, NodeRefused
from cachewright.valkey.users import ensure_users, users_of


@action("set users", NodeArguments, timeout=30, attempts=4)
async def set_users(context: OperationContext, step: StepContext, arguments: NodeArguments) -> None:
    """Ensure the new users on one node, now and for its next start."""
    instance = await _changed(context, step.task)
    node = await context.node(instance.id, arguments.node_id)
    if node is None:
        return
    state = "set" if await _ensure(context, instance, node) else "to set when the node is back"
    await context.host.write_files(node.id, await context.files(instance, node))
    step.measure(detail=f"{{node_id:{node.id},users:{state}}}")


@action("check users", NoArguments, timeout=60, attempts=3)
async def check_users(context: OperationContext, step: StepContext, _: NoArguments) -> None:
    """Ensure the new users on every node that responds, and on every node for its next start."""
    instance = await _changed(context, step.task)
    nodes = [node for node in await context.nodes(instance.id) if node.should_run]
    answered = await asyncio.gather(*(_ensure(context, instance, node) for node in nodes))
    step.measure(detail=f"{{nodes_set:{sum(answered)}/{len(nodes)}}}")
    if not any(answered):
        raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, "no node answers")
    for node in nodes:
        await context.host.write_files(node.id, await context.files(instance, node))


async def restore_users(context: OperationContext, instance: Instance, nodes: Sequence[Node]) -> None:
    """Set the recorded users again. `ParameterEnforcement` repeats this later for nodes that do not answer."""

    async def restore(node: Node) -> None:
        await context.host.write_files(node.id, await context.files(instance, node))
        with suppress(*NODE_GONE, NodeRefused):
            await ensure_users(node, context.access(instance), users_of(instance))

    await asyncio.gather(*(restore(node) for node in nodes))


async def _changed(context: OperationContext, task: Task) -> Instance:
    """The instance as it will be recorded when the task has succeeded."""
    changed = after_success(await context.instance(task), task)
    if changed is None:
        raise ActionFailed(errors.TASK_CANCELLED, "a later change has replaced this one", True)
    return changed


async def _ensure(context: OperationContext, instance: Instance, node: Node) -> bool:
    """Set users on a node. False if it does not respond."""
    try:
        await ensure_users(node, context.access(instance), users_of(instance))
    except NODE_GONE:
        return False
    except NodeBusy:
        raise
    except NodeRefused as refusal:
        message = f"node {node.id} refuses: {refusal}"
        raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, message, True) from refusal
    return True
