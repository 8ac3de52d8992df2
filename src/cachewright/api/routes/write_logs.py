"""Write logs of an instance, an extension."""

from litestar import Response, get, put

from cachewright.api import requests, responses
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import Body, Call, InstanceId, WriteLogs, endpoint
from cachewright.api.schemas import write_logs as schemas

_WRITE_LOG = "/v2/{project_id:str}/instances/{instance_id:str}/write-log"


@get(_WRITE_LOG, opt=needs("dcs:instance:listBackups"))
@endpoint
def show_write_log(request: Call, write_logs: WriteLogs, instance_id: InstanceId) -> Response[schemas.ShownWriteLog]:
    """The seconds whose data can be backed up by CopyInstance with `moment`, and the logs that have this data."""
    return responses.json(schemas.shown(write_logs.state(requests.principal(request), instance_id)))


@put(_WRITE_LOG, status_code=200, opt=needs("dcs:instance:modify"))
@endpoint
def update_write_log(
    request: Call, write_logs: WriteLogs, instance_id: InstanceId, body: Body[schemas.WriteLogBody]
) -> Response[schemas.ShownWriteLog]:
    """Keeps write logs of an instance for a number of hours from now on; 0 deletes them."""
    state = write_logs.keep(requests.principal(request), instance_id, body.read().keep_hours)
    return responses.json(schemas.shown(state))
