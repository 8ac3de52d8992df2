"""Actions of a backup of past data: fetch the write logs, and make snapshots from them."""

import asyncio
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from cachewright import errors
from cachewright.backups.encryption import new_key
from cachewright.backups.manifest import SavedShard
from cachewright.backups.spool import Spool
from cachewright.backups.storage import BackupDamaged, StorageFailed
from cachewright.hosts.server_binary import version_key
from cachewright.jobs import replays
from cachewright.jobs.results import Replayed
from cachewright.jobs.spec import ReplayLog
from cachewright.jobs.temporary_node import TemporaryNodes
from cachewright.model.instances import Node
from cachewright.model.write_logs import WriteLog
from cachewright.operations.actions.action import action
from cachewright.operations.actions.backup import draft_of, spool_of
from cachewright.operations.agent_jobs import failures_of_actions, perform_with_share
from cachewright.operations.context import OperationContext
from cachewright.operations.snapshot import disk_failure, on_disk
from cachewright.operations.snapshot_places import are_there, replay_folder
from cachewright.operations.work_places import node_for_attempt
from cachewright.store import write_logs
from cachewright.tasks.operation import ActionFailed, StepContext
from cachewright.topologies import topology_of
from cachewright.valkey.append_only_files import MANIFEST, DamagedLog
from cachewright.valkey.snapshot_moment import Moment

_DAY_SECONDS = 24 * 3600.0


class LogArguments(msgspec.Struct, frozen=True):
    """:ivar moment: epoch seconds.
    :ivar host_name: of the host of the temporary node; None for that of the server.
    """

    backup_id: str
    log_id: str
    moment: int
    host_name: str | None = None


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
    if await _is_made(context, step, spool, log.shard):
        return
    if await asyncio.to_thread((spool.log_folder(log.shard) / MANIFEST).exists):
        return

    def report(done: int) -> None:
        step.raise_if_cancelled()
        step.measure(done=done, detail=f"{{bytes:{done}/{log.size}}}")

    with _failures():
        folder = await asyncio.to_thread(spool.new_log_folder, log.shard)
        _, binary = await asyncio.to_thread(context.server_that_reads, log.server_version)
        storage = await context.backup_storage()
        await replays.fetch_log(storage, log, folder, report, binary=binary, second=arguments.moment)


@action("replay write log", LogArguments, timeout=_DAY_SECONDS, attempts=4, first_delay=1.0, cancelling=15)
async def replay_write_log(context: OperationContext, step: StepContext, arguments: LogArguments) -> None:
    """Ensure that there is a snapshot of a shard, in the spool or on another host: a temporary node has loaded its log
    and written it."""
    spool = spool_of(context, arguments.backup_id)
    log = await _log(context, step, arguments.log_id)
    if await _is_made(context, step, spool, log.shard):
        return
    await step.wait_until_allowed()
    node = await node_for_attempt(context, step.task.instance_id, arguments.host_name)
    await on_disk(spool.begin_rebuilding, log.shard, node.id if node else None)
    if node is None:
        await _replay_here(context, step, log, spool)
    else:
        await _replay_elsewhere(context, step, arguments, log, node)


async def _is_made(context: OperationContext, step: StepContext, spool: Spool, shard: int) -> bool:
    """Whether the snapshot of a shard exists on a host that reports. Those that one manifest names belong together: if
    one of them is with a host that does not report, all are made again."""
    if await asyncio.to_thread(spool.rebuilt, shard) is None:
        return False
    if await are_there(context, step.task, spool):
        return True
    if await asyncio.to_thread(spool.draft) is not None:
        await asyncio.to_thread(spool.clear)
        return False
    node_id = (await asyncio.to_thread(spool.places)).get(shard)
    node = await context.node(step.task.instance_id, node_id) if node_id else None
    hosts = await asyncio.to_thread(context.host.measured)
    return node_id is None or (node is not None and node.host_name in hosts)


