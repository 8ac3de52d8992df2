"""Deletion of what restores have left that ended without a recovery, or whose hosts did not answer at its time."""

import asyncio

from cachewright.model.instances import Node
from cachewright.operations.context import OperationContext
from cachewright.operations.restore_files import RestoreFiles, tasks_with_files
from cachewright.operations.restore_folders import delete_former, delete_new
from cachewright.store import instances, tasks


async def sweep(context: OperationContext) -> None:
    """Delete files of tasks that have ended. A host that does not answer is asked again in the next round."""

    def stale() -> set[str]:
        found = tasks_with_files(context)
        if not found:
            return found
        with context.database.read() as connection:
            return found - {task.id for task in tasks.unfinished(connection)}

    for task_id in await asyncio.to_thread(stale):
        files = RestoreFiles(context, task_id)
        await files.delete_divided()
        with_new, with_former = await files.silent_nodes()
        await files.delete(
            new=[n.id for n in await _recorded(context, with_new) if not await delete_new(context, task_id, n)],
            former=[
                n.id for n in await _recorded(context, with_former) if not await delete_former(context, task_id, n)
            ],
        )


async def _recorded(context: OperationContext, node_ids: list[str]) -> list[Node]:
    def read() -> list[Node]:
        with context.database.read() as connection:
            return [node for node in instances.all_nodes(connection) if node.id in node_ids]

    return await asyncio.to_thread(read) if node_ids else []
