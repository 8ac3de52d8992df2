"""Background tasks: of one instance, and of the whole project in the task centre."""

from datetime import UTC, datetime

from litestar import Response, delete, get

from cachewright.api import answers, asked
from cachewright.api.routes.parameters import Call, OptionalBody, PathId, Plane, Query, in_thread, instance_of
from cachewright.api.wire import tasks as wire
from cachewright.errors import Refusal
from cachewright.operations.task_centre import forget_task
from cachewright.store import task_centre, tasks

_TASKS = "/v2/{project_id:str}/instances/{instance_id:str}/tasks"
_CENTRE = "/v2/{project_id:str}/tasks"
_MOMENT = "%Y%m%d%H%M%S"
_A_SECOND = 1000


@get(_TASKS)
@in_thread
def list_background_task(
    request: Call, plane: Plane, instance_id: PathId, wanted: Query[wire.ListQuery]
) -> Response[wire.TaskList]:
    """ListBackgroundTask: newest first; an offset beyond the end is an empty page."""
    known = asked.instance_id(instance_id)
    query = wanted.read()
    start, end = _period(query)
    with plane.database.read() as connection:
        instance_of(connection, request, known)
        count, page = tasks.page(connection, known, offset=query.offset, limit=query.limit, start=start, end=end)
    return answers.json(wire.TaskList(str(count), [wire.task_item(task) for task in page]))


@get(_TASKS + "/{task_id:str}/progress")
@in_thread
def show_background_task_progress(
    request: Call, plane: Plane, instance_id: PathId, task_id: PathId
) -> Response[wire.Progress]:
    """ShowBackgroundTaskProgress: percent, seconds left, and every step and sub-step."""
    who, known, wanted = asked.principal(request), asked.instance_id(instance_id), asked.task_id(task_id)
    with plane.database.read() as connection:
        task = tasks.get(connection, known, wanted)  # one query where it is there: this is asked for all the time
        if task is None or task.project_id != who.project_id:
            instance_of(connection, request, known)
            raise Refusal("DCS.4958")
    return answers.json(wire.progress(task))


@delete(_TASKS + "/{task_id:str}", status_code=200)
@in_thread
def delete_background_task(request: Call, plane: Plane, instance_id: PathId, task_id: PathId) -> Response[wire.Deleted]:
    """DeleteBackgroundTask: forgets a task that has ended."""
    plane.delete_task(asked.principal(request), asked.instance_id(instance_id), asked.task_id(task_id))
    return answers.json(wire.Deleted())


@get(_CENTRE)
@in_thread
def list_center_task(request: Call, plane: Plane, wanted: Query[wire.ListQuery]) -> Response[wire.TaskList]:
    """ListCenterTask: of all instances of the project, those that are gone among them, newest first."""
    query = wanted.read()
    start, end = _period(query)
    project_id = asked.principal(request).project_id
    with plane.database.read() as connection:
        count, page = task_centre.page(
            connection, project_id, offset=query.offset, limit=query.limit, start=start, end=end
        )
    return answers.json(wire.TaskList(str(count), [wire.task_item(task) for task in page]))


@delete(_CENTRE + "/{task_id:str}", status_code=200)
@in_thread
def delete_center_task(
    request: Call, plane: Plane, task_id: PathId, body: OptionalBody[wire.DeleteCenterBody]
) -> Response[wire.Deleted]:
    """DeleteCenterTask: forgets a task that has ended, also one whose instance is gone. The body may be left out."""
    wanted = asked.task_id(task_id)
    if body.given:
        body.read()
    forget_task(plane.database, asked.principal(request), wanted)
    return answers.json(wire.Deleted())


def _period(query: wire.ListQuery) -> tuple[int | None, int | None]:
    """First and last epoch millisecond that is asked for. Refusal DCS.4025 where the end is before the start."""
    start = _moment("start_time", query.start_time) or _moment("begin_time", query.begin_time)
    end = _moment("end_time", query.end_time)
    if start is not None and end is not None and end < start:
        raise Refusal("DCS.4025")
    return start, None if end is None else end + _A_SECOND - 1


def _moment(field: str, text: str | None) -> int | None:
    """Epoch milliseconds of `yyyyMMddHHmmss`, UTC."""
    if text is None:
        return None
    try:
        return int(datetime.strptime(text, _MOMENT).replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError as error:
        raise asked.refused(field, "it is not yyyyMMddHHmmss") from error
