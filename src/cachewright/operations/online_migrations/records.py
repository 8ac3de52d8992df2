"""The record of a migration, as its task reads and changes it."""

import asyncio
from collections.abc import Collection

import msgspec

from cachewright import errors
from cachewright.model.online_migrations import COPIED_LIBRARIES, OnlineMigration
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


async def add_copied_libraries(context: OperationContext, task: Task, names: Collection[str]) -> OnlineMigration:
    """Store the names of function libraries before they are copied. Return the record. Raises as `record_of`."""
    migration = await record_of(context, task)
    attributes = {**migration.attributes, COPIED_LIBRARIES: sorted(names)}
    await change_record(context, migration.id, attributes=attributes)
    return msgspec.structs.replace(migration, attributes=attributes)


async def change_record(context: OperationContext, migration_id: str, **values: object) -> None:
    """Store new values of columns of a migration."""

    def write() -> None:
        with context.database.write() as connection:
            store.change(connection, migration_id, **values)

    await asyncio.to_thread(write)
