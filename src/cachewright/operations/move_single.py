"""The plan of a move of a single instance: a copy of its node on another host, the handover, the removal."""

import asyncio
from collections.abc import Sequence

import msgspec

from cachewright.flavors import parse
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import Step, Task
from cachewright.operations.actions.single_move import (
    MoveSingle,
    copy_single_node,
    hand_over_single_node,
    remove_single_node,
)
from cachewright.operations.context import OperationContext
from cachewright.operations.ending_node import grace_seconds
from cachewright.operations.requests import NodeMove
from cachewright.operations.resize import added_nodes
from cachewright.operations.resize.cost_model import copy_effort
from cachewright.operations.step_names import POST_CHECK, PRE_CHECK
from cachewright.tasks.plan import build, effort
from cachewright.topologies import layout
from cachewright.topologies.topology import status_check
from cachewright.valkey import key_deletion

_HAND_OVER_SECONDS, _REMOVE_SECONDS = 0.5, 0.3


async def plan(
    context: OperationContext,
    task: Task,
    instance: Instance,
    node: Node,
    *,
    moves: Sequence[NodeMove],
    zones: tuple[str, ...],
) -> tuple[Step, ...]:
    """Store the new node, which is apart, and return the plan. Only a check is left if the node has moved already."""
    check = status_check()
    move = next((move for move in moves if move.node_id == node.id), None)
    if move is None:
        return build(task.run_id, {POST_CHECK: [check]})
    (made,) = layout.new_replicas(
        context.settings,
        instance.id,
        parse(instance.spec_code),
        {node.shard: range(1, 2)},
        salt=task.run_id,
        server_version=node.server_version,
    )
    new = msgspec.structs.replace(made, maxmemory=node.maxmemory, priority=node.priority)
    targets = {} if move.to is None else {new.id: move.to}
    await asyncio.to_thread(
        added_nodes.store,
        context,
        task,
        [new],
        leaving={node.id},
        zones=zones,
        targets=targets,
        kept_port=(new.id, node.port),
        apart=True,
    )
    size = (await key_deletion.state(node, context.access(instance))).used_memory
    drained = (await grace_seconds(context, instance, [node]))[node.id]
    arguments = MoveSingle(node.id, new.id)
    copy = copy_single_node.sub_step("Copy on another host.", copy_effort("copy", size, 1), arguments)
    hand_over = hand_over_single_node.sub_step("Handover.", effort("node", seconds=_HAND_OVER_SECONDS), arguments)
    work = effort("node", seconds=_REMOVE_SECONDS + drained, fixed=drained)
    remove = remove_single_node.sub_step("Node removal.", work, arguments)
    steps = {
        PRE_CHECK: [check],
        "Replica synchronization.": [copy],
        "Handover.": [hand_over],
        "Node removal.": [remove],
        POST_CHECK: [check],
    }
    return build(task.run_id, steps)
