"""Actions of a backup: take the snapshot, verify it, store it."""

import asyncio
import secrets

import msgspec

from cachewright import errors
from cachewright.backups import writer
from cachewright.backups.manifest import Manifest, SavedAccount, SavedShard, read_manifest
from cachewright.backups.spool import Spool
from cachewright.backups.storage import BackupDamaged, StorageFailed
from cachewright.hosts.calls import HostSilent
from cachewright.jobs.receiver import DiskFailed
from cachewright.jobs.results import Checked, Done
from cachewright.jobs.spec import CheckSnapshot, StoreSnapshot
from cachewright.model.backups import BackupKind
from cachewright.model.instances import Instance
from cachewright.operations.actions.action import action
from cachewright.operations.agent_jobs import perform, told
from cachewright.operations.context import OperationContext, best_view
from cachewright.operations.snapshot import Snapshot, Source, disk_failure, on_disk, sources
from cachewright.operations.snapshot_places import are_there, clear, is_away, place_of, receivers
from cachewright.store import backups
from cachewright.tasks.operation import ActionFailed, StepContext
from cachewright.topologies import topology_of
from cachewright.valkey import rdb_check
from cachewright.valkey.client import NODE_GONE, NodeRefused
from cachewright.valkey.rdb_check import DamagedSnapshot
from cachewright.valkey.snapshot_moment import Moment
from cachewright.valkey.topology import primaries

_DAY_SECONDS = 24 * 3600.0
_PAUSED_TRIES, _TRIES = 3, 2


class BackupParams(msgspec.Struct, frozen=True):
    """:ivar kind: `auto` for a backup by the schedule of the instance.
    :ivar moment: second in the past whose data is backed up, epoch seconds; None for the present data.
    """

    backup_id: str
    kind: BackupKind = "manual"
    moment: int | None = None


class TakeSnapshot(msgspec.Struct, frozen=True):
    backup_id: str


class ShardArguments(msgspec.Struct, frozen=True):
    backup_id: str
    shard: int


@action("take snapshot", TakeSnapshot, timeout=_DAY_SECONDS, attempts=6, first_delay=1.0, cancelling=5)
async def take_snapshot(context: OperationContext, step: StepContext, arguments: TakeSnapshot) -> None:
    """Ensure that the spool has the snapshots of all shards, of one moment if that is possible.

    The snapshots of an interrupted attempt are not used: those of all shards belong together.
    """
    spool = spool_of(context, arguments.backup_id)
    if await asyncio.to_thread(_draft, spool) and await are_there(context, step.task, spool):
        return
    await step.wait_until_allowed()
    await asyncio.to_thread(spool.clear)
    instance, nodes, views = await context.look(step.task)
    view = best_view(views)
    leads, access = primaries(nodes, view), context.access(instance)
    is_cluster = topology_of(instance.spec_code).is_cluster
    found = await sources(leads, nodes, view.members, access, is_cluster=is_cluster)
    pause = len(found) > 1
    for left in reversed(range(_PAUSED_TRIES if pause else _TRIES)):
        snapshot = Snapshot(step, access, found, receivers(context, instance, spool, found))
        try:
            moment = await snapshot.begin(pause=pause and left > 0)
        except (*NODE_GONE, NodeRefused, HostSilent):
            if not left:
                raise
            # A replica that lags or is busy cannot begin while writes wait.
            found = {shard: Source(source.primary, source.primary, source.slots) for shard, source in found.items()}
        else:
            break
    try:
        shards = await snapshot.receive(moment)
        draft = draft_of(arguments.backup_id, instance, moment, shards, snapshot.server_version)
        await on_disk(spool.store_places, {shard: one.node.id for shard, one in found.items() if is_away(context, one)})
        await on_disk(spool.store_draft, draft)
    except BaseException as error:
        await asyncio.shield(clear(context, spool, [one.node for one in found.values()]))
        if isinstance(error, DiskFailed):
            raise disk_failure(error) from error
        raise
    if not moment.is_common:
        step.warn("each shard has a moment of its own: the nodes could not begin their snapshots together")
    snapshot.show()


@action("check snapshot", ShardArguments, timeout=_DAY_SECONDS, attempts=6, first_delay=1.0)
async def check_snapshot(context: OperationContext, step: StepContext, arguments: ShardArguments) -> None:
    """Ensure that the snapshot of a shard is whole: valkey-check-rdb reads it and compares its checksum."""
    spool = spool_of(context, arguments.backup_id)
    draft = await _required_draft(context, spool)
    if draft is None or await asyncio.to_thread(spool.keys, arguments.shard) is not None:
        return
    await step.wait_until_allowed()
    shard, path = _shard(draft, arguments.shard), spool.file(arguments.shard)

    def progress(read: int) -> None:
        _measure(step, read, shard.size)

    if place := await place_of(context, step.task, spool, shard.shard):
        node, folder = place
        job = CheckSnapshot(folder=folder, version=draft.server_version)
        state = await perform(context, step, node, job, lambda state: progress(told(state, Done).done))
        await on_disk(spool.store_keys, arguments.shard, told(state, Checked).keys)
        return
    _, binary = await asyncio.to_thread(context.server_that_reads, draft.server_version)
    try:
        content = await rdb_check.check(binary, path, progress)
    except DamagedSnapshot as error:
        await asyncio.to_thread(spool.clear)
        message = f"the snapshot of shard {shard.shard} is damaged: {error}"
        raise ActionFailed(errors.BACKUP_DAMAGED, message, True) from error
    except OSError as error:
        raise disk_failure(error) from error
    await on_disk(spool.store_keys, arguments.shard, content.keys)


