"""Shapes of backups: CopyInstance, ListBackupRecords, ListBackupFileLinks. Types follow the SDK's models."""

from typing import Annotated, Literal

import msgspec

from cachewright.api.schemas import iso
from cachewright.services.backups import BackupRecord

_SHORTEST_SECONDS, _LONGEST_SECONDS = 300, 24 * 3600


class CopyBody(msgspec.Struct, frozen=True):
    """`backup_format` is `rdb`; `aof` is not supported. `moment` is an extension: a second in the past, such as
    `2026-11-27T08:30:00Z`, whose data is backed up instead of the present data."""

    remark: Annotated[str, msgspec.Meta(max_length=128)] = ""
    backup_format: str = "rdb"
    moment: str | None = None


class CopiedInstance(msgspec.Struct, frozen=True):
    backup_id: str


class ShownBackup(msgspec.Struct, frozen=True, kw_only=True):
    """`instance_name`, `spec_code`, `taken_at`, `expires_at` and `task_id` are an extension: the backup may outlive its
    instance."""

    backup_id: str
    backup_name: str
    instance_id: str
    instance_name: str
    spec_code: str
    period: str = ""
    size: int
    backup_type: Literal["manual", "auto"]
    created_at: str | None
    updated_at: str | None
    execution_at: str | None
    taken_at: str | None
    expires_at: str | None
    progress: str
    error_code: str | None
    remark: str
    status: str
    is_support_restore: str
    backup_format: str = "rdb"
    task_id: str


class BackupRecords(msgspec.Struct, frozen=True):
    total_num: int
    backup_record_response: list[ShownBackup]


class LinksBody(msgspec.Struct, frozen=True):
    """`expiration`: seconds."""

    expiration: Annotated[int, msgspec.Meta(ge=_SHORTEST_SECONDS, le=_LONGEST_SECONDS)]


class FileLink(msgspec.Struct, frozen=True):
    file_name: str
    link: str


class FileLinks(msgspec.Struct, frozen=True):
    file_path: str
    bucket_name: str
    links: list[FileLink]


class FileQuery(msgspec.Struct, frozen=True):
    """`token`: as in a link of ListBackupFileLinks."""

    token: str


def shown(record: BackupRecord) -> ShownBackup:
    backup, task = record.backup, record.task
    has_failed = record.status == "failed"
    percent = 100 if backup.state == "succeed" else task.percent if task else 0
    return ShownBackup(
        backup_id=backup.id,
        backup_name=f"backup-{backup.instance_name}",
        instance_id=backup.instance_id,
        instance_name=backup.instance_name,
        spec_code=backup.spec_code,
        size=backup.size,
        backup_type=backup.kind,
        created_at=iso(backup.created_at),
        updated_at=iso(backup.ended_at or (task.end_time if task else None)),
        execution_at=iso(task.begin_time if task else backup.taken_at),
        taken_at=iso(backup.taken_at),
        expires_at=iso(backup.expires_at),
        progress=f"{percent:.2f}",
        error_code=task.error_code if task and has_failed else None,
        remark=backup.remark,
        status=record.status,
        is_support_restore="TRUE" if backup.state == "succeed" else "FALSE",
        task_id=backup.task_id,
    )
