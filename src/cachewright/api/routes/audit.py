"""The audit log: an extension of this project."""

from litestar import Response, get

from cachewright.api import requests, responses
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import Call, Entries, Query, endpoint
from cachewright.api.schemas import audit as schemas


@get("/v2/{project_id:str}/audit", opt=needs("dcs:audit:list"))
@endpoint
def list_audit_entries(
    request: Call, audit_log: Entries, wanted: Query[schemas.AuditQuery]
) -> Response[schemas.AuditList]:
    """Lists all requests of this project that could change something, newest first. For admins.

    `start_time` and `end_time` are `yyyyMMddHHmmss`, UTC.
    """
    query = wanted.read()
    start, end = requests.period(query)
    count, page = audit_log.page(
        requests.principal(request),
        offset=query.offset,
        limit=query.limit,
        start=start,
        end=end,
        user_name=query.user_name,
    )
    return responses.json(schemas.AuditList(count, [schemas.shown(entry) for entry in page]))
