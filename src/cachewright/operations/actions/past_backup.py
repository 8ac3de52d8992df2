"""Actions of a backup of past data: fetch the write logs, and make snapshots from them."""

import asyncio
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from cachewright import errors
from cachewright.backups import log_objects
from cachewright.backups.encryption import new_key
from cachewright.backups.manifest import SavedShard
from cachewright.backups.spool import Rebuilt
from cachewright.backups.storage import BackupDamaged, StorageFailed
from cachewright.model.write_logs import WriteLog
from cachewright.operations.actions.action import action
from cachewright.operations.actions.backup import draft_of, spool_of
from cachewright.operations.context import OperationContext
from cachewright.operations.snapshot import disk_failure, on_disk
from cachewright.operations.temporary_node import TemporaryNode
from cachewright.private_files import write_private
from cachewright.store import write_logs
from cachewright.tasks.operation import ActionFailed, StepContext
from cachewright.topologies import topology_of
from cachewright.valkey.append_only_files import MANIFEST, DamagedLog, cut_after, manifest_of, number_of
from cachewright.valkey.config import DATA_FOLDER, replay_conf
from cachewright.valkey.snapshot_moment import Moment

_DAY_SECONDS = 24 * 3600.0
_LOADED_SHARE = 0.7


class LogArguments(msgspec.Struct, frozen=True):
    """:ivar moment: epoch seconds."""

    backup_id: str
    log_id: str
    moment: int


class PastSnapshots(msgspec.Struct, frozen=True):
    backup_id: str
    log_ids: tuple[str, ...]
    moment: int


@action("fetch write log", LogArguments, timeout=_DAY_SECONDS, attempts=6, first_delay=1.0, cancelling=5)
async def fetch_write_log(context: OperationContext, step: StepContext, arguments: LogArguments) -> None:
    """Ensure that the spool has the files of a log until the moment."""
    await step.wait_until_allowed()
    spool = spool_of(context, arguments.backup_id)
    log = await _log(context, step, arguments.log_id)
    if await asyncio.to_thread(lambda: spool.rebuilt(log.shard) or (spool.log_folder(log.shard) / MANIFEST).exists()):
        return

    def report(done: int) -> None:
        step.raise_if_cancelled()
        step.measure(done=done, detail=f"{{bytes:{done}/{log.size}}}")

    with _failures():
        folder = await asyncio.to_thread(spool.new_log_folder, log.shard)
        paths = await log_objects.fetch(await context.backup_storage(), log, folder, report)
        _, binary = await asyncio.to_thread(context.server_that_reads, log.server_version)
        numbered = sorted((number, path) for path in paths if (number := number_of(path.name)) is not None)
        await cut_after(binary, [path for _, path in numbered], arguments.moment)
        await asyncio.to_thread(_complete, folder)


@action("replay write log", LogArguments, timeout=_DAY_SECONDS, attempts=4, first_delay=1.0, cancelling=15)
async def replay_write_log(context: OperationContext, step: StepContext, arguments: LogArguments) -> None:
    """Ensure that the spool has the snapshot of a shard: a temporary node has loaded its log and written it."""
    spool = spool_of(context, arguments.backup_id)
    log = await _log(context, step, arguments.log_id)
    if await asyncio.to_thread(spool.rebuilt, log.shard) is not None:
        return
    await step.wait_until_allowed()
    topology = topology_of(log.spec_code)
    version, _ = await asyncio.to_thread(context.server_that_reads, log.server_version)
    source, target = spool.log_folder(log.shard), spool.file(log.shard)

    def report(share: float) -> None:
        step.raise_if_cancelled()
        step.measure(done=share * step.sub_step.work.total)

    def conf(host: str, bus_port: int) -> str:
        return replay_conf(host, bus_port, topology.databases, is_cluster=topology.is_cluster)

    node = TemporaryNode(context, replay_name(arguments.backup_id, log.shard))
    try:
        await node.start(version, conf, lambda folder: _link_all(source, folder / DATA_FOLDER))
        said = await node.loaded(lambda share: report(_LOADED_SHARE * share))
        await node.save(said, target, lambda share: report(_LOADED_SHARE + (1 - _LOADED_SHARE) * share))
    except BaseException:
        with suppress(ActionFailed):
            await asyncio.shield(node.end())
        raise
    rebuilt = await on_disk(_summary, target, int(said["used_memory_dataset"]))
    await on_disk(spool.store_rebuilt, log.shard, rebuilt)
    await asyncio.to_thread(shutil.rmtree, source, ignore_errors=True)


