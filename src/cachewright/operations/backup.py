"""A backup of an instance: the data of all shards at one moment, verified and stored with all that a restore needs.

Each shard sends its snapshot as it would to a new replica, if possible from a replica. The files are collected on the
disk of the server, so that a slow storage does not make the nodes wait, and verified there before they are stored.
"""

import asyncio
from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from cachewright import errors
from cachewright.backups.storage import folder_of
from cachewright.clock import now_ms
from cachewright.errors import ApiError
from cachewright.model.backups import MOST_MANUAL, Backup
from cachewright.model.hosts import EMBEDDED
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import ENDED, Step, Task, Work
from cachewright.model.write_logs import WriteLog
from cachewright.operations import past_backup
from cachewright.operations.actions.backup import (
    BackupParams,
    ShardArguments,
    TakeSnapshot,
    check_snapshot,
    store_manifest,
    store_shard,
    take_snapshot,
)
from cachewright.operations.actions.checks import CheckResources, resource_check
from cachewright.operations.context import OperationContext, best_view
from cachewright.operations.operation import Accepted, Operation
from cachewright.operations.requests import BackupRequest
from cachewright.operations.step_names import PRE_CHECK
from cachewright.operations.work_places import place_of_temporary_node
from cachewright.placement.capacity import Request as RoomRequest
from cachewright.placement.capacity import Size
from cachewright.store import backups, tasks
from cachewright.tasks.operation import ActionFailed
from cachewright.tasks.plan import build, effort
from cachewright.topologies.topology import Steps
from cachewright.valkey import key_deletion
from cachewright.valkey.topology import primaries

_LANE = "instance"
_SNAPSHOT, _CHECK, _STORE, _MANIFEST = "Snapshot.", "Snapshot check.", "Upload.", "Manifest."
_SNAPSHOT_RATE, _CHECK_RATE, _STORE_RATE = 80_000_000.0, 150_000_000.0, 80_000_000.0
"""Bytes of a data set in memory that pass in a second, before the first backup."""

_LANES = 2
"""Shards that are verified or uploaded concurrently: each takes processor time, and memory for some objects."""

_SECONDS = 0.1


class Backups(Operation[BackupRequest, BackupParams]):
    kind = "backup"
    name = "BACKUPING"
    permission = "dcs:instance:backup"
    params = BackupParams
    outline = (PRE_CHECK, _SNAPSHOT, _CHECK, _STORE, _MANIFEST)
    busy = errors.INSTANCE_BACKING_UP
    status_while_running = "RUNNING"

    def validate(self, instance: Instance, nodes: Sequence[Node], request: BackupRequest) -> Accepted[BackupParams]:
        return Accepted(BackupParams(backup_id=request.id, kind=request.kind, moment=request.moment))

    def expected_seconds(self, task: Task, nodes: Sequence[Node], dataset: int) -> float:
        return 5 * _SECONDS + dataset * (1 / _SNAPSHOT_RATE + 1 / _CHECK_RATE + 1 / _STORE_RATE)

    def required_room(self, nodes: Sequence[Node], params: BackupParams, dataset: int | None) -> RoomRequest | None:
        return RoomRequest(size=Size(), disk=dataset or 0)

    def requested(self, connection: sa.Connection, instance: Instance, request: BackupRequest, task: Task) -> None:
        """Raises ApiError DCS.4039 if the instance has too many manual backups, DCS.4062 if the write logs do not have
        the data of the moment."""
        if request.moment is not None:
            past_backup.logs_at(connection, instance.id, request.moment)
        if request.kind == "manual":
            existing = [found for found in backups.of_instance(connection, instance.id) if found.kind == "manual"]
            if sum(_counts(connection, found) for found in existing) >= MOST_MANUAL:
                reason = f"an instance has at most {MOST_MANUAL} manual backups; delete one"
                raise ApiError(errors.LIMIT_EXCEEDED, reason=reason)
        backups.add(
            connection,
            Backup(
                id=request.id,
                project_id=instance.project_id,
                instance_id=instance.id,
                instance_name=instance.name,
                spec_code=instance.spec_code,
                kind=request.kind,
                state="pending",
                task_id=task.id,
                remark=request.remark,
                created_at=task.created_at,
                expires_at=request.expires_at,
            ),
        )

    async def plan(self, context: OperationContext, task: Task) -> tuple[Step, ...]:
        params = self.params_of(task)
        await asyncio.to_thread(_require_pending, context, task)
        if params.moment is not None:
            return await self._plan_of_past(context, task, params.moment)
        instance, nodes, views = await context.look(task)
        leads = primaries(nodes, best_view(views))
        for shard in sorted({node.shard for node in nodes} - leads.keys()):
            raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, f"shard {shard} has no primary now")
        access = context.access(instance)
        shards = sorted(leads)
        states = await asyncio.gather(*(key_deletion.state(leads[shard], access) for shard in shards))
        size = sum(state.used_memory for state in states)
        copies = await asyncio.to_thread(_copies_on_disk, context, params.backup_id)
        room = CheckResources(host_bytes=0, disk_bytes=size * copies, rooms=())
        keys = sum(state.keys for state in states)
        seconds = _SECONDS + size / _SNAPSHOT_RATE
        work = effort(_LANE, unit="keys", total=max(keys, 1), seconds=seconds, fixed=_SECONDS)
        snapshot = take_snapshot.sub_step("Snapshot of all shards.", work, TakeSnapshot(params.backup_id))
        sizes = {shard: state.used_memory for shard, state in zip(shards, states, strict=True)}
        return build(
            task.run_id,
            {
                PRE_CHECK: [resource_check(room)],
                _SNAPSHOT: [snapshot],
                **_storing(params, sizes),
            },
        )

    async def _plan_of_past(self, context: OperationContext, task: Task, moment: int) -> tuple[Step, ...]:
        params = self.params_of(task)

        def read() -> list[WriteLog]:
            with context.database.read() as connection:
                return past_backup.logs_at(connection, task.instance_id, moment)

        try:
            logs = await asyncio.to_thread(read)
        except ApiError as refused:
            raise ActionFailed(refused.code, refused.message, True) from refused
        sizes = {log.shard: log.size for log in logs}
        copies = await asyncio.to_thread(_copies_on_disk, context, params.backup_id)
        nodes, needed = await context.nodes(task.instance_id), max(sizes.values())
        writers = [node for node in nodes if node.id in {log.node_id for log in logs}]
        place = await place_of_temporary_node(context, nodes, writers, needed)
        host_name = place.host_name if place else EMBEDDED
        disk = past_backup.disk_bytes(logs) + max(copies - 1, 0) * sum(sizes.values()) * int(place is None)
        room = CheckResources(host_bytes=needed, disk_bytes=disk, rooms=(), host_name=host_name)
        return build(
            task.run_id,
            {
                PRE_CHECK: [resource_check(room)],
                **past_backup.steps(params.backup_id, logs, moment, _SNAPSHOT, host_name),
                **_storing(params, sizes),
            },
        )

    def succeeded(self, context: OperationContext, connection: sa.Connection, task: Task) -> None:
        backups.change(connection, self.params_of(task).backup_id, state="succeed", ended_at=now_ms())


