"""The audit log: an extension of this project."""

from litestar import Response, get

from cachewright.api import answers, asked
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import Call, Plane, Query, in_thread
from cachewright.api.wire import audit as wire
from cachewright.store import audit


@get("/v2/{project_id:str}/audit", opt=needs("dcs:audit:list"))
@in_thread
def list_audit_entries(request: Call, plane: Plane, wanted: Query[wire.AuditQuery]) -> Response[wire.AuditList]:
    """Every call of this project that was to change something, newest first; for admins.

    `start_time` and `end_time` are `yyyyMMddHHmmss`, UTC.
    """
    query = wanted.read()
    start, end = asked.period(query)
    with plane.database.read() as connection:
        count, page = audit.page(
            connection,
            asked.principal(request).project_id,
            offset=query.offset,
            limit=query.limit,
            start=start,
            end=end,
            user_name=query.user_name,
        )
    return answers.json(wire.AuditList(count, [wire.shown(entry) for entry in page]))