@action("assemble past snapshots", PastSnapshots, timeout=60, attempts=3)
async def assemble_past_snapshots(context: OperationContext, step: StepContext, arguments: PastSnapshots) -> None:
    """Ensure that the snapshots of all shards are one snapshot of the instance, with a draft of its manifest."""
    spool = spool_of(context, arguments.backup_id)
    if await asyncio.to_thread(spool.draft) is not None:
        return
    instance = await context.instance(step.task)
    logs = [await _log(context, step, log_id) for log_id in arguments.log_ids]
    shards = []
    for log in logs:
        rebuilt = await asyncio.to_thread(spool.rebuilt, log.shard)
        if rebuilt is None:
            message = "the snapshots on the disk of the server are gone; request another backup"
            raise ActionFailed(errors.BACKUP_DAMAGED, message, True)
        shards.append(
            SavedShard(
                shard=log.shard,
                key=new_key(),
                size=rebuilt.size,
                sha256=rebuilt.sha256,
                keys={},
                memory=rebuilt.memory,
                slots=log.ranges,
            )
        )
    moment = Moment(at=arguments.moment * 1000 + 999, positions={}, is_common=True, paused_seconds=0.0)
    version, _ = await asyncio.to_thread(context.server_that_reads, logs[0].server_version)
    draft = draft_of(arguments.backup_id, instance, moment, tuple(shards), version)
    await on_disk(spool.store_draft, msgspec.structs.replace(draft, spec_code=logs[0].spec_code))


def replay_name(backup_id: str, shard: int | str) -> str:
    """Return the name of the temporary node of a shard."""
    return f"{backup_id}-{shard}"


async def end_replays(context: OperationContext, backup_id: str) -> None:
    """End the temporary nodes that a task has left which could not end them. ActionFailed if they do not end."""
    folder = context.host.converters_dir
    names = await asyncio.to_thread(lambda: [path.name for path in folder.glob(replay_name(backup_id, "*"))])
    for name in names:
        await TemporaryNode(context, name).end()


async def _log(context: OperationContext, step: StepContext, log_id: str) -> WriteLog:
    def read() -> WriteLog | None:
        with context.database.read() as connection:
            logs = write_logs.of_instance(connection, step.task.instance_id)
        return next((log for log in logs if log.id == log_id), None)

    found = await asyncio.to_thread(read)
    if found is None:
        raise ActionFailed(errors.BACKUP_NOT_FOUND, "the write log has been deleted", True)
    return found


def _complete(folder: Path) -> None:
    """Write the files to the disk, and then their manifest, without which they do not count."""
    names = [path.name for path in folder.iterdir()]
    for name in names:
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())
    write_private(folder / MANIFEST, manifest_of(names).encode())


def _link_all(source: Path, folder: Path) -> None:
    folder.mkdir(mode=0o700)
    for path in source.iterdir():
        (folder / path.name).hardlink_to(path)


def _summary(path: Path, memory: int) -> Rebuilt:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    return Rebuilt(size=path.stat().st_size, sha256=digest, memory=memory)


@contextmanager
def _failures() -> Iterator[None]:
    """Turn errors into ActionFailed. A storage may answer again, a damaged log stays damaged."""
    try:
        yield
    except StorageFailed as error:
        raise ActionFailed(errors.BACKUP_STORAGE_FAILED, str(error)) from error
    except (BackupDamaged, DamagedLog) as error:
        raise ActionFailed(errors.BACKUP_DAMAGED, str(error), True) from error
    except OSError as error:
        raise disk_failure(error) from error
