"""Restore of a backup into an existing instance, of any topology and number of shards.

The instance serves its own data until the new data of each node is on its disk. Then its nodes stop, load the new data
while their ports are closed to clients, and serve it. Until that moment every failure brings the former data back.
"""

import asyncio
import uuid
from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from cachewright import errors
from cachewright.clock import now_ms
from cachewright.errors import ApiError
from cachewright.flavors import parse
from cachewright.hosts.server_binary import version_key
from cachewright.model.instances import Instance, Node, node_elsewhere
from cachewright.model.tasks import Step, Task
from cachewright.operations.actions.backup import BackupParams
from cachewright.operations.actions.checks import CheckResources, resource_check
from cachewright.operations.actions.restore import NodeData
from cachewright.operations.backup import BACKUP
from cachewright.operations.context import OperationContext, best_view
from cachewright.operations.ending_node import grace_seconds
from cachewright.operations.operation import Accepted, Operation
from cachewright.operations.requests import BackupRequest, RestoreRequest
from cachewright.operations.restore_content import (
    content_of,
    disk_bytes,
    expected_bytes,
    needs_slot_order,
    require_fits,
    require_reach,
)
from cachewright.operations.restore_files import RestoreFiles
from cachewright.operations.restore_recovery import bring_back, is_taken_over
from cachewright.operations.restore_steps import (
    BACKUP_DOWNLOAD,
    DATA_LOAD,
    DATA_PREPARATION,
    REPLICA_SYNCHRONIZATION,
    SAFETY_BACKUP,
    SECONDS_OF_BYTE,
    STOP_SECONDS,
    TAKEOVER,
    data_steps,
    delete_step,
    download_steps,
    halt_step,
    keep_step,
    refill_steps,
    takeover_steps,
)
from cachewright.operations.step_names import POST_CHECK, PRE_CHECK
from cachewright.operations.work_places import place_of_temporary_node
from cachewright.placement import capacity
from cachewright.placement.capacity import Request as RoomRequest
from cachewright.store import backups
from cachewright.tasks.operation import ActionFailed
from cachewright.tasks.plan import build
from cachewright.topologies import topology_of
from cachewright.topologies.topology import status_check
from cachewright.valkey.topology import View, primaries

_IDS = uuid.UUID("6f3b0a52-6d0a-5c2c-8f61-2a3f6f0f9b44")
_STOP = "Node stop."


class RestoreParams(msgspec.Struct, frozen=True, kw_only=True):
    """:ivar backup_bytes: of the backup.
    :ivar safety_backup: make a backup of the present data first.
    """

    backup_id: str
    backup_bytes: int = 0
    backup_name: str = ""
    backup_remark: str = ""
    remark: str = ""
    safety_backup: bool = True


