"""Restores of backups into existing instances."""

from litestar import Response, get, post

from cachewright.api import requests, responses
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import Body, Call, InstanceId, Query, Restores, endpoint
from cachewright.api.schemas import restores as schemas
from cachewright.api.schemas.tasks import ListQuery
from cachewright.api.texts import require_line

_RESTORES = "/v2/{project_id:str}/instances/{instance_id:str}/restores"


@post(_RESTORES, status_code=200, opt=needs("dcs:instance:restore"))
@endpoint
async def restore_instance(
    request: Call, restores: Restores, instance_id: InstanceId, body: Body[schemas.RestoreBody]
) -> Response[schemas.RestoredInstance]:
    """RestoreInstance: starts a background task that replaces the data of an instance by that of a backup, which may be
    of another instance, of any type and number of shards."""
    wanted = body.read()
    require_line("remark", wanted.remark)
    record = await restores.restore(
        requests.principal(request),
        instance_id,
        wanted.backup_id.lower(),
        wanted.remark,
        safety_backup=wanted.safety_backup,
    )
    return responses.json(schemas.RestoredInstance(record.id, record.task.id))


@get(_RESTORES, opt=needs("dcs:instance:get"))
@endpoint
def list_restore_records(
    request: Call, restores: Restores, instance_id: InstanceId, wanted: Query[ListQuery]
) -> Response[schemas.RestoreRecords]:
    """ListRestoreRecords: restores into an instance whose tasks are on record, newest first."""
    query = wanted.read()
    start, end = requests.period(query)
    count, page = restores.page(
        requests.principal(request), instance_id, offset=query.offset, limit=query.limit, start=start, end=end
    )
    return responses.json(schemas.RestoreRecords(count, [schemas.shown(record) for record in page]))
