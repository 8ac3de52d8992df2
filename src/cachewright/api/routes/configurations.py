"""Parameters of an instance: shown, changed, and the history of their changes; and settings that are not served."""

from litestar import Response, get, put

from cachewright import errors
from cachewright.api import requests, responses
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import (
    Body,
    Call,
    PathId,
    Plane,
    Query,
    in_thread,
    instance_of,
    run_in_thread,
    while_connected,
)
from cachewright.api.schemas import configurations as schemas
from cachewright.api.schemas.paging import PageQuery
from cachewright.api.schemas.plans import JobId
from cachewright.api.validation import parameter_values
from cachewright.errors import ApiError
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import Task
from cachewright.operations.configure import CONFIGURE
from cachewright.operations.requests import ConfigureRequest
from cachewright.store import instances, tasks

_INSTANCES = "/v2/{project_id:str}/instances/{instance_id:str}"


@get(_INSTANCES + "/configs", opt=needs("dcs:instance:getConfiguration"))
async def list_configurations(request: Call, plane: Plane, instance_id: PathId) -> Response[schemas.Configurations]:
    """ListConfigurations, as the nodes of the instance have them now."""

    def read() -> tuple[Instance, list[Node], Task | None]:
        with plane.database.read() as connection:
            instance = instance_of(connection, request, instance_id)
            _, newest = tasks.of_kind(connection, instance.id, CONFIGURE.kind, offset=0, limit=1)
            return instance, instances.nodes_of(connection, instance.id), next(iter(newest), None)

    instance, nodes, newest = await run_in_thread(request, read)
    found = await while_connected(request, plane.inspector.configuration(instance, nodes))
    return responses.json(schemas.configurations(instance, found, newest))


@put(_INSTANCES + "/configs", status_code=204, opt=needs("dcs:instance:modifyConfigureation"))
@in_thread
def update_configurations(
    request: Call, plane: Plane, instance_id: PathId, body: Body[schemas.UpdateConfigBody]
) -> Response[None]:
    """UpdateConfigurations: a background task changes them; ListConfigurations says in `config_status` how it ended."""
    known = requests.instance_id(instance_id)
    plane.tasks.submit(CONFIGURE, requests.principal(request), known, ConfigureRequest(parameter_values(body.read())))
    return responses.no_content()


@put(_INSTANCES + "/async-configs", status_code=200, opt=needs("dcs:instance:modifyConfigureation"))
@in_thread
def update_instance_config(
    request: Call, plane: Plane, instance_id: PathId, body: Body[schemas.UpdateConfigBody]
) -> Response[JobId]:
    """UpdateInstanceConfig: the same; follow the job with ShowJobInfo, or as the background task that it is."""
    known = requests.instance_id(instance_id)
    task = plane.tasks.submit(
        CONFIGURE, requests.principal(request), known, ConfigureRequest(parameter_values(body.read()))
    )
    return responses.json(JobId(task.id))


@get(_INSTANCES + "/config-histories", opt=needs("dcs:instance:get"))
@in_thread
def list_config_histories(
    request: Call, plane: Plane, instance_id: PathId, wanted: Query[PageQuery]
) -> Response[schemas.HistoryList]:
    """ListConfigHistories: the tasks that changed parameters, newest first."""
    query = wanted.read()
    with plane.database.read() as connection:
        instance = instance_of(connection, request, instance_id)
        count, page = tasks.of_kind(connection, instance.id, CONFIGURE.kind, offset=query.offset, limit=query.limit)
    return responses.json(schemas.HistoryList(count, [schemas.history_item(task) for task in page]))


@get(_INSTANCES + "/config-histories/{history_id:str}", opt=needs("dcs:instance:get"))
@in_thread
def show_config_history_detail(
    request: Call, plane: Plane, instance_id: PathId, history_id: PathId
) -> Response[schemas.HistoryDetail]:
    """ShowConfigHistoryDetail: who changed what, with old and new values."""
    wanted = requests.task_id(history_id)
    with plane.database.read() as connection:
        instance = instance_of(connection, request, instance_id)
        task = tasks.get(connection, instance.id, wanted)
    if task is None or task.kind != CONFIGURE.kind:
        raise ApiError(errors.TASK_NOT_FOUND)
    return responses.json(schemas.history_detail(task))


@get("/v2/{project_id:str}/instance/{instance_id:str}/whitelist", opt=needs("dcs:instance:getConfiguration"))
@in_thread
def show_ip_whitelist(request: Call, plane: Plane, instance_id: PathId) -> Response[schemas.Whitelist]:
    """ShowIpWhitelist: there is none."""
    with plane.database.read() as connection:
        instance = instance_of(connection, request, instance_id)
    return responses.json(schemas.Whitelist(instance.id))


@get(_INSTANCES + "/bigkey/autoscan", opt=needs("dcs:instance:getConfiguration"))
@in_thread
def show_bigkey_autoscan_config(request: Call, plane: Plane, instance_id: PathId) -> Response[schemas.AutoScan]:
    """ShowBigkeyAutoscanConfig: it is off."""
    with plane.database.read() as connection:
        instance = instance_of(connection, request, instance_id)
    return responses.json(schemas.AutoScan(instance.id))


@get(_INSTANCES + "/hotkey/autoscan", opt=needs("dcs:instance:getConfiguration"))
@in_thread
def show_hotkey_autoscan_config(request: Call, plane: Plane, instance_id: PathId) -> Response[schemas.AutoScan]:
    """ShowHotkeyAutoscanConfig: it is off."""
    with plane.database.read() as connection:
        instance = instance_of(connection, request, instance_id)
    return responses.json(schemas.AutoScan(instance.id))
