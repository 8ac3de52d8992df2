"""Extensions of this project: a task's record, pausing, throttling, cancelling, trying again."""

from litestar import Response, get, post, put

from cachewright.api import answers, asked
from cachewright.api.auth.permissions import ACTIONS, needs, require
from cachewright.api.routes.parameters import Body, Call, PathId, Plane, in_thread, instance_of
from cachewright.api.wire import control as wire
from cachewright.errors import Refusal
from cachewright.operations.kinds import DELETE
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
    task = plane.control_task(asked.principal(request), known, wanted, control)
    return answers.json(wire.record(task, control))


@post(_TASK + "/cancel", status_code=200, opt=needs("dcs:instance:controlBackgroundTask"))
@in_thread
def cancel_task(request: Call, plane: Plane, instance_id: PathId, task_id: PathId) -> Response[wire.TaskRecord]:
    """Ends a task that has not ended, and leaves the instance in order. The task is FAILED with DCS.9005 when it is."""
    known, wanted = asked.instance_id(instance_id), asked.task_id(task_id)
    control = Control(wish="cancel")
    task = plane.control_task(asked.principal(request), known, wanted, control)
    return answers.json(wire.record(task, control))


@post(_TASK + "/retry", status_code=200, opt=needs("dcs:instance:controlBackgroundTask"))
@in_thread
def retry_task(request: Call, plane: Plane, instance_id: PathId, task_id: PathId) -> Response[wire.TaskRecord]:
    """Goes on with a task that has failed. A deletion takes the role that may delete."""
    known, wanted = asked.instance_id(instance_id), asked.task_id(task_id)
    with plane.database.read() as connection:
        failed = tasks.of_project(connection, asked.principal(request).project_id, wanted)
    if failed and failed.kind == DELETE.kind:
        require(asked.identity(request), ACTIONS["dcs:instance:delete"])
    task = plane.retry_task(asked.principal(request), known, wanted)
    return answers.json(wire.record(task, Control()))
