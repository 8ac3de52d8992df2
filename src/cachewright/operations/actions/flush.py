"""The action that deletes all keys of one shard."""

import asyncio

import msgspec

from cachewright.operations.actions.action import action
from cachewright.operations.actions.slots import current_primary
from cachewright.operations.context import OperationContext
from cachewright.tasks.operation import StepContext
from cachewright.valkey import key_deletion

_POLL_SECONDS = 0.05


class FlushShard(msgspec.Struct, frozen=True, kw_only=True):
    """:ivar node_id: primary of the shard when the plan was made.
    :ivar keys: its keys then.
    :ivar used_memory: its memory then, in bytes.
    """

    node_id: str
    keys: int
    used_memory: int


@action("flush shard", FlushShard, timeout=3600, attempts=4)
async def flush_shard(context: OperationContext, step: StepContext, arguments: FlushShard) -> None:
    """Delete all keys of a shard, and wait until the node has freed their memory in the background."""
    instance, nodes, views = await context.look(step.task)
    node = current_primary(nodes, views)(arguments.node_id)
    access = context.access(instance)
    await key_deletion.delete_all(node, access)
    while True:
        state = await key_deletion.state(node, access)
        freed = max(arguments.used_memory - state.used_memory, 0)
        shown = f"{{node_id:{node.id},keys:{arguments.keys},pending_keys:{state.pending_keys},bytes_freed:{freed}}}"
        step.measure(done=min(freed, step.sub_step.work.total), detail=shown)
        if not state.pending_keys:
            break
        await asyncio.sleep(_POLL_SECONDS)
    for member in nodes:
        if member.shard == node.shard and views[member.id]:
            await key_deletion.shrink_file(member, access)
