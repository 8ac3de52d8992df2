"""Nodes that a restore has left stopped with other data than they should have.

A recovery leaves such nodes only where it could not wait: their host was given up as lost, or an earlier release did
not wait for it.
"""

import asyncio
from collections.abc import Sequence

from cachewright.model.instances import Node
from cachewright.operations.actions.former_data import FormerData
from cachewright.operations.actions.restore import load_data
from cachewright.operations.context import OperationContext
from cachewright.operations.restore import RESTORE
from cachewright.operations.restore_folders import former_folder
from cachewright.operations.restore_recovery import is_taken_over, nodes_of
from cachewright.store import tasks

_RECENT = 100


async def former_data(
    context: OperationContext, instance_id: str, nodes: Sequence[Node], kind: str
) -> dict[str, FormerData]:
    """Return which of these nodes have former data that belongs to them, by node.

    :param kind: of the tasks that stop and start nodes: data that a node has used since then is its own.
    """

    def read() -> tuple[str, set[str]]:
        with context.database.read() as connection:
            _, restores = tasks.of_kind(connection, instance_id, RESTORE.kind, offset=0, limit=1)
            if not restores or restores[0].status != "FAILED":
                return "", set()
            task = tasks.load(connection, restores[0].id)
            _, later = tasks.of_kind(connection, instance_id, kind, offset=0, limit=_RECENT, start=task.end_time)
        used = {node_id for one in later if one.status == "SUCCESS" for node_id in one.params["node_ids"]}
        return task.id, set() if is_taken_over(task) else nodes_of(task, load_data.name) - used

    stopped = [node for node in nodes if not node.should_run]
    task_id, unsure = await asyncio.to_thread(read) if stopped else ("", set[str]())
    return {
        node.id: FormerData(node.id, task_id)
        for node in stopped
        if node.id in unsure and await context.host.has_file(node.id, former_folder(task_id))
    }
