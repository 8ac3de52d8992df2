"""Entries of the audit log, as they are stored."""

import msgspec


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One call that was allowed to change something, or was refused it.

    :ivar at: when it came.
    :ivar source: address that it came from.
    :ivar status: the HTTP status that it was answered with; None while it runs, and for good where the server died in
        the middle of it.
    :ivar count: number of calls that this entry stands for: refused calls that repeat are counted, not stored.
    :ivar subjects: ids of what the call concerns, where the path does not name them.
    """

    sequence: int = 0
    at: int
    request_id: str
    project_id: str | None
    user_id: str
    user_name: str
    credential: str
    source: str
    action: str
    method: str
    path: str
    status: int | None = None
    error_code: str | None = None
    count: int = 1
    subjects: tuple[str, ...] = ()
