"""The declaration of migrations from outside, and of imports."""

import asyncio
import math
from collections.abc import Mapping, Sequence

import msgspec
import sqlalchemy as sa

from cachewright import errors
from cachewright.clock import now_ms
from cachewright.errors import ApiError
from cachewright.hosts.host import MeasuredHost
from cachewright.jobs.migrations.figures import INCREMENTAL
from cachewright.jobs.migrations.gateway_limits import gateway_memory
from cachewright.jobs.migrations.machine import gateway_name
from cachewright.jobs.migrations.shards import CopyShard, FollowSource, Shard, SyncGateway
from cachewright.model.hosts import EMBEDDED
from cachewright.model.instances import Instance, Node
from cachewright.model.online_migrations import GATEWAY_HOST, HAS_COPIED, Method, OnlineMigration
from cachewright.model.tasks import Control, Step, Task
from cachewright.operations.actions.online_migrations import copy_keys, follow_source, sync_gateway
from cachewright.operations.context import OperationContext
from cachewright.operations.online_migrations.imports import (
    FULL,
    REMOVAL,
    plan_import,
    removal_of_gateways,
    require_backup,
)
from cachewright.operations.online_migrations.records import change_record
from cachewright.operations.online_migrations.removal import remove_gateways_or_leave_them
from cachewright.operations.online_migrations.run import MigrationRun
from cachewright.operations.operation import Accepted, Operation
from cachewright.operations.work_places import place_of_work, runs_gateways
from cachewright.store import online_migrations as store
from cachewright.tasks.operation import ActionFailed
from cachewright.tasks.plan import SubStepSpec, build, effort
from cachewright.topologies import topology_of
from cachewright.valkey.client import ANSWER_SECONDS
from cachewright.valkey.single_request import info
from cachewright.valkey.sources.copier import TargetNotReady
from cachewright.valkey.sources.shape import SourcePrimary, keys_by_database, look, replication_refusal
from cachewright.valkey.sources.source import SourceUnusable
from cachewright.valkey.sources.target import TargetMap

SYNCHRONIZATION = "Source synchronization."

_SYNC_SECONDS, _SYNC_BYTES_PER_SECOND = 1.2, 60_000_000.0
_COPY_SECONDS, _KEYS_PER_SECOND = 0.1, 40_000.0
_KEYS_PER_SECOND_DIRECTLY = 10_000.0
_CUT_OVER_SECONDS = 0.5
_EXPECTED_SECONDS = 5.0


class MigrationParams(msgspec.Struct, frozen=True, kw_only=True):
    """What the task stores. Callers can read it; the password of the source is in the record of the migration.

    :ivar backup_id: the backup that is imported, which cannot be deleted meanwhile (`tasks.with_backups`).
    """

    migration_id: str
    method: Method
    backup_id: str | None = None


