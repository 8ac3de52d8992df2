"""Parameters of an instance and the history of their changes."""

from litestar import Response, get, put

from cachewright.api import requests, responses
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import (
    Body,
    Call,
    InstanceId,
    Nodes,
    Query,
    Records,
    TaskId,
    Tasks,
    endpoint,
    while_connected,
)
from cachewright.api.schemas import configurations as schemas
from cachewright.api.schemas.paging import PageQuery
from cachewright.api.schemas.plans import JobId
from cachewright.api.validation import parameter_values
from cachewright.operations.configure import CONFIGURE
from cachewright.operations.requests import ConfigureRequest

_INSTANCES = "/v2/{project_id:str}/instances/{instance_id:str}"


@get(_INSTANCES + "/configs", opt=needs("dcs:instance:getConfiguration"))
@endpoint
async def list_configurations(request: Call, nodes: Nodes, instance_id: InstanceId) -> Response[schemas.Configurations]:
    """ListConfigurations: the present parameters of the instance's nodes."""
    configuration = await while_connected(request, nodes.configuration(requests.principal(request), instance_id))
    return responses.json(
        schemas.configurations(configuration.instance, configuration.values, configuration.latest_change)
    )


@put(_INSTANCES + "/configs", status_code=204, opt=needs("dcs:instance:modifyConfigureation"))
@endpoint
def update_configurations(
    request: Call, tasks: Tasks, instance_id: InstanceId, body: Body[schemas.UpdateConfigBody]
) -> Response[None]:
    """UpdateConfigurations: starts a background task. `config_status` of ListConfigurations shows its result."""
    change = ConfigureRequest(parameter_values(body.read()))
    tasks.submit(CONFIGURE, requests.principal(request), instance_id, change)
    return responses.no_content()


@put(_INSTANCES + "/async-configs", status_code=200, opt=needs("dcs:instance:modifyConfigureation"))
@endpoint
def update_instance_config(
    request: Call, tasks: Tasks, instance_id: InstanceId, body: Body[schemas.UpdateConfigBody]
) -> Response[JobId]:
    """UpdateInstanceConfig: like UpdateConfigurations. Follow it with ShowJobInfo or as a background task."""
    change = ConfigureRequest(parameter_values(body.read()))
    task = tasks.submit(CONFIGURE, requests.principal(request), instance_id, change)
    return responses.json(JobId(task.id))


@get(_INSTANCES + "/config-histories", opt=needs("dcs:instance:get"))
@endpoint
def list_config_histories(
    request: Call, records: Records, instance_id: InstanceId, wanted: Query[PageQuery]
) -> Response[schemas.HistoryList]:
    """ListConfigHistories: the tasks that changed parameters, newest first."""
    query = wanted.read()
    count, page = records.configuration_changes(
        requests.principal(request), instance_id, offset=query.offset, limit=query.limit
    )
    return responses.json(schemas.HistoryList(count, [schemas.history_item(task) for task in page]))


@get(_INSTANCES + "/config-histories/{history_id:str}", opt=needs("dcs:instance:get"))
@endpoint
def show_config_history_detail(
    request: Call, records: Records, instance_id: InstanceId, history_id: TaskId
) -> Response[schemas.HistoryDetail]:
    """ShowConfigHistoryDetail: who changed what, with old and new values."""
    task = records.configuration_change(requests.principal(request), instance_id, history_id)
    return responses.json(schemas.history_detail(task))
