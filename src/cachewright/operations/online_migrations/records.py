"""The record of a migration, as its task reads and changes it."""

import asyncio

from cachewright import errors
from cachewright.model.online_migrations import OnlineMigration
from cachewright.model.tasks import Task
from cachewright.operations.context import OperationContext
from cachewright.store import online_migrations as store
from cachewright.tasks.operation import ActionFailed


async def record_of(context: OperationContext, task: Task) -> OnlineMigration:
    """Return the record of a migration. Raises ActionFailed DCS.9020 if it was deleted."""

    def read() -> OnlineMigration | None:
        with context.database.read() as connection:
            return store.get(connection, task.project_id, str(task.params["migration_id"]))

    found = await asyncio.to_thread(read)
    if found is None:
        raise ActionFailed(errors.SOURCE_UNUSABLE, "the record of the migration was deleted", final=True)
    return found


async def change_record(context: OperationContext, migration_id: str, **values: object) -> None:
    """Store new values of columns of a migration."""

    def write() -> None:
        with context.database.write() as connection:
            store.change(connection, migration_id, **values)

    await asyncio.to_thread(write)
