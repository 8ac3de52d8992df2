"""Shapes of migrations from outside. Types follow the SDK's models; statuses also terraform's provider, which waits for
`INCRMIGEATING`, as the cloud spells it. Members that the SDK lacks are extensions."""

from typing import Literal

import msgspec

from cachewright import errors
from cachewright.api.schemas import iso, rfc3339
from cachewright.jobs.migrations.figures import INCREMENTAL, following_figures
from cachewright.model.online_migrations import LogLevel, Method, MigrationEvent, OnlineMigration, ResumeMode
from cachewright.model.tasks import Task
from cachewright.operations.online_migrations.imports import FULL
from cachewright.operations.online_migrations.operation import SYNCHRONIZATION
from cachewright.services.online_migrations import ShownMigration

_VERSION = "1"

MigrationType = Literal["backupfile_import", "online_migration"]


class StartedMigration(msgspec.Struct, frozen=True):
    id: str
    name: str
    status: str


class CreatedOnlineTask(msgspec.Struct, frozen=True):
    """`job_id` is for terraform, which waits for the end of the job."""

    instance_id: str
    job_id: str


class ShownEnd(msgspec.Struct, frozen=True, kw_only=True):
    """One end of a migration. The password is never shown."""

    addrs: str | None
    id: str | None = None
    name: str | None = None
    ip: str | None = None
    port: str | None = None
    password: None = None
    task_status: str | None = None
    proxy_multi_db: bool | None = None
    db: str | None = None


class ShownSource(ShownEnd, frozen=True, kw_only=True):
    username: str | None = None
    sentinel_name: str | None = None
    ssl_enabled: bool = False
    ssl_check_hostname: bool | None = None


class ShownFile(msgspec.Struct, frozen=True):
    """A file of an import, without the signature of its URL."""

    file_name: str
    size: str
    update_at: str


class ShownFiles(msgspec.Struct, frozen=True, kw_only=True):
    file_source: str
    bucket_name: str | None
    files: list[ShownFile]
    backup_id: str | None


class CutOver(msgspec.Struct, frozen=True, kw_only=True):
    """State of an incremental migration; an extension.

    :ivar ready: whether the lag has been small for a second.
    :ivar lag_bytes: bytes of the source's stream of writes, :ivar lag_keys: keys, :ivar lag_seconds: time by which the
        instance is behind.
    :ivar requested_at: when the cut-over was requested.
    """

    ready: bool
    lag_bytes: int
    lag_keys: int
    lag_seconds: float
    requested_at: str | None


class MigrationTask(msgspec.Struct, frozen=True, kw_only=True):
    """A migration. `background_task_id` and `cut_over` are extensions."""

    task_id: str
    task_name: str
    description: str
    status: str
    migration_type: MigrationType
    migration_method: Method | None
    ecs_tenant_private_ip: str | None = None
    backup_files: ShownFiles | None = None
    network_type: str
    source_instance: ShownSource
    target_instance: ShownEnd
    created_at: str
    updated_at: str
    released_at: str | None
    version: str = _VERSION
    resume_mode: ResumeMode
    supported_features: tuple[str, ...] = ()
    tenant_vpc_id: str | None
    tenant_subnet_id: str | None
    tenant_security_group_id: str | None
    bandwidth_limit_mb: str | None
    task_status: str | None = None
    error_message: str | None
    background_task_id: str | None
    cut_over: CutOver | None


class ListedMigration(msgspec.Struct, frozen=True, kw_only=True):
    task_id: str
    task_name: str
    description: str
    status: str
    migration_type: MigrationType
    migration_method: Method | None
    ecs_tenant_private_ip: str | None = None
    data_source: str
    source_instance_name: str | None = None
    source_instance_id: str | None = None
    source_instance_status: str | None = None
    source_instance_subnet_id: str | None = None
    source_instance_spec_code: str | None = None
    target_instance_addrs: str | None
    target_instance_name: str | None
    target_instance_id: str | None
    target_instance_status: str | None
    target_instance_spec_code: str | None
    target_instance_subnet_id: str | None
    created_at: str
    released_at: str | None
    error_message: str | None
    resume_mode: ResumeMode
    version: str = _VERSION
    supported_features: tuple[str, ...] = ()


class MigrationList(msgspec.Struct, frozen=True):
    count: int
    migration_tasks: list[ListedMigration]


