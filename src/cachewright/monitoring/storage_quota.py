"""Decide what is deleted when a project stores more bytes than its quota. Pure.

Write logs go first, the oldest first. Then backups by a schedule go before they expire, the oldest first. The last good
backup of an instance stays, and so do backups that a user has requested: further requests are refused.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from cachewright.model.backups import Backup, last_good
from cachewright.model.write_logs import EXPIRED, WriteLog

REASON = "the project has more backups and write logs than its quota"


def logs_over(
    logs: Iterable[WriteLog], backups: Mapping[str, int], quota: int, read: Collection[str]
) -> tuple[list[WriteLog], list[WriteLog]]:
    """Return the logs to delete, and those to end: a log is deleted when it has ended.

    :param backups: bytes of the backups of each project.
    :param quota: bytes; 0 for no limit.
    :param read: instances whose logs a task reads.
    """
    deleted: list[WriteLog] = []
    ended: list[WriteLog] = []
    by_project: dict[str, list[WriteLog]] = {}
    for log in logs:
        if log.ended != EXPIRED:
            by_project.setdefault(log.project_id, []).append(log)
    for project, own in by_project.items() if quota else ():
        used = backups.get(project, 0) + sum(log.size for log in own)
        left = sorted((log for log in own if log.instance_id not in read), key=lambda log: (log.created_at, log.id))
        for log in left:
            if used > quota and log.ended is not None:
                deleted.append(log)
                used -= log.size
        growing = [log for log in left if log.ended is None]
        if used > quota and growing:
            ended.append(max(growing, key=lambda log: log.size))
    return deleted, ended


def backups_over(backups: Sequence[Backup], quota: int, used: Collection[str]) -> list[Backup]:
    """Return backups to delete before they expire.

    :param backups: good ones of one project, without those that restores have made of the data before them.
    :param used: ids of those that a task reads.
    """
    by_instance: dict[str, list[Backup]] = {}
    for backup in backups:
        by_instance.setdefault(backup.instance_id, []).append(backup)
    kept = {last.id for own in by_instance.values() if (last := last_good(own))} | set(used)
    total, over = sum(backup.size for backup in backups), []
    for backup in sorted(backups, key=lambda backup: (backup.taken_at or 0, backup.id)):
        if total > quota > 0 and backup.kind == "auto" and backup.id not in kept:
            over.append(backup)
            total -= backup.size
    return over
