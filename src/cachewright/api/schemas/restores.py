"""Shapes of restores: RestoreInstance, ListRestoreRecords. Types follow the SDK's models."""

from typing import Annotated, Literal

import msgspec

from cachewright.api.schemas import iso
from cachewright.services.restores import RestoreRecord

_STATUSES: dict[str, Literal["waiting", "restoring", "succeed", "failed"]] = {
    "WAITING": "waiting",
    "EXECUTING": "restoring",
    "SUCCESS": "succeed",
    "FAILED": "failed",
}


class RestoreBody(msgspec.Struct, frozen=True):
    """`safety_backup` is an extension: false to make no backup of the present data first."""

    backup_id: str
    remark: Annotated[str, msgspec.Meta(max_length=128)] = ""
    safety_backup: bool = True


class RestoredInstance(msgspec.Struct, frozen=True):
    """`task_id` is an extension."""

    restore_id: str
    task_id: str


class ShownRestore(msgspec.Struct, frozen=True, kw_only=True):
    """`task_id` is an extension."""

    restore_id: str
    restore_name: str
    restore_remark: str
    backup_id: str
    backup_name: str
    backup_remark: str
    status: Literal["waiting", "restoring", "succeed", "failed"]
    progress: str
    created_at: str | None
    updated_at: str | None
    error_code: str | None
    task_id: str


class RestoreRecords(msgspec.Struct, frozen=True):
    total_num: int
    restore_record_response: list[ShownRestore]


def shown(record: RestoreRecord) -> ShownRestore:
    task, params = record.task, record.params
    return ShownRestore(
        restore_id=record.id,
        restore_name=f"restore-{params.backup_name}",
        restore_remark=params.remark,
        backup_id=params.backup_id,
        backup_name=f"backup-{params.backup_name}",
        backup_remark=params.backup_remark,
        status=_STATUSES[task.status],
        progress=f"{task.percent:.2f}",
        created_at=iso(task.created_at),
        updated_at=iso(task.end_time or task.estimated_at or task.created_at),
        error_code=task.error_code,
        task_id=task.id,
    )
