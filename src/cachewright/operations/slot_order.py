"""A snapshot of a node without a cluster, written again with its keys divided by slots.

A temporary node of a cluster loads the snapshot and writes one of its own.
"""

import os
from collections.abc import Callable
from pathlib import Path

from cachewright import errors
from cachewright.jobs.temporary_node import TemporaryNode, TemporaryNodes
from cachewright.operations.agent_jobs import failures_of_actions
from cachewright.operations.context import OperationContext
from cachewright.tasks.operation import ActionFailed
from cachewright.valkey.config import SNAPSHOT, converter_conf


class SlotOrder:
    """The temporary node of one task. Methods raise ActionFailed."""

    def __init__(self, context: OperationContext, task_id: str) -> None:
        self._node = TemporaryNode(TemporaryNodes.of(context.host), task_id)

    async def write(
        self, snapshot: Path, target: Path, keys: int, version: str, progress: Callable[[float], None]
    ) -> None:
        """Write the snapshot, which has this number of keys, divided by slots at `target`.

        :param version: of the valkey-server that the node runs.
        :param progress: called with the finished share.
        """
        with failures_of_actions():
            await self._node.start(version, converter_conf, lambda folder: os.link(snapshot, folder / SNAPSHOT))
            said = await self._node.loaded(lambda share: progress(share / 2))
        found = int(said["rdb_last_load_keys_loaded"]) + int(said["rdb_last_load_keys_expired"])
        if found != keys:
            message = f"{found} keys were loaded, the backup has {keys}"
            raise ActionFailed(errors.BACKUP_DAMAGED, message, True)
        with failures_of_actions():
            await self._node.save(said, target, lambda share: progress((1 + share) / 2))

    async def end(self) -> None:
        """End the node and delete its files."""
        with failures_of_actions():
            await self._node.end()
