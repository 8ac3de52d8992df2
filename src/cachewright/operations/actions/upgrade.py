"""Actions of a minor version upgrade: restart a node with another valkey-server, or with the one it had."""

import asyncio
import time
from contextlib import suppress

import msgspec

from cachewright import errors
from cachewright.model.instances import Instance, Node
from cachewright.operations.actions.action import action
from cachewright.operations.actions.nodes import ensure_restarted
from cachewright.operations.context import OperationContext
from cachewright.operations.ending_node import LONGEST_GRACE_SECONDS
from cachewright.operations.watched_roles import wait_until_admitted
from cachewright.tasks.operation import ActionFailed, StepContext
from cachewright.topologies import topology_of
from cachewright.valkey import node_control
from cachewright.valkey.client import NODE_GONE

_STOP_SECONDS = 90.0  # below the time limit of a recovery
_POLL_SECONDS = 0.1


class UpgradeNode(msgspec.Struct, frozen=True):
    """`version` is that of a configured valkey-server, such as `9.1.2`."""

    node_id: str
    version: str


@action("upgrade node", UpgradeNode, timeout=600 + LONGEST_GRACE_SECONDS, attempts=2, cancelling=10)
async def upgrade_node(context: OperationContext, step: StepContext, arguments: UpgradeNode) -> None:
    """Ensure that the node runs valkey-server of this version and is back in its cluster. The record has the version
    only then, so that a node that does not start can return to the version before."""
    instance = await context.instance(step.task)
    node = await context.node(instance.id, arguments.node_id)
    if node is None:
        return
    with suppress(*NODE_GONE):
        present = await node_control.server_version(node, context.access(instance))
        if present not in {node.server_version, arguments.version}:
            await context.change_node(node.id, server_version=present)
    await ensure_restarted(context, step, arguments.node_id, server_version=arguments.version)
    running = await node_control.server_version(node, context.access(instance))
    if running != arguments.version:
        message = f"node {node.id} runs valkey-server {running} instead of {arguments.version}"
        raise ActionFailed(errors.NODE_START_FAILED, message)
    await context.change_node(node.id, server_version=arguments.version)


async def roll_back(context: OperationContext, instance: Instance, node: Node) -> None:
    """Start a node that does not answer with the valkey-server that the record names, and wait until it answers; the
    time limit of a recovery ends the wait."""
    await context.host.write_files(node.id, await context.files(instance, node))
    try:
        await context.host.restart(node.id, time.time(), _STOP_SECONDS)
    except TimeoutError as error:
        raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, f"node {node.id} does not end: {error}") from error
    while (await context.views(instance, [node], needed="all"))[node.id] is None:
        if await context.host.process(node.id) is None:
            await context.host.start(node.id)
        await asyncio.sleep(_POLL_SECONDS)
    if not topology_of(instance.spec_code).has_sentinel:
        await context.open_port(instance, node)
    else:
        await wait_until_admitted(context, instance, node)
