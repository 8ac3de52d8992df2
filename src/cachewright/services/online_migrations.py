"""Migrations from outside and imports: configure, show, stop, restart and delete them, and cut over."""

import asyncio
import uuid
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec
import sqlalchemy as sa

from cachewright import errors
from cachewright.clock import now_ms
from cachewright.errors import ApiError
from cachewright.model.identity import Principal
from cachewright.model.instances import Instance
from cachewright.model.online_migrations import (
    COPIED_LIBRARIES,
    HAS_COPIED,
    Method,
    MigrationEvent,
    OnlineMigration,
    ResumeMode,
    SourceTls,
)
from cachewright.model.tasks import ENDED, UNFINISHED, Task
from cachewright.operations.online_migrations.operation import MIGRATE_ONLINE
from cachewright.services.lookup import instance_of
from cachewright.services.tasks import TaskService
from cachewright.store import instances, tasks
from cachewright.store import online_migrations as store
from cachewright.store.database import Database

MOST_MIGRATIONS = 100
"""Records of migrations that a project may have."""

_POLL_SECONDS = 0.2


class MigrationConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a migration needs to start.

    :ivar bandwidth_limit_mb: see `OnlineMigration`, as the others.
    """

    method: Method
    target_id: str
    source_addresses: str
    source_user: str | None
    source_password: str | None
    source_name: str | None
    source_tls: SourceTls | None = None
    source_ca: str | None = None
    source_certificate: str | None = None
    source_key: str | None = None
    source_files: str | None = None
    source_backup: str | None = None
    resume_mode: ResumeMode = "auto"
    bandwidth_limit_mb: int | None = None


class ShownMigration(msgspec.Struct, frozen=True):
    """A migration with its background task, and the instance that gets the data, if they exist."""

    migration: OnlineMigration
    task: Task | None
    target: Instance | None


class OnlineMigrationService:
    """All methods raise ApiError DCS.4133 if the migration does not exist in the project."""

    def __init__(self, database: Database, tasks: TaskService) -> None:
        self._database = database
        self._tasks = tasks

    def create(self, principal: Principal, name: str, description: str, attributes: dict[str, Any]) -> OnlineMigration:
        """Create a migration that is configured later. Raises ApiError DCS.4039 if the project has too many."""
        migration = _new(principal, name, description, attributes)
        with self._database.write() as connection:
            _require_room(connection, principal)
            store.add(connection, migration)
        return migration

    def start(
        self, principal: Principal, name: str, description: str, attributes: dict[str, Any], config: MigrationConfig
    ) -> ShownMigration:
        """Create a migration and start it. Raises ApiError like `create` and `configure`."""
        with self._database.read() as connection:
            instance_of(connection, principal.project_id, config.target_id)
            _require_room(connection, principal)
        return self._submit(principal, _configured(_new(principal, name, description, attributes), config))

    def configure(self, principal: Principal, migration_id: str, config: MigrationConfig) -> ShownMigration:
        """Configure a migration and start it. Raises ApiError DCS.4957 while it runs, or of `TaskService.submit`."""
        migration = self._not_running(principal, migration_id)
        return self._submit(principal, _configured(migration, config))

    def restart(self, principal: Principal, migration_id: str) -> ShownMigration:
        """Start a migration again that has failed or was stopped. Raises ApiError like `configure`, and DCS.4957 if it
        has succeeded: clients use the instance then."""
        shown = self.get(principal, migration_id)
        migration = self._not_running(principal, migration_id)
        if migration.method is None or (shown.task and shown.task.status == "SUCCESS"):
            raise ApiError(errors.TASK_STATE_CONFLICT, reason="it has succeeded, or has no configuration")
        return self._submit(principal, migration)

    def all(self, principal: Principal, name: str) -> list[ShownMigration]:
        """Return the migrations of the project whose names contain `name`, newest first."""
        with self._database.read() as connection:
            found = store.of_project(connection, principal.project_id)
            return [_shown(connection, migration) for migration in found if name in migration.name]

    def get(self, principal: Principal, migration_id: str) -> ShownMigration:
        with self._database.read() as connection:
            return _shown(connection, _migration_of(connection, principal, migration_id))

    def find(self, principal: Principal, migration_id: str) -> OnlineMigration | None:
        """Return the record of a migration, None if it does not exist in the project."""
        with self._database.read() as connection:
            return store.get(connection, principal.project_id, migration_id)

    def events(
        self, principal: Principal, migration_id: str, level: str | None, *, offset: int, limit: int
    ) -> tuple[int, list[MigrationEvent]]:
        """Return the number of log entries, and one page of them, newest first."""
        with self._database.read() as connection:
            _migration_of(connection, principal, migration_id)
            return store.events(connection, migration_id, level, offset=offset, limit=limit)

    def stop(self, principal: Principal, migration_id: str) -> ShownMigration:
        """Stop a migration. Copied keys stay. Raises ApiError DCS.4957 if it does not run."""
        shown = self.get(principal, migration_id)
        if shown.task is None or shown.task.status in ENDED:
            raise ApiError(errors.TASK_STATE_CONFLICT, reason="it does not run")
        self._tasks.cancel(principal, shown.task.instance_id, shown.task.id)
        return self.get(principal, migration_id)

    async def stopped(self, principal: Principal, migration_id: str, seconds: float) -> None:
        """Same as `stop`. Returns when the migration has ended, at the latest after some seconds."""
        threads = self._tasks.threads
        shown = await threads.change(principal.project_id, lambda: self.stop(principal, migration_id))
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while shown.task is not None and shown.task.status in UNFINISHED:
                    await asyncio.sleep(_POLL_SECONDS)
                    shown = await threads.read(principal.project_id, lambda: self.get(principal, migration_id))

    def set_resume_mode(self, principal: Principal, migration_id: str, mode: ResumeMode) -> ShownMigration:
        return self._change(principal, migration_id, resume_mode=mode)

    def cut_over(self, principal: Principal, migration_id: str) -> ShownMigration:
        """Record that the source gets no more writes, so that the migration ends when all is copied. Raises ApiError
        DCS.4957 unless it follows its source."""
        shown = self.get(principal, migration_id)
        running = shown.task is not None and shown.task.status in UNFINISHED
        if not running or shown.migration.method != "incremental_migration":
            raise ApiError(errors.TASK_STATE_CONFLICT, reason="it does not follow a source")
        return self._change(principal, migration_id, cut_over_at=shown.migration.cut_over_at or now_ms())

    def delete(self, principal: Principal, migration_ids: Sequence[str]) -> None:
        """Delete the records of migrations that do not run, either all or none. Raises ApiError DCS.4957."""
        with self._database.write() as connection:
            for migration_id in migration_ids:
                migration = _migration_of(connection, principal, migration_id)
                _require_ended(connection, migration)
                store.remove(connection, migration.id)

    def _change(self, principal: Principal, migration_id: str, **values: object) -> ShownMigration:
        with self._database.write() as connection:
            _migration_of(connection, principal, migration_id)
            store.change(connection, migration_id, **values, updated_at=now_ms())
            return _shown(connection, _migration_of(connection, principal, migration_id))

    def _not_running(self, principal: Principal, migration_id: str) -> OnlineMigration:
        with self._database.read() as connection:
            migration = _migration_of(connection, principal, migration_id)
            _require_ended(connection, migration)
        return migration

    def _submit(self, principal: Principal, migration: OnlineMigration) -> ShownMigration:
        self._tasks.submit(MIGRATE_ONLINE, principal, migration.target_id or "", migration)
        return self.get(principal, migration.id)


def _new(principal: Principal, name: str, description: str, attributes: dict[str, Any]) -> OnlineMigration:
    now = now_ms()
    return OnlineMigration(
        id=uuid.uuid4().hex,
        project_id=principal.project_id,
        name=name,
        description=description,
        created_at=now,
        updated_at=now,
        attributes=attributes,
    )


def _configured(migration: OnlineMigration, config: MigrationConfig) -> OnlineMigration:
    """Return a migration with another configuration. What was known about another instance is forgotten."""
    attributes = migration.attributes
    if migration.target_id not in {None, config.target_id}:
        attributes = {name: value for name, value in attributes.items() if name not in {HAS_COPIED, COPIED_LIBRARIES}}
    return msgspec.structs.replace(migration, **msgspec.structs.asdict(config), attributes=attributes)


def _require_room(connection: sa.Connection, principal: Principal) -> None:
    if len(store.of_project(connection, principal.project_id)) >= MOST_MIGRATIONS:
        raise ApiError(errors.LIMIT_EXCEEDED, reason=f"a project has at most {MOST_MIGRATIONS} migration tasks")


def _require_ended(connection: sa.Connection, migration: OnlineMigration) -> None:
    task = _task_of(connection, migration)
    if task is not None and task.status in UNFINISHED:
        raise ApiError(errors.TASK_STATE_CONFLICT, reason="it has not ended")


def _migration_of(connection: sa.Connection, principal: Principal, migration_id: str) -> OnlineMigration:
    migration = store.get(connection, principal.project_id, migration_id)
    if migration is None:
        raise ApiError(errors.MIGRATION_NOT_FOUND)
    return migration


def _task_of(connection: sa.Connection, migration: OnlineMigration) -> Task | None:
    return tasks.of_project(connection, migration.project_id, migration.task_id) if migration.task_id else None


def _shown(connection: sa.Connection, migration: OnlineMigration) -> ShownMigration:
    target = instances.get(connection, migration.project_id, migration.target_id) if migration.target_id else None
    return ShownMigration(migration, _task_of(connection, migration), target)
