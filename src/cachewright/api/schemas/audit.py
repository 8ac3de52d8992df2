"""Shapes of the audit log."""

import msgspec

from cachewright.api.schemas import rfc3339
from cachewright.api.schemas.tasks import ListQuery
from cachewright.model.audit import AuditEntry


class AuditQuery(ListQuery, frozen=True):
    user_name: str | None = None


class ShownEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A request that could change something, permitted or refused.

    `status` and `error_code` are those of the response. A `status` of null means that the request is still running, or
    that the server stopped before its end. `subjects` are affected ids that are not in the path, such as the instances
    of a batch. `count` is the number of requests: repeated refusals are counted in the first entry.
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
    """A page of entries. `count` is the number of all matching entries."""

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