async def _replay_here(context: OperationContext, step: StepContext, log: WriteLog, spool: Spool) -> None:
    topology = topology_of(log.spec_code)
    version, _ = await asyncio.to_thread(context.server_that_reads, log.server_version)
    source = spool.log_folder(log.shard)

    def report(share: float) -> None:
        step.raise_if_cancelled()
        step.measure(done=share * step.sub_step.work.total)

    name = replay_name(spool.backup_id, log.shard)
    nodes = TemporaryNodes.of(context.host)
    made = replays.Replay(nodes, name, version, topology.databases, is_cluster=topology.is_cluster)
    with failures_of_actions(), _failures():
        rebuilt = await made.write(source, spool.file(log.shard), report)
    await on_disk(spool.store_rebuilt, log.shard, rebuilt)
    await asyncio.to_thread(shutil.rmtree, source, ignore_errors=True)


async def _replay_elsewhere(
    context: OperationContext, step: StepContext, arguments: LogArguments, log: WriteLog, node: Node
) -> None:
    """Let the agent of a node's host fetch the log and replay it. The snapshot stays there until it is stored."""
    topology, spool = topology_of(log.spec_code), spool_of(context, arguments.backup_id)
    job = ReplayLog(
        folder=replay_folder(spool.backup_id, log.shard),
        storage=context.settings.backup_url,
        log=log,
        moment=arguments.moment,
        name=replay_name(spool.backup_id, log.shard),
        databases=topology.databases,
        is_cluster=topology.is_cluster,
    )
    replayed = await perform_with_share(context, step, node, job, Replayed)
    assert replayed.rebuilt is not None  # noqa: S101  # a job that has succeeded tells it
    await on_disk(spool.store_rebuilt, log.shard, replayed.rebuilt)


@action("assemble past snapshots", PastSnapshots, timeout=60, attempts=3)
async def assemble_past_snapshots(context: OperationContext, step: StepContext, arguments: PastSnapshots) -> None:
    """Ensure that the snapshots of all shards are one snapshot of the instance, with a draft of its manifest."""
    spool = spool_of(context, arguments.backup_id)
    if await asyncio.to_thread(spool.draft) is not None:
        return
    instance = await context.instance(step.task)
    logs = [await _log(context, step, log_id) for log_id in arguments.log_ids]
    shards, versions = [], []
    for log in logs:
        rebuilt = await asyncio.to_thread(spool.rebuilt, log.shard)
        if rebuilt is None:
            message = "the snapshots of the past data are gone; request another backup"
            raise ActionFailed(errors.BACKUP_DAMAGED, message, True)
        versions.append(rebuilt.version)
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
    known, _ = await asyncio.to_thread(context.server_that_reads, logs[0].server_version)
    version = max((found for found in versions if found), key=version_key, default=known)
    draft = draft_of(arguments.backup_id, instance, moment, tuple(shards), version)
    await on_disk(spool.store_draft, msgspec.structs.replace(draft, spec_code=logs[0].spec_code))


def replay_name(backup_id: str, shard: int | str) -> str:
    """Return the name of the temporary node of a shard."""
    return f"{backup_id}-{shard}"


async def end_replays(context: OperationContext, backup_id: str) -> None:
    """End the temporary nodes on the host of the server that a task has left which could not end them. ActionFailed if
    they do not end."""
    with failures_of_actions():
        await TemporaryNodes.of(context.host).remove_all(replay_name(backup_id, ""))


async def _log(context: OperationContext, step: StepContext, log_id: str) -> WriteLog:
    def read() -> WriteLog | None:
        with context.database.read() as connection:
            logs = write_logs.of_instance(connection, step.task.instance_id)
        return next((log for log in logs if log.id == log_id), None)

    found = await asyncio.to_thread(read)
    if found is None:
        raise ActionFailed(errors.BACKUP_NOT_FOUND, "the write log has been deleted", True)
    return found


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
