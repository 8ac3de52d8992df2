"""Where the snapshots of a backup are until they are stored: in the spool of the server, or with agents."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial

from cachewright import errors
from cachewright.backups.spool import Spool
from cachewright.hosts.calls import HostSilent
from cachewright.jobs.receiver import SnapshotReceiver
from cachewright.jobs.spec import SNAPSHOT_PREFIX
from cachewright.model.backups import Backup
from cachewright.model.hosts import EMBEDDED
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import Task
from cachewright.operations.agent_snapshot import AgentReceiver
from cachewright.operations.context import OperationContext
from cachewright.operations.snapshot import Receiver, Source
from cachewright.tasks.operation import ActionFailed


def snapshot_folder(backup_id: str) -> str:
    """Return the name of the folder, below that of a node, in which the agent of its host keeps the snapshot."""
    return f"{SNAPSHOT_PREFIX}{backup_id}"


def replay_folder(backup_id: str, shard: int) -> str:
    """Same, for a snapshot that is made from a write log. All those of a backup may be on one host."""
    return f"{snapshot_folder(backup_id)}-{shard}"


async def clear(context: OperationContext, spool: Spool, nodes: Sequence[Node]) -> None:
    """Delete the snapshots of a backup on all hosts that answer. Another attempt, or the deletion of the failed backup,
    deletes those of the others."""
    await asyncio.to_thread(spool.clear)
    for node in nodes:
        if node.host_name != EMBEDDED:
            with suppress(HostSilent):
                await context.host.delete_folders(node.id, snapshot_folder(spool.backup_id))


def is_away(context: OperationContext, source: Source) -> bool:
    """Whether the agent of a node's host receives its snapshot. The default storage is a folder that only the server
    has: then the snapshot passes through the server."""
    return source.node.host_name != EMBEDDED and context.settings.backup_storage is not None


def receivers(
    context: OperationContext, instance: Instance, spool: Spool, found: Mapping[int, Source]
) -> dict[int, Receiver]:
    """Return what receives the snapshot of each shard."""

    def receiver(shard: int, source: Source) -> Receiver:
        if is_away(context, source):
            folder = snapshot_folder(spool.backup_id)
            return AgentReceiver(context, source.node, instance.control_secret, folder)
        create = partial(spool.create, shard)
        return SnapshotReceiver(source.node, context.access(instance), create, spool.file(shard).parent)

    return {shard: receiver(shard, source) for shard, source in found.items()}


async def are_there(context: OperationContext, task: Task, spool: Spool) -> bool:
    """Whether the hosts with the snapshots report."""
    places = await asyncio.to_thread(spool.places)
    hosts = {node.id: node.host_name for node in await context.nodes(task.instance_id)}
    present = await asyncio.to_thread(context.host.measured)
    return all(hosts.get(node_id) in present for node_id in places.values())


async def place_of(context: OperationContext, task: Task, spool: Spool, shard: int) -> tuple[Node, str] | None:
    """Return the node below whose folder the snapshot of a shard is, and the name of the folder with it; None if it is
    in the spool. ActionFailed if there is no such node any more."""
    node_id = (await asyncio.to_thread(spool.places)).get(shard)
    if node_id is None:
        return None
    node = await context.node(task.instance_id, node_id)
    if node is None:
        message = f"the snapshot of shard {shard} was with node {node_id}, which is gone; request another backup"
        raise ActionFailed(errors.BACKUP_DAMAGED, message, True)
    if await asyncio.to_thread(spool.rebuilt, shard) is not None:
        return node, replay_folder(spool.backup_id, shard)
    return node, snapshot_folder(spool.backup_id)


async def delete_elsewhere(context: OperationContext, backup: Backup, spool: Spool) -> None:
    """Delete the snapshots of a backup on other hosts. Raises HostSilent."""
    places = await asyncio.to_thread(spool.places)
    for node in await context.nodes(backup.instance_id):
        if node.host_name != EMBEDDED:
            replayed = (replay_folder(backup.id, shard) for shard, node_id in places.items() if node_id == node.id)
            await context.host.delete_folders(node.id, snapshot_folder(backup.id), *replayed)
