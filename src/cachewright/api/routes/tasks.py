"""Background tasks of an instance."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from litestar import Response, delete, get

from cachewright.api import answers, asked, watching
from cachewright.api.routes.parameters import Call, PathId, Plane, in_thread
from cachewright.api.wire import tasks as wire
from cachewright.errors import Refusal
from cachewright.operations.plane import ControlPlane
from cachewright.store import instances, tasks
from cachewright.store.records import Principal, Task

_TASKS = "/v2/{project_id:str}/instances/{instance_id:str}/tasks"
_MOMENT = "%Y%m%d%H%M%S"
_A_SECOND = 1000


@get(_TASKS)
@in_thread
def list_background_task(request: Call, plane: Plane, instance_id: PathId) -> Response[bytes]:
    """ListBackgroundTask: newest first; an offset beyond the end is an empty page."""
    known = asked.instance_id(instance_id)
    query = asked.query(request, wire.ListQuery)
    start = _moment("start_time", query.start_time) or _moment("begin_time", query.begin_time)
    end = _moment("end_time", query.end_time)
    if start is not None and end is not None and end < start:
        raise Refusal("DCS.4025")
    last = None if end is None else end + _A_SECOND - 1
    with plane.database.read() as connection:
        _require_instance(connection, asked.principal(request), known)
        count, page = tasks.page(
            connection, instance_id=known, offset=query.offset, limit=query.limit, start=start, end=last
        )
    return answers.json(wire.TaskList(str(count), [wire.task_item(task) for task in page]))


@get(_TASKS + "/{task_id:str}/progress")
async def show_background_task_progress(
    request: Call,
    plane: Plane,
    instance_id: PathId,
    task_id: PathId,
) -> Response[Any]:
    """ShowBackgroundTaskProgress. Two extensions: with `Accept: text/event-stream`, every change until the task has
    ended; with the `ETag` of an earlier answer in `If-None-Match`, 304 and no body where nothing has changed."""
    who, known, wanted = asked.principal(request), asked.instance_id(instance_id), asked.task_id(task_id)
    task = await asyncio.to_thread(_task, plane, who, known, wanted)
    if watching.wanted(request.headers.get("accept", "")):
        return watching.stream(plane.feed, task.id, lambda: _task(plane, who, known, wanted))
    tag = wire.tag(task)
    if request.headers.get("if-none-match") == tag:
        return Response(None, status_code=304, headers={"etag": tag})
    answer = answers.json(wire.progress(task))
    answer.headers["etag"] = tag
    return answer


def _task(plane: ControlPlane, who: Principal, instance_id: str, task_id: str) -> Task:
    """It is asked for all the time, so this makes one query where the task is there."""
    with plane.database.read() as connection:
        task = tasks.get(connection, instance_id, task_id)
        if task is None or task.project_id != who.project_id:
            _require_instance(connection, who, instance_id)
            raise Refusal("DCS.4958")
    return task


@delete(_TASKS + "/{task_id:str}", status_code=200)
@in_thread
def delete_background_task(
    request: Call,
    plane: Plane,
    instance_id: PathId,
    task_id: PathId,
) -> Response[bytes]:
    """DeleteBackgroundTask: forgets a task that has ended."""
    plane.delete_task(asked.principal(request), asked.instance_id(instance_id), asked.task_id(task_id))
    return answers.json(wire.Deleted())


def _require_instance(connection: sa.Connection, who: Principal, instance_id: str) -> None:
    if instances.get(connection, who.project_id, instance_id) is None:
        raise Refusal("DCS.3022")


def _moment(field: str, text: str | None) -> int | None:
    """Epoch milliseconds of `yyyyMMddHHmmss`, UTC."""
    if text is None:
        return None
    try:
        return int(datetime.strptime(text, _MOMENT).replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError as error:
        raise asked.refused(field, "it is not yyyyMMddHHmmss") from error
