"""Backups of a project: request, list, delete and download them. They outlive their instances."""

import uuid
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime
from urllib.parse import urlsplit

import msgspec
import sqlalchemy as sa

from cachewright import errors
from cachewright.backups.links import Link, LinkExpired, LinkInvalid, read_link, seal_link
from cachewright.backups.manifest import Manifest, read_manifest
from cachewright.backups.reader import read_shard
from cachewright.backups.storage import BackupDamaged, StorageFailed
from cachewright.clock import now_ms
from cachewright.errors import ApiError
from cachewright.model.backups import Backup
from cachewright.model.identity import Principal
from cachewright.model.tasks import ENDED, Task
from cachewright.operations.backup import BACKUP
from cachewright.operations.context import OperationContext
from cachewright.operations.requests import BackupRequest
from cachewright.services.lookup import instance_of
from cachewright.services.tasks import TaskService
from cachewright.store import backups, tasks
from cachewright.store.encryption import SecretCipher
from cachewright.threads import RequestThreads


class BackupRecord(msgspec.Struct, frozen=True):
    """A backup and its task; None if the task was deleted."""

    backup: Backup
    task: Task | None

    @property
    def status(self) -> str:
        """The cloud's word for its state."""
        if self.backup.state != "pending":
            return self.backup.state
        if self.task is None or self.task.status in ENDED:
            return "failed"
        return "waiting" if self.task.status == "WAITING" else "backuping"


class BackupFile(msgspec.Struct, frozen=True):
    """A file of a backup, and the token that permits to download it."""

    name: str
    size: int
    token: str