@action("store shard", ShardArguments, timeout=_DAY_SECONDS, attempts=9, first_delay=1.0)
async def store_shard(context: OperationContext, step: StepContext, arguments: ShardArguments) -> None:
    """Ensure that the storage has the encrypted snapshot of a shard."""
    spool = spool_of(context, arguments.backup_id)
    draft = await _required_draft(context, spool)
    if draft is None:
        return
    shard = _shard(draft, arguments.shard)

    async def progress(stored: int) -> None:
        _measure(step, stored, shard.size)
        await step.wait_until_allowed()

    await step.wait_until_allowed()
    try:
        storage = await context.marked_backup_storage()
        if place := await place_of(context, step.task, spool, shard.shard):
            node, folder = place
            job = StoreSnapshot(folder=folder, storage=context.settings.backup_url, target=draft.folder, shard=shard)
            await perform(context, step, node, job, lambda state: _measure(step, told(state, Done).done, shard.size))
            return
        await writer.store_shard(storage, draft.folder, shard, spool.file(shard.shard), progress)
    except StorageFailed as error:
        raise ActionFailed(errors.BACKUP_STORAGE_FAILED, str(error)) from error
    except OSError as error:
        raise disk_failure(error) from error


@action("store manifest", BackupParams, timeout=_DAY_SECONDS, attempts=9, first_delay=1.0)
async def store_manifest(context: OperationContext, step: StepContext, arguments: BackupParams) -> None:
    """Ensure that the backup exists: that the storage has its manifest, and that its record knows the size."""
    spool = spool_of(context, arguments.backup_id)
    try:
        storage = await context.backup_storage()
        draft = await _required_draft(context, spool)
        if draft is None:
            manifest = await read_manifest(storage, context.database.cipher, arguments.backup_id)
        else:
            keys = await asyncio.to_thread(lambda: {one.shard: spool.keys(one.shard) or {} for one in draft.shards})
            shards = tuple(msgspec.structs.replace(one, keys=keys[one.shard]) for one in draft.shards)
            manifest = msgspec.structs.replace(draft, shards=shards)
            await writer.store_manifest(storage, manifest, context.database.cipher)
    except StorageFailed as error:
        raise ActionFailed(errors.BACKUP_STORAGE_FAILED, str(error)) from error
    except BackupDamaged as error:
        raise ActionFailed(errors.BACKUP_DAMAGED, str(error), True) from error
    await asyncio.to_thread(_record, context, manifest)
    await asyncio.to_thread(spool.clear)
    step.measure(detail=f"{{bytes:{manifest.size},keys:{sum(manifest.keys.values())},moment:{manifest.moment}}}")


def spool_of(context: OperationContext, backup_id: str) -> Spool:
    return Spool(context.settings.spool_dir / backup_id, context.database.cipher)


def _draft(spool: Spool) -> Manifest | None:
    """Return the draft of a whole snapshot; None also if it cannot be read, so that another snapshot replaces it."""
    try:
        return spool.draft()
    except BackupDamaged:
        return None


async def _required_draft(context: OperationContext, spool: Spool) -> Manifest | None:
    """Return the draft. None if the backup exists already. ActionFailed if there is neither."""
    draft = await asyncio.to_thread(_draft, spool)
    if draft is not None:
        return draft
    try:
        storage = await context.backup_storage()
        await read_manifest(storage, context.database.cipher, spool.backup_id)
    except StorageFailed as error:
        raise ActionFailed(errors.BACKUP_STORAGE_FAILED, str(error)) from error
    except BackupDamaged as error:
        message = "the snapshot on the disk of the server is gone; request another backup"
        raise ActionFailed(errors.BACKUP_DAMAGED, message, True) from error
    return None


def _shard(manifest: Manifest, number: int) -> SavedShard:
    return next(shard for shard in manifest.shards if shard.shard == number)


def _measure(step: StepContext, done: int, size: int) -> None:
    share = done / size if size else 1.0
    step.measure(done=min(share, 1.0) * step.sub_step.work.total, detail=f"{{bytes:{done}/{size}}}")


def _record(context: OperationContext, manifest: Manifest) -> None:
    with context.database.write() as connection:
        backups.change(connection, manifest.backup_id, size=manifest.size, taken_at=manifest.taken_at)


def draft_of(
    backup_id: str,
    instance: Instance,
    moment: Moment,
    shards: tuple[SavedShard, ...],
    server_version: str,
) -> Manifest:
    """Return the manifest of a backup whose snapshots have not been verified."""
    return Manifest(
        backup_id=backup_id,
        project_id=instance.project_id,
        instance_id=instance.id,
        instance_name=instance.name,
        folder=f"{backup_id}/{secrets.token_hex(8)}",
        taken_at=moment.at,
        moment="instance" if moment.is_common else "shard",
        spec_code=instance.spec_code,
        engine_version=instance.engine_version,
        server_version=server_version,
        parameters=instance.parameters,
        disabled_commands=instance.disabled_commands,
        accounts=tuple(
            SavedAccount(
                name=account.name,
                role=account.role,
                password_hash=account.password_hash,
                description=account.description,
            )
            for account in instance.accounts
            if account.on_nodes
        ),
        password=instance.password,
        shards=shards,
    )