class Restore(Operation[RestoreRequest, RestoreParams]):
    kind = "restore"
    name = "RESTORE"
    permission = "dcs:instance:restore"
    params = RestoreParams
    outline = (PRE_CHECK, BACKUP_DOWNLOAD, DATA_PREPARATION, _STOP, DATA_LOAD, TAKEOVER, POST_CHECK)
    busy = errors.INSTANCE_RESTORING
    needs_every_node = True
    status_while_running = "RESTORING"

    def validate(self, instance: Instance, nodes: Sequence[Node], request: RestoreRequest) -> Accepted[RestoreParams]:
        if away := node_elsewhere(nodes):
            require_reach(away, storage_is_shared=request.storage_is_shared)
        versions = [node.server_version for node in nodes if node.server_version]
        require_fits(request.content, parse(instance.spec_code), min(versions, key=version_key, default=None))
        params = RestoreParams(
            backup_id=request.content.backup_id,
            backup_bytes=request.content.size,
            backup_name=request.content.name,
            backup_remark=request.backup_remark,
            remark=request.remark,
            safety_backup=request.safety_backup,
        )
        return Accepted(params)

    def expected_seconds(self, task: Task, nodes: Sequence[Node], dataset: int) -> float:
        return STOP_SECONDS * len(nodes) + self.params_of(task).backup_bytes * SECONDS_OF_BYTE

    def required_room(self, nodes: Sequence[Node], params: RestoreParams, dataset: int | None) -> RoomRequest | None:
        size = capacity.size_of_nodes(nodes)
        disk = 0 if dataset is None else disk_bytes(params.backup_bytes, 1)
        return RoomRequest(size=size, held=size, disk=disk)

    def can_interrupt(self, task: Task) -> bool:
        """False as soon as clients may have written to the new data."""
        return not is_taken_over(task)

    def can_retry(self, task: Task) -> bool:
        """Another restore would delete what clients have written since the takeover."""
        return not is_taken_over(task)

    def requested(self, connection: sa.Connection, instance: Instance, request: RestoreRequest, task: Task) -> None:
        """Raises ApiError DCS.4039 if the instance has too many backups for another one."""
        if request.safety_backup:
            BACKUP.requested(connection, instance, _safety_request(instance, task), task)

    async def plan(self, context: OperationContext, task: Task) -> tuple[Step, ...]:
        """Begin with a backup of the present data, whose steps are those of `BACKUP`."""
        if not self.params_of(task).safety_backup:
            return await self._plan(context, task)
        instance = await context.instance(task)
        request = await asyncio.to_thread(_ensure_recorded, context, instance, task)
        params = BackupParams(request.id, request.kind)
        check, *backing_up = await BACKUP.plan(
            context, msgspec.structs.replace(task, params=msgspec.to_builtins(params))
        )
        needed = sum(sub_step.arguments["disk_bytes"] for sub_step in check.sub_steps)
        first, *restoring = await self._plan(context, task, backup_disk=needed, safety_backup_id=request.id)
        return (first, *backing_up, *restoring)

    async def _plan(
        self, context: OperationContext, task: Task, *, backup_disk: int = 0, safety_backup_id: str | None = None
    ) -> tuple[Step, ...]:
        """Return the steps without those that make the safety backup, which needs `backup_disk` bytes of disk."""
        params = self.params_of(task)
        instance, nodes, views = await context.look(task)
        content = content_of(await RestoreFiles(context, task.id).manifest(params.backup_id))
        view = best_view(views)
        leads = primaries(nodes, view)
        for shard in sorted({node.shard for node in nodes} - leads.keys()):
            raise ActionFailed(errors.CLUSTER_NOT_HEALTHY_IN_TIME, f"shard {shard} has no primary now")
        is_cluster = topology_of(instance.spec_code).is_cluster and len(leads) > 1
        shares = [
            (leads[shard], _data(leads[shard], view, content.backup_id, is_cluster=is_cluster))
            for shard in sorted(leads)
        ]
        replicas = [node for node in nodes if node not in leads.values()]
        grace = await grace_seconds(context, instance, nodes)
        copies = max(len(nodes) // len(leads), 1)
        converted = content.least_memory if needs_slot_order(content, len(leads)) else 0
        room = CheckResources(host_bytes=converted, disk_bytes=backup_disk + disk_bytes(content.size, copies), rooms=())
        divider = await place_of_temporary_node(context, nodes, list(leads.values()), content.least_memory)
        prepared = data_steps(shares, content)
        sizes = {node.shard: expected_bytes(data.slots, content) for node, data in shares}
        hold = topology_of(instance.spec_code).hold_seconds
        return build(
            task.run_id,
            {
                PRE_CHECK: [resource_check(room), status_check()],
                **download_steps(content, [node for node, _ in shares], divider),
                DATA_PREPARATION: prepared[DATA_PREPARATION],
                SAFETY_BACKUP: [keep_step(safety_backup_id)] if safety_backup_id else [],
                _STOP: [halt_step(node, grace) for node in [*replicas, *(leads[shard] for shard in sorted(leads))]],
                DATA_LOAD: prepared[DATA_LOAD],
                TAKEOVER: takeover_steps([node for node, _ in shares], hold),
                REPLICA_SYNCHRONIZATION: [
                    sub_step for node in replicas for sub_step in refill_steps(node, sizes[node.shard])
                ],
                POST_CHECK: [status_check()],
                "Resource release.": [delete_step()],
            },
        )

    async def recover(self, context: OperationContext, task: Task) -> None:
        """Bring the nodes back with their former data, or with the new data if clients may have written to it."""
        await asyncio.to_thread(_give_backup_up, context, task)
        await bring_back(context, task)


def _safety_request(instance: Instance, task: Task) -> BackupRequest:
    """Return the request of the backup that an attempt of a task makes first."""
    return BackupRequest(id=str(uuid.uuid5(_IDS, task.run_id)), remark=f"before a restore of {instance.name}"[:128])


def _ensure_recorded(context: OperationContext, instance: Instance, task: Task) -> BackupRequest:
    """Record the backup of a repeated attempt; that of the first one is recorded with the task."""
    request = _safety_request(instance, task)
    with context.database.write() as connection:
        if backups.find(connection, task.project_id, request.id) is None:
            later = msgspec.structs.replace(task, created_at=now_ms())
            try:
                BACKUP.requested(connection, instance, request, later)
            except ApiError as refused:
                raise ActionFailed(refused.code, refused.message, True) from refused
    return request


def _give_backup_up(context: OperationContext, task: Task) -> None:
    """Let an unfinished safety backup be deleted: another attempt makes another one."""
    with context.database.write() as connection:
        for found in backups.of_instance(connection, task.instance_id):
            if found.task_id == task.id and found.state == "pending":
                backups.change(connection, found.id, state="failed")


def _data(node: Node, view: View, backup_id: str, *, is_cluster: bool) -> NodeData:
    """Return the data of a primary: that of the slots which it owns now."""
    owned = tuple((part.first, part.last) for part in view.members[node.id].slots)
    return NodeData(backup_id=backup_id, node_id=node.id, slots=owned if is_cluster else None)


RESTORE = Restore()