class MigrationStats(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of a migration, as texts, as on the cloud."""

    full_migration_progress: str
    offset: str
    source_dbsize: str
    target_dbsize: str
    target_input_kbps: str
    target_ops: str
    is_migrating: bool


class LogEntry(msgspec.Struct, frozen=True, kw_only=True):
    created_at: str
    log_level: LogLevel
    message: str
    log_code: str = ""
    keyword: tuple[str, ...] = ()


class MigrationLogs(msgspec.Struct, frozen=True):
    log_num: int
    migration_logs: list[LogEntry]


class MigrationBatchResult(msgspec.Struct, frozen=True, kw_only=True):
    result: Literal["success", "failed"]
    task_id: str
    error_code: str | None = None
    error_msg: str | None = None


class MigrationBatchResults(msgspec.Struct, frozen=True):
    migration_tasks: list[MigrationBatchResult]


def status(shown: ShownMigration) -> str:
    """Return the status. `CREATED` and `MIGRATING` are before the begin of the copy; an import is `MIGRATING` until it
    ends."""
    task = shown.task
    if task is None:
        return "CREATED" if shown.migration.task_id is None else "TERMINATED"
    if task.status == "SUCCESS":
        return "SUCCESS"
    if task.status == "FAILED":
        return "TERMINATED" if task.error_code == errors.TASK_CANCELLED else "FAILED"
    if shown.migration.is_import:
        return "MIGRATING"
    executing = {step.name for step in task.steps if step.status == "EXECUTING"}
    if INCREMENTAL in executing:
        return "INCRMIGEATING"
    return "FULLMIGRATING" if executing & {SYNCHRONIZATION, FULL} else "MIGRATING"


def started(shown: ShownMigration) -> StartedMigration:
    return StartedMigration(shown.migration.id, shown.migration.name, status(shown))


def migration_task(shown: ShownMigration) -> MigrationTask:
    migration, task, target = shown.migration, shown.task, shown.target
    known = migration.attributes.get
    return MigrationTask(
        task_id=migration.id,
        task_name=migration.name,
        description=migration.description,
        status=status(shown),
        migration_type=_type(migration),
        migration_method=migration.method,
        backup_files=_files(migration),
        network_type=known("network_type", "vpc"),
        source_instance=ShownSource(
            addrs=migration.source_addresses,
            username=migration.source_user,
            sentinel_name=migration.source_name,
            ssl_enabled=migration.source_tls is not None,
            ssl_check_hostname=migration.source_tls and migration.source_tls == "host",
        ),
        target_instance=ShownEnd(
            id=migration.target_id,
            name=target.name if target else None,
            addrs=_address(shown),
            ip=target.address if target else None,
            port=str(target.seed_port) if target else None,
        ),
        created_at=rfc3339(migration.created_at),
        updated_at=rfc3339(migration.updated_at),
        released_at=iso(task.end_time) if task else None,
        resume_mode=migration.resume_mode,
        tenant_vpc_id=known("vpc_id"),
        tenant_subnet_id=known("subnet_id"),
        tenant_security_group_id=known("security_group_id"),
        bandwidth_limit_mb=None if migration.bandwidth_limit_mb is None else str(migration.bandwidth_limit_mb),
        error_message=_error(task),
        background_task_id=migration.task_id,
        cut_over=_cut_over(shown),
    )


def listed(shown: ShownMigration) -> ListedMigration:
    migration, target = shown.migration, shown.target
    return ListedMigration(
        task_id=migration.id,
        task_name=migration.name,
        description=migration.description,
        status=status(shown),
        migration_type=_type(migration),
        migration_method=migration.method,
        data_source=migration.source_addresses or migration.source_backup or "",
        target_instance_addrs=_address(shown),
        target_instance_name=target.name if target else None,
        target_instance_id=migration.target_id,
        target_instance_status=target.status if target else None,
        target_instance_spec_code=target.spec_code if target else None,
        target_instance_subnet_id=target.attributes.get("subnet_id") if target else None,
        created_at=rfc3339(migration.created_at),
        released_at=iso(shown.task.end_time) if shown.task else None,
        error_message=_error(shown.task),
        resume_mode=migration.resume_mode,
    )


def stats(shown: ShownMigration) -> MigrationStats:
    """Return the figures that the running sub-step has measured last. The number of keys in files is not known."""
    subs = [sub for step in (shown.task.steps if shown.task else ()) for sub in step.sub_steps if step.name == FULL]
    total, done = sum(sub.work.total for sub in subs), sum(sub.done for sub in subs)
    figures, counts_keys = following_figures(shown.task), not shown.migration.is_import
    return MigrationStats(
        full_migration_progress=str(int(100 * done / total)) if total else "0",
        offset=str(figures.offset) if figures else "0",
        source_dbsize=str(figures.source_keys if figures else int(total) if counts_keys else 0),
        target_dbsize=str(figures.target_keys if figures else int(done) if counts_keys else 0),
        target_input_kbps=str(figures.target_kbps if figures else 0),
        target_ops=str(figures.target_ops if figures else 0),
        is_migrating=shown.task is not None and shown.task.status == "EXECUTING",
    )


def log_entry(event: MigrationEvent) -> LogEntry:
    return LogEntry(created_at=rfc3339(event.created_at), log_level=event.level, message=event.message)


def _type(migration: OnlineMigration) -> MigrationType:
    return "backupfile_import" if migration.is_import else "online_migration"


def _files(migration: OnlineMigration) -> ShownFiles | None:
    """Return the files of an import. A migration that was an import before has none."""
    return msgspec.convert(migration.attributes["backup_files"], ShownFiles) if migration.is_import else None


def _cut_over(shown: ShownMigration) -> CutOver | None:
    figures = following_figures(shown.task)
    if figures is None:
        return None
    return CutOver(
        ready=bool(figures.ready),
        lag_bytes=figures.lag_bytes,
        lag_keys=figures.lag_keys,
        lag_seconds=figures.lag_seconds,
        requested_at=iso(shown.migration.cut_over_at),
    )


def _address(shown: ShownMigration) -> str | None:
    return f"{shown.target.address}:{shown.target.seed_port}" if shown.target else None


def _error(task: Task | None) -> str | None:
    return f"{task.error_code}: {task.message}" if task and task.error_code else None
