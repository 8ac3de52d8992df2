"""Backups as the database knows them. What is in them is in their manifests."""

from collections.abc import Sequence
from typing import Literal

import msgspec

BackupKind = Literal["manual", "auto"]
BackupState = Literal["pending", "succeed", "failed", "expired", "deleted"]

MOST_MANUAL = 24
"""Limit on the manual backups of one instance, as in the cloud."""


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """One backup. It stays when its instance is deleted.

    :ivar kind: `auto` for one by the schedule of the instance.
    :ivar state: `pending` until its task has succeeded; the task shows how far it is, or that it has failed. `failed`
    when nothing of the failed task is left. `expired` and `deleted` until nothing of the backup is left.
    :ivar size: bytes of its RDB files; 0 before it has succeeded.
    :ivar taken_at: time of its data; None before it has succeeded.
    :ivar expires_at: when it may be deleted; None for never. Times are epoch milliseconds.
    """

    id: str
    project_id: str
    instance_id: str
    instance_name: str
    spec_code: str
    kind: BackupKind
    state: BackupState
    task_id: str
    remark: str
    created_at: int
    size: int = 0
    taken_at: int | None = None
    ended_at: int | None = None
    expires_at: int | None = None


class StoredBytes(msgspec.Struct, frozen=True):
    """What a project has in the storage.

    :ivar used: bytes of its backups and write logs. :ivar quota: those that it may have; 0 for no limit.
    """

    used: int
    quota: int


class LastBackup(msgspec.Struct, frozen=True, kw_only=True):
    """The last good backup of an instance that exists.

    :ivar taken_at: epoch milliseconds; None without one.
    :ivar seconds: from its request to its end.
    :ivar longest_pause_seconds: between two backups by the schedule of the instance; 0 without one.
    :ivar scheduled_at: when the schedule was set, epoch milliseconds.
    """

    instance_id: str
    taken_at: int | None
    size: int
    seconds: float
    longest_pause_seconds: float
    scheduled_at: int = 0


def expired(backups: Sequence[Backup], now: int) -> list[Backup]:
    """Return the backups of one instance that may be deleted, without the last good one. Pure."""
    last = last_good(backups)
    good = [backup for backup in backups if backup.state == "succeed"]
    return [
        backup for backup in good if backup is not last and backup.expires_at is not None and backup.expires_at <= now
    ]


def last_good(backups: Sequence[Backup]) -> Backup | None:
    """Return the backup with the newest data, None if none has succeeded. Pure."""
    good = [backup for backup in backups if backup.state == "succeed"]
    return max(good, key=lambda backup: (backup.taken_at or 0, backup.created_at), default=None)
