"""Extensions of this project: a task's record, pausing, throttling, cancelling, trying again."""

from litestar import Response, get, post, put

from cachewright import errors
from cachewright.api import requests, responses
from cachewright.api.auth.permissions import needs, require_kind
from cachewright.api.routes.parameters import Body, Call, PathId, Plane, in_thread, instance_of
from cachewright.api.schemas import control as schemas
from cachewright.errors import ApiError
from cachewright.model.tasks import Control
from cachewright.services.instances import InstanceService
from cachewright.store import task_controls, tasks

_INSTANCE = "/v2/{project_id:str}/instances/{instance_id:str}"
_TASK = _INSTANCE + "/tasks/{task_id:str}"


@get(_TASK, opt=needs("dcs:instance:getBackgroundTask"))
@in_thread
def show_task(request: Call, plane: Plane, instance_id: PathId, task_id: PathId) -> Response[schemas.TaskRecord]:
    """The task's row, its progress, how it is wanted to run and how well it predicted itself."""
    known, wanted = requests.instance_id(instance_id), requests.task_id(task_id)
    with plane.database.read() as connection:
        instance_of(connection, request, known)
        task = tasks.get(connection, known, wanted)
        if task is None:
            raise ApiError(errors.TASK_NOT_FOUND)
        control = task_controls.get(connection, wanted)
    return responses.json(schemas.record(task, control))


@get("/v2/{project_id:str}/tasks/{task_id:str}", opt=needs("dcs:instance:getBackgroundTask"))
@in_thread
def find_task(request: Call, plane: Plane, task_id: PathId) -> Response[schemas.TaskRecord]:
    """The same for who does not know which instance the task is of; also where that is gone."""
    wanted = requests.task_id(task_id)
    with plane.database.read() as connection:
        task = tasks.of_project(connection, requests.principal(request).project_id, wanted)
        if task is None:
            raise ApiError(errors.TASK_NOT_FOUND)
        control = task_controls.get(connection, wanted)
    return responses.json(schemas.record(task, control))


@put(_TASK + "/control", opt=needs("dcs:instance:controlBackgroundTask"))
@in_thread
def control_task(
    request: Call, plane: Plane, instance_id: PathId, task_id: PathId, body: Body[schemas.ControlBody]
) -> Response[schemas.TaskRecord]:
    """Pauses, resumes or throttles a task that has not ended."""
    known, wanted = requests.instance_id(instance_id), requests.task_id(task_id)
    control = schemas.control(body.read())
    _require_kind(request, plane, known, wanted)
    task = plane.tasks.control(requests.principal(request), known, wanted, control)
    return responses.json(schemas.record(task, control))


@post(_TASK + "/cancel", status_code=200, opt=needs("dcs:instance:controlBackgroundTask"))
@in_thread
def cancel_task(request: Call, plane: Plane, instance_id: PathId, task_id: PathId) -> Response[schemas.TaskRecord]:
    """Ends a task that has not ended, and leaves the instance in order. The task is FAILED with DCS.9005 when it is."""
    known, wanted = requests.instance_id(instance_id), requests.task_id(task_id)
    control = Control(state="cancelled")
    _require_kind(request, plane, known, wanted)
    task = plane.tasks.control(requests.principal(request), known, wanted, control)
    return responses.json(schemas.record(task, control))


@post(_TASK + "/retry", status_code=200, opt=needs("dcs:instance:controlBackgroundTask"))
@in_thread
def retry_task(request: Call, plane: Plane, instance_id: PathId, task_id: PathId) -> Response[schemas.TaskRecord]:
    """Retries a task that has failed: finished steps stay. The caller must be allowed to start such a task."""
    known, wanted = requests.instance_id(instance_id), requests.task_id(task_id)
    _require_kind(request, plane, known, wanted)
    task = plane.tasks.retry(requests.principal(request), known, wanted)
    return responses.json(schemas.record(task, Control()))


def _require_kind(request: Call, plane: InstanceService, instance_id: str, task_id: str) -> None:
    """ApiError DCS.2007 where the caller could not have started this task. One that does not exist is refused later."""
    with plane.database.read() as connection:
        task = tasks.of_project(connection, requests.principal(request).project_id, task_id)
    if task is not None and task.instance_id == instance_id:
        require_kind(requests.identity(request), task.kind)
