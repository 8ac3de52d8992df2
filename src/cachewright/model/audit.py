"""Entries of the audit log."""

import msgspec


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One request that changed something, or was denied a change.

    :ivar at: time of the request.
    :ivar source: address of the client.
    :ivar status: HTTP status of the response; None while the request runs, and if the server ended during it.
    :ivar count: number of requests that this entry represents; repeated rejected requests share an entry.
    :ivar subjects: ids of affected instances that the path does not contain.
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
