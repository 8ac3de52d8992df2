"""Extensions of this project: show, pause, throttle, cancel and retry a task."""

from litestar import Response, get, post, put

from cachewright.api import requests, responses
from cachewright.api.auth.permissions import needs, require_kind
from cachewright.api.routes.parameters import Body, Call, InstanceId, Records, TaskId, Tasks, endpoint
from cachewright.api.schemas import control as schemas
from cachewright.services.task_records import TaskRecords

_INSTANCE = "/v2/{project_id:str}/instances/{instance_id:str}"
_TASK = _INSTANCE + "/tasks/{task_id:str}"


@get(_TASK, opt=needs("dcs:instance:getBackgroundTask"))
@endpoint
def show_task(
    request: Call, records: Records, instance_id: InstanceId, task_id: TaskId
) -> Response[schemas.TaskRecord]:
    """Shows a task with its progress, its waits, its control settings and the accuracy of its estimates."""
    controlled = records.show(requests.principal(request), instance_id, task_id)
    return responses.json(schemas.record(controlled.task, controlled.control))


@get("/v2/{project_id:str}/tasks/{task_id:str}", opt=needs("dcs:instance:getBackgroundTask"))
@endpoint
def find_task(request: Call, records: Records, task_id: TaskId) -> Response[schemas.TaskRecord]:
    """Shows a task by its id alone. Works after its instance was deleted."""
    controlled = records.find(requests.principal(request), task_id)
    return responses.json(schemas.record(controlled.task, controlled.control))


@put(_TASK + "/control", opt=needs("dcs:instance:controlBackgroundTask"))
@endpoint
def control_task(
    request: Call,
    tasks: Tasks,
    records: Records,
    *,
    instance_id: InstanceId,
    task_id: TaskId,
    body: Body[schemas.ControlBody],
) -> Response[schemas.TaskRecord]:
    """Pauses, resumes or throttles a task that has not ended."""
    control = schemas.control(body.read())
    _require_kind(request, records, instance_id, task_id)
    controlled = tasks.control(requests.principal(request), instance_id, task_id, control)
    return responses.json(schemas.record(controlled.task, controlled.control))


@post(_TASK + "/cancel", status_code=200, opt=needs("dcs:instance:controlBackgroundTask"))
@endpoint
def cancel_task(
    request: Call, tasks: Tasks, records: Records, instance_id: InstanceId, task_id: TaskId
) -> Response[schemas.TaskRecord]:
    """Cancels a task that has not ended. When the instance is usable again, the task is FAILED with DCS.9005. Its mode
    and limits stay, for a retry."""
    _require_kind(request, records, instance_id, task_id)
    controlled = tasks.cancel(requests.principal(request), instance_id, task_id)
    return responses.json(schemas.record(controlled.task, controlled.control))


@post(_TASK + "/retry", status_code=200, opt=needs("dcs:instance:controlBackgroundTask"))
@endpoint
def retry_task(
    request: Call, tasks: Tasks, records: Records, instance_id: InstanceId, task_id: TaskId
) -> Response[schemas.TaskRecord]:
    """Retries a failed task without repeating finished steps, with the mode and limits that it had. The caller must be
    permitted to start such a task."""
    _require_kind(request, records, instance_id, task_id)
    controlled = tasks.retry(requests.principal(request), instance_id, task_id)
    return responses.json(schemas.record(controlled.task, controlled.control))


def _require_kind(request: Call, records: TaskRecords, instance_id: str, task_id: str) -> None:
    """Raise ApiError DCS.2007 if the caller may not start such a task. The service refuses a missing task."""
    kind = records.kind(requests.principal(request), instance_id, task_id)
    if kind is not None:
        require_kind(requests.identity(request), kind)
