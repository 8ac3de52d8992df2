"""Restores of backups, into new instances and into existing ones."""

import uuid

import msgspec

from cachewright import errors
from cachewright.backups.manifest import read_manifest
from cachewright.backups.storage import BackupDamaged, StorageFailed
from cachewright.errors import ApiError
from cachewright.model.backups import Backup
from cachewright.model.identity import Principal
from cachewright.model.instances import Instance
from cachewright.model.tasks import Task
from cachewright.operations.context import OperationContext
from cachewright.operations.requests import CreateRequest, RestoreRequest
from cachewright.operations.restore import RESTORE, RestoreParams
from cachewright.operations.restore_content import BackupContent, content_of, require_fits
from cachewright.services.instances import InstanceService
from cachewright.services.lookup import instance_of
from cachewright.services.tasks import TaskService
from cachewright.store import backups, tasks
from cachewright.threads import RequestThreads

_IDS = uuid.UUID("0f4a4b7e-3a56-5d0c-9d5a-6c8e2f0b7d21")


class RestoreRecord(msgspec.Struct, frozen=True):
    """A restore is the task that performs it."""

    task: Task

    @property
    def id(self) -> str:
        return str(uuid.uuid5(_IDS, self.task.id))

    @property
    def params(self) -> RestoreParams:
        return RESTORE.params_of(self.task)


class RestoreService(msgspec.Struct, frozen=True):
    """Starts restores. Raises ApiError DCS.4031 if the backup does not exist in the project, DCS.4087 if it has not
    succeeded, DCS.9014 if its storage does not answer, DCS.9015 if it is damaged.

    :ivar threads: threads for the work of requests.
    """

    context: OperationContext
    creation: InstanceService
    tasks: TaskService
    threads: RequestThreads

    async def create_instances(self, principal: Principal, request: CreateRequest, backup_id: str) -> list[Instance]:
        """Start the creation of instances with the data of a backup. Raises as `InstanceService.create_instances`, and
        ApiError DCS.4036 or DCS.4062 if the data does not fit."""
        _, content = await self._content(principal, backup_id)
        require_fits(content, request.flavor, next(iter(self.context.host.server_versions()), None))
        whole = msgspec.structs.replace(request, content=content)
        return await self.threads.change(principal.project_id, lambda: self.creation.create_instances(principal, whole))

    async def restore(
        self, principal: Principal, instance_id: str, backup_id: str, remark: str, *, safety_backup: bool
    ) -> RestoreRecord:
        """Start a restore into an instance. Raises as `TaskService.submit`, and ApiError DCS.4036 or DCS.4062 if the
        data does not fit."""

        def find() -> None:
            with self.context.database.read() as connection:
                instance_of(connection, principal.project_id, instance_id)

        await self.threads.read(principal.project_id, find)
        backup, content = await self._content(principal, backup_id)
        request = RestoreRequest(
            content=content,
            storage_is_shared=self.context.settings.backup_storage is not None,
            backup_remark=backup.remark,
            remark=remark,
            safety_backup=safety_backup,
        )
        task = await self.threads.change(
            principal.project_id, lambda: self.tasks.submit(RESTORE, principal, instance_id, request)
        )
        return RestoreRecord(task)

    def page(
        self, principal: Principal, instance_id: str, *, offset: int, limit: int, start: int | None, end: int | None
    ) -> tuple[int, list[RestoreRecord]]:
        """Return the number of restores into an instance that were requested from `start` to `end` (epoch
        milliseconds), and one page of them, newest first. Raises ApiError DCS.3022."""
        with self.context.database.read() as connection:
            instance_of(connection, principal.project_id, instance_id)
            count, page = tasks.of_kind(
                connection, instance_id, RESTORE.kind, offset=offset, limit=limit, start=start, end=end
            )
            return count, [RestoreRecord(task) for task in page]

    async def _content(self, principal: Principal, backup_id: str) -> tuple[Backup, BackupContent]:
        def find() -> Backup:
            with self.context.database.read() as connection:
                backup = backups.find(connection, principal.project_id, backup_id)
            if backup is None or backup.state in {"deleted", "expired"}:
                raise ApiError(errors.BACKUP_NOT_FOUND)
            if backup.state != "succeed":
                raise ApiError(errors.BACKUP_NOT_SUCCEEDED)
            return backup

        backup = await self.threads.read(principal.project_id, find)
        try:
            storage = await self.context.backup_storage()
            manifest = await read_manifest(storage, self.context.database.cipher, backup_id)
        except StorageFailed as failure:
            raise ApiError(errors.BACKUP_STORAGE_FAILED, reason=str(failure)) from failure
        except BackupDamaged as failure:
            raise ApiError(errors.BACKUP_DAMAGED, reason=str(failure)) from failure
        return backup, content_of(manifest)