class MigrateOnline(Operation[OnlineMigration, MigrationParams]):
    """The request is the whole record of the migration, which is stored with the task."""

    kind = "online_migration"
    name = "OnlineMigration"
    permission = "dcs:migrationTask:modify"
    params = MigrationParams
    outline = (SYNCHRONIZATION, FULL, INCREMENTAL, REMOVAL)
    busy = errors.INSTANCE_STATE_CONFLICT
    needs_every_node = True
    status_while_running = "MIGRATING"

    def validate(
        self, instance: Instance, nodes: Sequence[Node], request: OnlineMigration
    ) -> Accepted[MigrationParams]:
        if any(node.client_tls for node in nodes):
            reason = "gateways have no TLS; switch TLS of its clients off for the migration"
            raise ApiError(errors.INVALID_PARAMETER, parameter="target_instance.id", reason=reason)
        method = request.method or "full_amount_migration"
        return Accepted(MigrationParams(migration_id=request.id, method=method, backup_id=request.source_backup))

    def requested(self, connection: sa.Connection, instance: Instance, request: OnlineMigration, task: Task) -> None:
        require_backup(connection, request)
        before = store.get(connection, instance.project_id, request.id)
        if before is None and request.task_id is not None:
            raise ApiError(errors.MIGRATION_NOT_FOUND)  # it was deleted meanwhile
        if before is not None and before.task_id != request.task_id:
            raise ApiError(errors.TASK_STATE_CONFLICT, reason="another request has started it meanwhile")
        migration = msgspec.structs.replace(
            request,
            target_id=instance.id,
            task_id=task.id,
            cut_over_at=None,
            target_was_empty=None,
            updated_at=now_ms(),
        )
        store.put(connection, migration)

    def expected_seconds(self, task: Task, nodes: Sequence[Node], dataset: int) -> float:
        return _EXPECTED_SECONDS

    def is_typical(self, task: Task, control: Control) -> bool:
        """Never: speeds of one source say nothing about another one."""
        return False

    async def plan(self, context: OperationContext, task: Task) -> tuple[Step, ...]:
        run = await MigrationRun.load(context, task)
        if run.migration.is_import:
            return await plan_import(context, task, run)
        try:
            shape = await look(run.source)
            refusals = [await replication_refusal(run.source, primary) for primary in shape.primaries]
            target = await run.find_target()
        except SourceUnusable as reason:
            await run.note("error", reason.message)
            raise ActionFailed(errors.SOURCE_UNUSABLE, reason.message, final=True) from reason
        except TargetNotReady as reason:
            raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, str(reason)) from reason
        keys = await _keys(target, run)
        params, refusal = self.params_of(task), next(filter(None, refusals), None)
        failure = _unsuitable(run.instance, target, shape.primaries)
        if keys and run.migration.attributes.get(HAS_COPIED):
            message = (
                "the instance has keys, and which of them the source has deleted since they were copied is not known; "
                "delete all keys of the instance, then restart the migration"
            )
            failure = failure or ActionFailed(errors.SOURCE_UNUSABLE, message, final=True)
        needed = _needed_memory(shape.primaries) if refusal is None else 0
        nodes, hosts = await context.nodes(run.instance.id), await asyncio.to_thread(context.host.measured)
        host_name = place_of_work(nodes, target.nodes, hosts, needed, runs_gateways)
        if refusal is None:
            failure = failure or await asyncio.to_thread(_no_memory, context, host_name, hosts, needed)
        elif params.method == "incremental_migration":
            message = f"changes cannot be followed, because the source cannot be replicated: {refusal}"
            failure = failure or ActionFailed(errors.SOURCE_UNUSABLE, message, final=True)
        if failure is not None:
            await run.note("error", failure.message)
            raise failure
        attributes = {**run.migration.attributes, HAS_COPIED: True, GATEWAY_HOST: host_name}
        await change_record(context, run.migration.id, target_was_empty=not keys, attributes=attributes)
        context.streams.fresh |= {gateway_name(run.migration.id, number) for number in range(len(shape.primaries))}
        await run.note("info", f"the source is {shape.kind} with {len(shape.primaries)} primaries")
        if host_name != EMBEDDED:
            await run.note("info", f"keys are copied by host {host_name}")
        if refusal is not None:
            await run.note("warning", f"keys are copied one by one, because the source cannot be replicated: {refusal}")
        return build(task.run_id, _steps(params, shape.primaries, direct=refusal is not None))

    async def recover(self, context: OperationContext, task: Task) -> None:
        """Keys that were copied stay."""
        await remove_gateways_or_leave_them(context, task)


