"""Background tasks of an instance."""

import asyncio
from datetime import UTC, datetime
from typing import Any

from litestar import Request, Response, delete, get

from cachewright.api import answers, asked
from cachewright.api.wire import tasks as wire
from cachewright.errors import Refusal
from cachewright.operations.plane import ControlPlane
from cachewright.store import instances, tasks
from cachewright.store.records import Principal, Task

_TASKS = "/v2/{project_id:str}/instances/{instance_id:str}/tasks"
_MOMENT = "%Y%m%d%H%M%S"
_A_SECOND = 1000


@get(_TASKS)
async def list_background_task(
    request: Request[Any, Any, Any], plane: ControlPlane, instance_id: str
) -> Response[bytes]:
    """ListBackgroundTask: newest first; an offset beyond the end is an empty page."""
    known = asked.instance_id(instance_id)
    query = asked.query(request, wire.ListQuery)
    start = _moment("start_time", query.start_time or query.begin_time)
    end = _moment("end_time", query.end_time)
    if start is not None and end is not None and end < start:
        raise Refusal("DCS.4025")
    last = None if end is None else end + _A_SECOND - 1

    def read() -> tuple[int, list[Task]]:
        with plane.database.read() as connection:
            _require_instance(connection, asked.principal(request), known)
            return tasks.page(connection, known, offset=query.offset, limit=query.limit, start=start, end=last)

    count, page = await asyncio.to_thread(read)
    return answers.json(wire.TaskList(str(count), [wire.task_item(task) for task in page]))


@get(_TASKS + "/{task_id:str}/progress")
async def show_background_task_progress(
    request: Request[Any, Any, Any], plane: ControlPlane, instance_id: str, task_id: str
) -> Response[bytes]:
    """ShowBackgroundTaskProgress."""
    known, wanted = asked.instance_id(instance_id), asked.task_id(task_id)

    def read() -> Task:
        with plane.database.read() as connection:
            _require_instance(connection, asked.principal(request), known)
            task = tasks.get(connection, known, wanted)
        if task is None:
            raise Refusal("DCS.4958")
        return task

    return answers.json(wire.progress(await asyncio.to_thread(read)))


@delete(_TASKS + "/{task_id:str}", status_code=200)
async def delete_background_task(
    request: Request[Any, Any, Any], plane: ControlPlane, instance_id: str, task_id: str
) -> Response[bytes]:
    """DeleteBackgroundTask: forgets a task that has ended."""
    known, wanted = asked.instance_id(instance_id), asked.task_id(task_id)
    await asyncio.to_thread(plane.delete_task, asked.principal(request), known, wanted)
    return answers.json(wire.Deleted())


def _require_instance(connection: Any, who: Principal, instance_id: str) -> None:
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