class BackupService(msgspec.Struct, frozen=True):
    """All methods find only backups of the caller's project. Methods for one backup raise ApiError DCS.3022 if the
    project has neither the instance nor a backup of it, and DCS.4031 if it does not have this backup."""

    context: OperationContext
    tasks: TaskService
    threads: RequestThreads

    def create(self, principal: Principal, instance_id: str, remark: str, moment: int | None = None) -> str:
        """Start a backup and return its id. Raises ApiError of `TaskService.submit`, DCS.4039 if there are too many, or
        those of the project take its quota, DCS.4062 if the write logs do not have the data of the moment.

        :param moment: second in the past whose data is backed up, epoch seconds; None for the present data.
        """
        self._require_quota(principal, instance_id)
        request = BackupRequest(id=str(uuid.uuid4()), remark=remark, moment=moment)
        self.tasks.submit(BACKUP, principal, instance_id, request)
        return request.id

    def _require_quota(self, principal: Principal, instance_id: str) -> None:
        """Write logs do not count: they make room for backups. ApiError DCS.3022 comes first."""
        if not (quota := self.context.settings.backup_quota):
            return
        with self.context.database.read() as connection:
            instance_of(connection, principal.project_id, instance_id)
            size = backups.sizes(connection, principal.project_id).get(principal.project_id, 0)
        if size >= quota:
            reason = f"the backups of the project have {size} bytes, its quota is {quota}; delete one"
            raise ApiError(errors.LIMIT_EXCEEDED, reason=reason)

    def page(
        self,
        principal: Principal,
        *,
        offset: int,
        limit: int,
        instance_id: str | None = None,
        start: int | None = None,
        end: int | None = None,
    ) -> tuple[int, list[BackupRecord]]:
        """Return the number of backups of an instance or of the project, created from `start` to `end` (epoch
        milliseconds), and one page of them, newest first. Raises ApiError DCS.3022."""
        project_id = principal.project_id
        with self.context.database.read() as connection:
            count, page = backups.page(
                connection, project_id, offset=offset, limit=limit, instance_id=instance_id, start=start, end=end
            )
            if instance_id is not None and not count:
                _require_instance(connection, project_id, instance_id)
            return count, [
                BackupRecord(backup, tasks.of_project(connection, project_id, backup.task_id)) for backup in page
            ]

    def delete(self, principal: Principal, instance_id: str, backup_id: str) -> None:
        """Delete a backup. Its objects are removed in the background. Raises ApiError DCS.4096 while it is made,
        DCS.4097 while a restore or an import reads it."""
        with self.context.database.write() as connection:
            backup = self._find(connection, principal, instance_id, backup_id)
            task = tasks.of_project(connection, principal.project_id, backup.task_id)
            if backup.state == "pending" and task is not None and task.status not in ENDED:
                raise ApiError(errors.INSTANCE_BACKING_UP)
            if any(task.params["backup_id"] == backup.id for task in tasks.with_backups(connection, now_ms())):
                raise ApiError(errors.INSTANCE_RESTORING)
            backups.change(connection, backup.id, state="deleted", ended_at=now_ms())

    @property
    def bucket(self) -> str:
        """Name of the bucket of the storage, or `local` for a folder of the server."""
        parts = urlsplit(self.context.settings.backup_url)
        return parts.netloc or "local"

    async def files(self, principal: Principal, instance_id: str, backup_id: str, seconds: int) -> list[BackupFile]:
        """Return the files of a backup, with tokens that are valid for `seconds`. Raises ApiError DCS.4087 if it has
        not succeeded, DCS.9014 or DCS.9015."""

        def find() -> Backup:
            with self.context.database.read() as connection:
                return self._find(connection, principal, instance_id, backup_id)

        backup = await self.threads.read(principal.project_id, find)
        manifest = await self._manifest(backup)
        expires_at = now_ms() + seconds * 1000
        return [
            BackupFile(
                name=file_name(manifest, shard.shard),
                size=shard.size,
                token=seal_link(Link(principal.project_id, backup.id, shard.shard, expires_at), self._cipher),
            )
            for shard in manifest.shards
        ]

    async def open(self, token: str) -> tuple[BackupFile, AsyncGenerator[bytes, None]]:
        """Return the file of a token and its content, decrypted. Raises ApiError DCS.1001 or DCS.1002 for an invalid or
        expired token, DCS.4031 if the backup was deleted, DCS.9014 or DCS.9015."""
        try:
            link = read_link(token, self._cipher, now_ms())
        except LinkExpired as error:
            raise ApiError(errors.EXPIRED_CREDENTIALS) from error
        except LinkInvalid as error:
            raise ApiError(errors.INVALID_CREDENTIALS) from error

        def find() -> Backup | None:
            with self.context.database.read() as connection:
                return backups.find(connection, link.project_id, link.backup_id)

        backup = await self.threads.read(link.project_id, find)
        if backup is None:
            raise ApiError(errors.BACKUP_NOT_FOUND)
        manifest = await self._manifest(backup)
        shard = next((shard for shard in manifest.shards if shard.shard == link.shard), None)
        if shard is None:
            raise ApiError(errors.BACKUP_NOT_FOUND)
        file = BackupFile(name=file_name(manifest, shard.shard), size=shard.size, token=token)
        with _errors_of_storage():
            content = read_shard(await self.context.backup_storage(), manifest, shard)
            first = await anext(content)  # so that an unreadable file is an error and no interrupted answer
        return file, _chained(first, content)

    async def _manifest(self, backup: Backup) -> Manifest:
        if backup.state in {"deleted", "expired"}:
            raise ApiError(errors.BACKUP_NOT_FOUND)
        if backup.state != "succeed":
            raise ApiError(errors.BACKUP_NOT_SUCCEEDED)
        with _errors_of_storage():
            storage = await self.context.backup_storage()
            return await read_manifest(storage, self._cipher, backup.id)

    @property
    def _cipher(self) -> SecretCipher:
        return self.context.database.cipher

    def _find(self, connection: sa.Connection, principal: Principal, instance_id: str, backup_id: str) -> Backup:
        backup = backups.find(connection, principal.project_id, backup_id)
        if backup is None or backup.instance_id != instance_id:
            _require_instance(connection, principal.project_id, instance_id)
            raise ApiError(errors.BACKUP_NOT_FOUND)
        return backup


def _require_instance(connection: sa.Connection, project_id: str, instance_id: str) -> None:
    """Raise ApiError DCS.3022 if the project has neither the instance nor a backup of it."""
    count, _ = backups.page(connection, project_id, offset=0, limit=1, instance_id=instance_id)
    if not count:
        instance_of(connection, project_id, instance_id)


@contextmanager
def _errors_of_storage() -> Iterator[None]:
    """Turn errors of the storage into ApiError DCS.9014 or DCS.9015."""
    try:
        yield
    except StorageFailed as error:
        raise ApiError(errors.BACKUP_STORAGE_FAILED, reason=str(error)) from error
    except BackupDamaged as error:
        raise ApiError(errors.BACKUP_DAMAGED, reason=str(error)) from error


async def _chained(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(rest):
        yield first
        async for part in rest:
            yield part


def file_name(manifest: Manifest, shard: int) -> str:
    """Return the name of a shard's file for people: it has the time of the data."""
    moment = datetime.fromtimestamp(manifest.taken_at / 1000, UTC)
    return f"{manifest.instance_name}-{moment:%Y%m%d%H%M%S}-shard-{shard}.rdb"
