"""Extensions of this project: a task's record, pausing, throttling, cancelling, trying again."""

from litestar import Response, get, post, put

from cachewright.api import answers, asked
from cachewright.api.auth.permissions import needs, require_kind
from cachewright.api.routes.parameters import Body, Call, PathId, Plane, in_thread, instance_of
from cachewright.api.wire import control as wire
from cachewright.errors import Refusal
from cachewright.operations.plane import ControlPlane
from cachewright.store import controls, tasks
from cachewright.store.records import Control

_INSTANCE = "/v2/{project_id:str}/instances/{instance_id:str}"
_TASK = _INSTANCE + "/tasks/{task_id:str}"


@get(_TASK, opt=needs("dcs:instance:getBackgroundTask"))
@in_thread
def show_task(request: Call, plane: Plane, instance_id: PathId, task_id: PathId) -> Response[wire.TaskRecord]:
    """The task's row, its progress, how it is wanted to run and how well it predicted itself."""
    known, wanted = asked.instance_id(instance_id), asked.task_id(task_id)
    with plane.database.read() as connection:
        instance_of(connection, request, known)
        task = tasks.get(connection, known, wanted)
        if task is None:
            raise Refusal("DCS.4958")
        control = controls.get(connection, wanted)
    return answers.json(wire.record(task, control))


@get("/v2/{project_id:str}/tasks/{task_id:str}", opt=needs("dcs:instance:getBackgroundTask"))
@in_thread
def find_task(request: Call, plane: Plane, task_id: PathId) -> Response[wire.TaskRecord]:
    """The same for who does not know which instance the task is of; also where that is gone."""
    wanted = asked.task_id(task_id)
    with plane.database.read() as connection:
        task = tasks.of_project(connection, asked.principal(request).project_id, wanted)
        if task is None:
            raise Refusal("DCS.4958")
        control = controls.get(connection, wanted)
    return answers.json(wire.record(task, control))


@put(_TASK + "/control", opt=needs("dcs:instance:controlBackgroundTask"))
@in_thread
def control_task(
    request: Call, plane: Plane, instance_id: PathId, task_id: PathId, body: Body[wire.ControlBody]
) -> Response[wire.TaskRecord]:
    """Pauses, resumes or throttles a task that has not ended."""
    known, wanted = asked.instance_id(instance_id), asked.task_id(task_id)
    control = wire.control(body.read())
    _require_kind(request, plane, known, wanted)
    task = plane.control_task(asked.principal(request), known, wanted, control)
    return answers.json(wire.record(task, control))


@post(_TASK + "/cancel", status_code=200, opt=needs("dcs:instance:controlBackgroundTask"))
@in_thread
def cancel_task(request: Call, plane: Plane, instance_id: PathId, task_id: PathId) -> Response[wire.TaskRecord]:
    """Ends a task that has not ended, and leaves the instance in order. The task is FAILED with DCS.9005 when it is."""
    known, wanted = asked.instance_id(instance_id), asked.task_id(task_id)
    control = Control(wish="cancel")
    _require_kind(request, plane, known, wanted)
    task = plane.control_task(asked.principal(request), known, wanted, control)
    return answers.json(wire.record(task, control))


@post(_TASK + "/retry", status_code=200, opt=needs("dcs:instance:controlBackgroundTask"))
@in_thread
def retry_task(request: Call, plane: Plane, instance_id: PathId, task_id: PathId) -> Response[wire.TaskRecord]:
    """Retries a task that has failed: finished steps stay. The caller must be allowed to start such a task."""
    known, wanted = asked.instance_id(instance_id), asked.task_id(task_id)
    _require_kind(request, plane, known, wanted)
    task = plane.retry_task(asked.principal(request), known, wanted)
    return answers.json(wire.record(task, Control()))


def _require_kind(request: Call, plane: ControlPlane, instance_id: str, task_id: str) -> None:
    """Refusal DCS.2007 where the caller could not have started this task. One that does not exist is refused later."""
    with plane.database.read() as connection:
        task = tasks.of_project(connection, asked.principal(request).project_id, task_id)
    if task is not None and task.instance_id == instance_id:
        require_kind(asked.identity(request), task.kind)