def _counts(connection: sa.Connection, backup: Backup) -> bool:
    """Whether a backup counts in the limit: it has succeeded, or its task has not ended."""
    if backup.state != "pending":
        return backup.state == "succeed"
    task = tasks.of_project(connection, backup.project_id, backup.task_id)
    return task is not None and task.status not in ENDED


def _of(params: BackupParams, shard: int) -> ShardArguments:
    return ShardArguments(params.backup_id, shard)


def _storing(params: BackupParams, sizes: Mapping[int, int]) -> Steps:
    """Return the steps that verify and store the snapshots in the spool, of about these bytes by shard."""
    return {
        _CHECK: [
            check_snapshot.sub_step(
                f"Snapshot check. Shard {shard}", _work(shard, size, _CHECK_RATE), _of(params, shard)
            )
            for shard, size in sizes.items()
        ],
        _STORE: [
            store_shard.sub_step(f"Upload. Shard {shard}", _work(shard, size, _STORE_RATE), _of(params, shard))
            for shard, size in sizes.items()
        ],
        _MANIFEST: [store_manifest.sub_step(_MANIFEST, effort(_LANE, seconds=_SECONDS), params)],
    }


def _work(shard: int, size: int, rate: float) -> Work:
    return effort(f"lane {shard % _LANES}", unit="bytes", total=max(size, 1), seconds=size / rate)


def _copies_on_disk(context: OperationContext, backup_id: str) -> int:
    """Return how often the data will be written to the disk of the data directory: to the spool, unless it is there
    already, and to the storage if that is on the same disk."""
    data_dir, folder = context.settings.data_dir, folder_of(context.settings.backup_url)
    spooled = (context.settings.spool_dir / backup_id).is_dir()
    try:
        here = folder is not None and folder.stat().st_dev == data_dir.stat().st_dev
    except FileNotFoundError:
        here = context.settings.backup_storage is None
    return int(not spooled) + int(here)


def _require_pending(context: OperationContext, task: Task) -> None:
    """Raise ActionFailed if what a failed attempt has left was deleted already."""
    with context.database.read() as connection:
        found = backups.of_task(connection, task.id)
    if found is None or found.state != "pending":
        message = "what was left of this backup has been deleted; request another one"
        raise ActionFailed(errors.BACKUP_NOT_FOUND, message, True)


BACKUP = Backups()
