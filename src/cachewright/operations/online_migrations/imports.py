"""Imports of RDB files: each file is loaded by a gateway, from which its keys are copied."""

import asyncio
from collections.abc import Sequence

import sqlalchemy as sa

from cachewright import errors
from cachewright.disk_reserve import available
from cachewright.errors import ApiError
from cachewright.jobs.migrations.shards import FetchFile, ImportedFile, ImportFile
from cachewright.model.hosts import EMBEDDED
from cachewright.model.online_migrations import OnlineMigration
from cachewright.model.tasks import Step, Task, Work
from cachewright.operations.actions.action import NoArguments
from cachewright.operations.actions.imports import fetch_file, import_file
from cachewright.operations.actions.online_migrations import remove_all_gateways
from cachewright.operations.context import OperationContext
from cachewright.operations.online_migrations.files import find_files
from cachewright.operations.online_migrations.places import ability_for, keep_place
from cachewright.operations.online_migrations.run import MigrationRun
from cachewright.operations.work_places import place_of_work
from cachewright.store import backups
from cachewright.tasks.operation import ActionFailed
from cachewright.tasks.plan import SubStepSpec, build, effort
from cachewright.valkey.sources.copier import TargetNotReady
from cachewright.valkey.sources.target import TargetMap

TRANSFER, FULL, REMOVAL = "File transfer.", "Full migration.", "Gateway removal."

_REMOVAL_SECONDS = 0.2
_START_SECONDS = 0.3
_FETCHED_PER_SECOND, _IMPORTED_PER_SECOND = 50_000_000.0, 10_000_000.0
_LANE = "files"


async def plan_import(context: OperationContext, task: Task, run: MigrationRun) -> tuple[Step, ...]:
    """Return the steps of an import. Raises ActionFailed."""
    try:
        files, target = await find_files(run), await run.find_target()
        total, room = sum(file.size for file in files), sum(node.maxmemory for node in target.nodes)
        host_name, free = await _place(run, target, total)
        if failure := unsuitable([file.size for file in files], room, free):
            raise failure
    except TargetNotReady as reason:
        raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, str(reason)) from reason
    except ActionFailed as failure:
        await run.note("error", failure.message)
        raise
    await keep_place(run, host_name)
    await run.note("info", f"{len(files)} files with {total} bytes")
    if host_name != EMBEDDED:
        await run.note("info", f"files are imported by host {host_name}")
    return build(task.run_id, _steps(files))


async def _place(run: MigrationRun, target: TargetMap, size: int) -> tuple[str, int]:
    """Return the host of the gateways for files of this size, and the bytes that files may take on its disk. An agent
    leaves the reserve of its disk free. Other hosts need a storage of backups that they reach."""
    context, host_name = run.context, EMBEDDED
    if run.migration.source_backup is None or context.settings.backup_storage is not None:
        nodes, hosts = await context.nodes(run.instance.id), await asyncio.to_thread(context.host.measured)
        host_name = place_of_work(nodes, target.nodes, hosts, size, ability_for(run))
        if host_name != EMBEDDED:
            return host_name, hosts[host_name].resources.disk_free
    return host_name, await asyncio.to_thread(available, context.settings.data_dir)


def require_backup(connection: sa.Connection, migration: OnlineMigration) -> None:
    """Raise ApiError DCS.4031 or DCS.4087 if an import names a backup that cannot be imported."""
    if migration.source_backup is None:
        return
    backup = backups.find(connection, migration.project_id, migration.source_backup)
    if backup is None or backup.state in {"deleted", "expired"}:
        raise ApiError(errors.BACKUP_NOT_FOUND)
    if backup.state != "succeed":
        raise ApiError(errors.BACKUP_NOT_SUCCEEDED)


def unsuitable(sizes: Sequence[int], room: int, disk_free: int) -> ActionFailed | None:
    """Return why files of these sizes cannot be imported. Pure.

    :param room: bytes of data that the instance takes. A file has hardly more bytes than its data.
    :param disk_free: bytes that files may take on the disk of the host of their gateways.
    """
    total = sum(sizes)
    if total > room:
        message = f"the files have {total} bytes, the instance takes {room}"
        return ActionFailed(errors.MIGRATION_OUT_OF_MEMORY, message, final=True)
    if total > disk_free:
        message = f"the files have {total} bytes, the disk of the host has room for {disk_free}"
        return ActionFailed(errors.NOT_ENOUGH_DISK, message, final=True)
    return None


def _steps(files: Sequence[ImportedFile]) -> dict[str, list[SubStepSpec]]:
    return {
        TRANSFER: [
            fetch_file.sub_step(f"{TRANSFER} {file.name}", _work(file, _FETCHED_PER_SECOND), FetchFile(file))
            for file in files
        ],
        FULL: [
            import_file.sub_step(f"{FULL} {file.name}", _work(file, _IMPORTED_PER_SECOND), ImportFile(file))
            for file in files
        ],
        REMOVAL: [removal_of_gateways()],
    }


def removal_of_gateways() -> SubStepSpec:
    """Return the last sub-step of every migration."""
    return remove_all_gateways.sub_step(REMOVAL, effort("removal", seconds=_REMOVAL_SECONDS), NoArguments())


def _work(file: ImportedFile, rate: float) -> Work:
    size = max(file.size, 1)
    return effort(_LANE, unit="bytes", total=size, seconds=_START_SECONDS + size / rate, fixed=_START_SECONDS)
