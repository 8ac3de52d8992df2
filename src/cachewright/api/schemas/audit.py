"""Shapes of the audit log."""

import msgspec

from cachewright.api.schemas import rfc3339
from cachewright.api.schemas.tasks import ListQuery
from cachewright.model.audit import AuditEntry


class AuditQuery(ListQuery, frozen=True):
    user_name: str | None = None


class ShownEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One call that was allowed to change something, or was refused it.

    `status` and `error_code` say how it was answered; a `status` of null means that it runs, or that the server died in
    the middle of it. `subjects` are ids of what the call concerns and its path does not name, such as the instances of
    a batch. `count` is how many calls the entry stands for: refused calls that repeat are counted in the first entry.
    """

    at: str
    request_id: str
    user_id: str
    user_name: str
    credential: str
    source: str
    action: str
    method: str
    path: str
    status: int | None
    error_code: str | None
    count: int
    subjects: list[str]


class AuditList(msgspec.Struct, frozen=True):
    """`count` is that of all entries that fit, not of this page."""

    count: int
    entries: list[ShownEntry]


def shown(entry: AuditEntry) -> ShownEntry:
    return ShownEntry(
        at=rfc3339(entry.at),
        request_id=entry.request_id,
        user_id=entry.user_id,
        user_name=entry.user_name,
        credential=entry.credential,
        source=entry.source,
        action=entry.action,
        method=entry.method,
        path=entry.path,
        status=entry.status,
        error_code=entry.error_code,
        count=entry.count,
        subjects=list(entry.subjects),
    )
