"""The audit log: an extension of this project."""

from litestar import Response, get

from cachewright.api import requests, responses
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import Call, Plane, Query, in_thread
from cachewright.api.schemas import audit as schemas
from cachewright.store import audit


@get("/v2/{project_id:str}/audit", opt=needs("dcs:audit:list"))
@in_thread
def list_audit_entries(request: Call, plane: Plane, wanted: Query[schemas.AuditQuery]) -> Response[schemas.AuditList]:
    """Every call of this project that was to change something, newest first; for admins.

    `start_time` and `end_time` are `yyyyMMddHHmmss`, UTC.
    """
    query = wanted.read()
    start, end = requests.period(query)
    with plane.database.read() as connection:
        count, page = audit.page(
            connection,
            requests.principal(request).project_id,
            offset=query.offset,
            limit=query.limit,
            start=start,
            end=end,
            user_name=query.user_name,
        )
    return responses.json(schemas.AuditList(count, [schemas.shown(entry) for entry in page]))
