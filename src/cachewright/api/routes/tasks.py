"""Background tasks: of one instance, and of the whole project in the task centre."""

import msgspec
import sqlalchemy as sa
from litestar import Response, delete, get

from cachewright.api import answers, asked, watching
from cachewright.api.auth.permissions import needs
from cachewright.api.auth.rights import rights_check
from cachewright.api.routes.parameters import (
    Authentication,
    Call,
    OptionalBody,
    PathId,
    Plane,
    Query,
    Streams,
    in_thread,
    instance_of,
)
from cachewright.api.wire import tasks as wire
from cachewright.errors import Refusal
from cachewright.operations.plane import ControlPlane
from cachewright.operations.task_centre import forget_task
from cachewright.store import instances, tasks
from cachewright.store.records import Principal, Task

_TASKS = "/v2/{project_id:str}/instances/{instance_id:str}/tasks"
_CENTRE = "/v2/{project_id:str}/tasks"


@get(_TASKS, opt=needs("dcs:instance:getBackgroundTask"))
@in_thread
def list_background_task(
    request: Call, plane: Plane, instance_id: PathId, wanted: Query[wire.ListQuery]
) -> Response[wire.TaskList]:
    """ListBackgroundTask: newest first; an offset beyond the end is an empty page."""
    known = asked.instance_id(instance_id)
    query = wanted.read()
    start, end = asked.period(query)
    with plane.database.read() as connection:
        instance_of(connection, request, known)
        count, page = tasks.page(
            connection, instance_id=known, offset=query.offset, limit=query.limit, start=start, end=end
        )
    return answers.json(wire.TaskList(str(count), [wire.task_item(task) for task in page]))


@get(_TASKS + "/{task_id:str}/progress", opt=needs("dcs:instance:getBackgroundTask"))
async def show_background_task_progress(
    request: Call,
    plane: Plane,
    *,
    authenticator: Authentication,
    streams: Streams,
    instance_id: PathId,
    task_id: PathId,
) -> Response[wire.Progress]:
    """ShowBackgroundTaskProgress: percent, seconds left, and every step and sub-step.

    Two extensions: with `Accept: text/event-stream`, every change until the task has ended (event `end`) or the caller
    may not read it any longer (event `refused`); with the `ETag` of an earlier answer in `If-None-Match`, 304 and no
    body where nothing has changed.
    """
    who, known, wanted = asked.principal(request), asked.instance_id(instance_id), asked.task_id(task_id)
    shown = await plane.kept.ask(shown_progress, who.project_id, known, wanted)
    if isinstance(shown, str):
        raise Refusal(shown)
    if watching.wanted(asked.header(request.scope, b"accept")):
        streams.open(request.scope, who.user_id)
        return watching.stream(
            plane.feed, wanted, lambda: _task(plane, who, known, wanted), rights_check(authenticator, request)
        )
    if asked.header(request.scope, b"if-none-match") == shown.tag:
        return answers.not_modified(shown.tag)
    answer = answers.ready(shown.progress, wire.Progress)
    answer.headers["etag"] = shown.tag
    return answer


class Shown(msgspec.Struct, frozen=True):
    """Entity tag and body of a task's progress."""

    tag: str
    progress: bytes


def shown_progress(connection: sa.Connection, project_id: str, instance_id: str, task_id: str) -> Shown | str:
    """Or the code that it is refused with."""
    task = tasks.get(connection, instance_id, task_id)
    if task is not None and task.project_id == project_id:
        return Shown(wire.tag(task), msgspec.json.encode(wire.progress(task)))
    return "DCS.3022" if instances.get(connection, project_id, instance_id) is None else "DCS.4958"


def _task(plane: ControlPlane, who: Principal, instance_id: str, task_id: str) -> Task:
    with plane.database.read() as connection:
        task = tasks.get(connection, instance_id, task_id)
    if task is None or task.project_id != who.project_id:
        raise Refusal("DCS.4958")
    return task


@delete(_TASKS + "/{task_id:str}", status_code=200, opt=needs("dcs:instance:deleteBackgroundTask"))
@in_thread
def delete_background_task(request: Call, plane: Plane, instance_id: PathId, task_id: PathId) -> Response[wire.Deleted]:
    """DeleteBackgroundTask: forgets a task that has ended."""
    plane.delete_task(asked.principal(request), asked.instance_id(instance_id), asked.task_id(task_id))
    return answers.json(wire.Deleted())


@get(_CENTRE, opt=needs("dcs:instance:getBackgroundTask"))
@in_thread
def list_center_task(request: Call, plane: Plane, wanted: Query[wire.ListQuery]) -> Response[wire.TaskList]:
    """ListCenterTask: of all instances of the project, those that are gone among them, newest first."""
    query = wanted.read()
    start, end = asked.period(query)
    project_id = asked.principal(request).project_id
    with plane.database.read() as connection:
        count, page = tasks.page(
            connection, project_id=project_id, offset=query.offset, limit=query.limit, start=start, end=end
        )
    return answers.json(wire.TaskList(str(count), [wire.task_item(task) for task in page]))


@delete(_CENTRE + "/{task_id:str}", status_code=200, opt=needs("dcs:instance:deleteBackgroundTask"))
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
