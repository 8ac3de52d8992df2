"""Sub-steps that change parameters: on one node, and the check of all nodes at the end.

A node that does not answer is no failure as long as another one does: its file has the new values for its next start,
and `ParameterEnforcement` sets them where it comes back without one.
"""

import asyncio
from collections.abc import Mapping, Sequence

from cachewright import errors
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import Task
from cachewright.operations.context import OperationContext
from cachewright.tasks.operation import ActionFailed, StepContext
from cachewright.valkey.client import NODE_GONE, NodeRefused, ask, connect
from cachewright.valkey.parameters import deviations, node_settings, read_settings

_ANSWER_SECONDS = 2.0
_REFUSED = errors.INVALID_CONFIGURATION


def new_values(task: Task) -> dict[str, str]:
    return {change["param_name"]: change["new_value"] for change in task.params["redis_config"]}


async def set_on_node(site: OperationContext, running: StepContext) -> None:
    """Gives one node its new values, now and for its next start. Its file changes only when the node has accepted the
    values: one that it refuses would keep it from starting."""
    instance = await site.instance(running.task)
    node = await site.node(running.task.instance_id, running.sub_step.arguments["node_id"])
    if node is None:
        return
    changed = new_values(running.task)
    try:
        async with connect(node, site.access(instance), _ANSWER_SECONDS) as client:
            await ask(client, "CONFIG SET", *_words(changed))
    except NODE_GONE:
        running.measure(detail=f"{{node_id:{node.id},parameters:to set when the node is back}}")
        return
    except NodeRefused as refusal:
        raise _refused(node, refusal) from refusal
    await _write(site, instance, node, changed)
    running.measure(detail=f"{{node_id:{node.id},parameters:set}}")


async def check(site: OperationContext, running: StepContext) -> None:
    """Every node that answers has the new values, and every node gets them at its next start."""
    instance = await site.instance(running.task)
    nodes = [node for node in await site.nodes(running.task.instance_id) if node.should_run]
    changed = new_values(running.task)
    having = await asyncio.gather(*(_ensured(site, instance, node, changed) for node in nodes))
    running.measure(detail=f"{{nodes_set:{sum(having)}/{len(nodes)}}}")
    if not any(having):
        raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, "no node answers")
    for node in nodes:
        await _write(site, instance, node, changed)


async def _ensured(site: OperationContext, instance: Instance, node: Node, wanted: Mapping[str, str]) -> bool:
    """False where the node does not answer."""
    try:
        async with connect(node, site.access(instance), _ANSWER_SECONDS) as client:
            found = read_settings(await ask(client, "CONFIG GET", *wanted))
            if missing := deviations(found, wanted):
                await ask(client, "CONFIG SET", *_words(missing))
    except NODE_GONE:
        return False
    except NodeRefused as refusal:
        raise _refused(node, refusal) from refusal
    return True


async def put_back(
    site: OperationContext, instance: Instance, nodes: Sequence[Node], values: Mapping[str, str]
) -> None:
    """Gives the nodes the recorded values again. A node that does not take them is left to `ParameterEnforcement`."""

    async def one(node: Node) -> None:
        await _write(site, instance, node, {})
        try:
            async with connect(node, site.access(instance), _ANSWER_SECONDS) as client:
                await ask(client, "CONFIG SET", *_words(values))
        except (*NODE_GONE, NodeRefused):
            return

    await asyncio.gather(*(one(node) for node in nodes))


async def _write(site: OperationContext, instance: Instance, node: Node, changed: Mapping[str, str]) -> None:
    await site.host.write_files(node.id, await site.files(instance, node, changed))


def _words(values: Mapping[str, str]) -> list[str]:
    """Arguments of CONFIG SET, which sets all of them or none."""
    return [word for pair in node_settings(values).items() for word in pair]


def _refused(node: Node, refusal: NodeRefused) -> ActionFailed:
    return ActionFailed(_REFUSED, f"node {node.id} refuses: {refusal}", True)