def _steps(
    params: MigrationParams, primaries: Sequence[SourcePrimary], *, direct: bool
) -> dict[str, list[SubStepSpec]]:
    shards = [
        Shard(number, tuple((part.first, part.last) for part in primary.slots))
        for number, primary in enumerate(primaries)
    ]
    follows = params.method == "incremental_migration"
    pairs = list(zip(shards, primaries, strict=True))
    following = follow_source.sub_step(
        INCREMENTAL, effort("follow", seconds=_CUT_OVER_SECONDS), FollowSource(tuple(shards))
    )
    return {
        SYNCHRONIZATION: [] if direct else [_sync(shard, primary) for shard, primary in pairs],
        FULL: [_copy(CopyShard(shard, not follows and not direct, direct), primary) for shard, primary in pairs],
        INCREMENTAL: [following] if follows else [],
        REMOVAL: [removal_of_gateways()],
    }


def _sync(shard: Shard, primary: SourcePrimary) -> SubStepSpec:
    size = max(primary.used_memory, 1)
    seconds = _SYNC_SECONDS + size / _SYNC_BYTES_PER_SECOND
    work = effort(f"gateway {shard.number}", unit="bytes", total=size, seconds=seconds, fixed=_SYNC_SECONDS)
    return sync_gateway.sub_step(f"{SYNCHRONIZATION} {primary.address}", work, SyncGateway(shard))


def _copy(arguments: CopyShard, primary: SourcePrimary) -> SubStepSpec:
    keys = max(sum(primary.keys.values()), 1)
    seconds = _COPY_SECONDS + keys / (_KEYS_PER_SECOND_DIRECTLY if arguments.direct else _KEYS_PER_SECOND)
    lane = f"gateway {arguments.shard.number}"
    work = effort(lane, unit="keys", total=keys, seconds=seconds, fixed=_COPY_SECONDS)
    return copy_keys.sub_step(f"{FULL} {primary.address}", work, arguments)


async def _keys(target: TargetMap, run: MigrationRun) -> int:
    """Return the number of keys of the instance."""
    access = run.context.access(run.instance)
    said = await asyncio.gather(*(info(node, access, ("keyspace",), ANSWER_SECONDS) for node in target.nodes))
    return sum(sum(keys_by_database(fields).values()) for fields in said)


def _unsuitable(instance: Instance, target: TargetMap, primaries: Sequence[SourcePrimary]) -> ActionFailed | None:
    """Return why the source cannot be copied into the instance. Pure."""
    own = {(node.host, node.port) for node in target.nodes}
    if any((primary.host, primary.port) in own for primary in primaries):
        return ActionFailed(errors.SOURCE_UNUSABLE, "the source is the instance itself", final=True)
    databases = topology_of(instance.spec_code).databases
    unknown = {number for primary in primaries for number in primary.keys if number >= databases}
    if unknown:
        message = f"the source has keys in database {min(unknown)}, the instance has {databases} databases"
        return ActionFailed(errors.SOURCE_UNUSABLE, message, final=True)
    needed, limit = sum(primary.used_memory for primary in primaries), sum(node.maxmemory for node in target.nodes)
    if needed > limit:
        message = f"the source has {needed} bytes of data, the instance takes {limit}"
        return ActionFailed(errors.MIGRATION_OUT_OF_MEMORY, message, final=True)
    return None


def _needed_memory(primaries: Sequence[SourcePrimary]) -> int:
    """Return the bytes that gateways of these primaries take. Pure."""
    return math.ceil(sum(gateway_memory(primary.used_memory) for primary in primaries) / 2)


def _no_memory(
    context: OperationContext, host_name: str, hosts: Mapping[str, MeasuredHost], needed: int
) -> ActionFailed | None:
    """Return a failure if a host lacks the memory for the gateways. Measures the machine of the server.

    :param hosts: those that report.
    """
    resources = context.host.own_resources() if host_name == EMBEDDED else hosts[host_name].resources
    if needed <= resources.memory_free:
        return None
    place = "" if host_name == EMBEDDED else f" on host {host_name}"
    message = f"{needed} bytes of memory are needed to replicate the source, {resources.memory_free} are free{place}"
    return ActionFailed(errors.NOT_ENOUGH_MEMORY, message, final=True)


MIGRATE_ONLINE = MigrateOnline()
