"""Disk space that write logs leave to nodes.

By default the storage of backups is on the disk of the nodes. Then stored logs leave room for the next rewrite of the
largest node, besides the reserve.
"""

import asyncio
import math
from collections.abc import Collection, Sequence
from pathlib import Path

import msgspec

from cachewright.backups.storage import folder_of
from cachewright.disk_reserve import disk_space
from cachewright.heartbeats import LoopHeartbeats
from cachewright.jobs.write_logs import delete_links_when_full
from cachewright.model.hosts import EMBEDDED
from cachewright.model.write_logs import EXPIRED, WriteLog
from cachewright.operations.context import OperationContext
from cachewright.placement.capacity import DISK_FACTOR
from cachewright.store import instances, write_logs
from cachewright.threads import in_background, on_storage

_GUARD_SECONDS = 1.0


class LogSpace(msgspec.Struct, frozen=True):
    """:ivar reserve: free bytes below which links are deleted.
    :ivar needed: free bytes below which nothing is stored.
    :ivar ample: free bytes with which further logs begin.
    :ivar is_shared: whether the logs are stored on the disk of the nodes.
    """

    free: int
    reserve: int
    needed: int
    ample: int
    is_shared: bool


async def log_space(context: OperationContext) -> LogSpace:
    """Return the space of the disk of the nodes. Raises OSError."""

    def largest() -> int:
        with context.database.read() as connection:
            return instances.largest_maxmemory(connection, EMBEDDED)

    nodes_dir, folder = context.host.nodes_dir, folder_of(context.settings.backup_url)
    found = await in_background(disk_space, nodes_dir)
    is_shared = folder is not None and await on_storage(_are_on_one_disk, nodes_dir, folder)
    rewrite = math.ceil(await in_background(largest) * DISK_FACTOR) if is_shared else 0
    needed, ample = found.reserve + rewrite, 2 * found.reserve + rewrite
    return LogSpace(found.free, found.reserve, needed, ample, is_shared)


def _are_on_one_disk(nodes_dir: Path, folder: Path) -> bool:
    while not folder.exists():  # it is created when the first backup is stored
        folder = folder.parent
    return folder.stat().st_dev == nodes_dir.stat().st_dev


def given_up(logs: Sequence[WriteLog], space: LogSpace, read: Collection[str]) -> tuple[list[WriteLog], list[WriteLog]]:
    """Return the logs to delete, and those to end, so that there is room. The project whose logs are the largest gives
    up its oldest one first. Pure.

    :param read: instances whose logs a task reads.
    """
    free = space.free + sum(log.size for log in logs if log.ended == EXPIRED)
    left = [log for log in logs if log.ended != EXPIRED and log.instance_id not in read]
    if not space.is_shared or free >= space.needed:
        return [], []
    if space.free >= space.reserve and free + sum(log.size for log in left) < space.needed:
        return [], [log for log in left if log.ended is None]  # their deletion would not help
    deleted: list[WriteLog] = []
    while left and free < space.ample:
        sizes: dict[str, int] = {}
        for log in left:
            sizes[log.project_id] = sizes.get(log.project_id, 0) + log.size
        own = [log for log in left if log.project_id == max(sizes, key=lambda project: sizes[project])]
        ended = [log for log in own if log.ended is not None]
        if not ended:
            return deleted, [max(own, key=lambda log: log.size)]
        deleted.append(min(ended, key=lambda log: log.created_at))
        left.remove(deleted[-1])
        free += deleted[-1].size
    return deleted, []


class WriteLogGuard:
    """Deletes the links when only the reserve of the disk is left, and ends the logs. It does not wait for the storage,
    which may not answer."""

    def __init__(self, context: OperationContext, heartbeats: LoopHeartbeats) -> None:
        self._context = context
        self._heartbeats = heartbeats

    async def run(self) -> None:
        """Look every second until cancelled."""
        while True:
            self._heartbeats.beat("write log guard")
            await self.look()
            await asyncio.sleep(_GUARD_SECONDS)

    async def look(self) -> None:
        if reason := await in_background(delete_links_when_full, self._context.host.nodes_dir):
            await in_background(self._end, reason)

    def _end(self, reason: str) -> None:
        """End the logs of nodes on the machine of the server. Agents look after the disks of the others."""
        with self._context.database.read() as connection:
            elsewhere = {node.id for node in instances.all_nodes(connection) if node.host_name != EMBEDDED}
            logs = write_logs.every(connection)
            found = [one.id for one in logs if one.ended is None and one.node_id not in elsewhere]
        if found:
            with self._context.database.write() as connection:
                for log_id in found:
                    write_logs.end(connection, log_id, reason)
