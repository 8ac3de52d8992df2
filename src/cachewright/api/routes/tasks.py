"""Background tasks: of one instance, and of the whole project in the task centre."""

import msgspec
import sqlalchemy as sa
from litestar import Response, delete, get

from cachewright import errors
from cachewright.api import event_streams, requests, responses
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
from cachewright.api.schemas import tasks as schemas
from cachewright.errors import ApiError
from cachewright.model.identity import Principal
from cachewright.model.tasks import Task
from cachewright.services.instances import InstanceService
from cachewright.services.task_center import forget_task
from cachewright.store import instances, tasks

_TASKS = "/v2/{project_id:str}/instances/{instance_id:str}/tasks"
_CENTRE = "/v2/{project_id:str}/tasks"


@get(_TASKS, opt=needs("dcs:instance:getBackgroundTask"))
@in_thread
def list_background_task(
    request: Call, plane: Plane, instance_id: PathId, wanted: Query[schemas.ListQuery]
) -> Response[schemas.TaskList]:
    """ListBackgroundTask: newest first; an offset beyond the end is an empty page."""
    known = requests.instance_id(instance_id)
    query = wanted.read()
    start, end = requests.period(query)
    with plane.database.read() as connection:
        instance_of(connection, request, known)
        count, page = tasks.page(
            connection, instance_id=known, offset=query.offset, limit=query.limit, start=start, end=end
        )
    return responses.json(schemas.TaskList(str(count), [schemas.task_item(task) for task in page]))


@get(_TASKS + "/{task_id:str}/progress", opt=needs("dcs:instance:getBackgroundTask"))
async def show_background_task_progress(
    request: Call,
    plane: Plane,
    *,
    authenticator: Authentication,
    streams: Streams,
    instance_id: PathId,
    task_id: PathId,
) -> Response[schemas.Progress]:
    """ShowBackgroundTaskProgress: percent, seconds left, and every step and sub-step.

    Two extensions: with `Accept: text/event-stream`, every change until the task has ended (event `end`) or the caller
    may not read it any longer (event `refused`); with the `ETag` of an earlier answer in `If-None-Match`, 304 and no
    body where nothing has changed.
    """
    who, known, wanted = requests.principal(request), requests.instance_id(instance_id), requests.task_id(task_id)
    shown = await plane.kept.ask(shown_progress, who.project_id, known, wanted)
    if isinstance(shown, str):
        raise ApiError(shown)
    if event_streams.wanted(requests.header(request.scope, b"accept")):
        streams.open(request.scope, who.user_id)
        return event_streams.stream(
            plane.feed, wanted, lambda: _task(plane, who, known, wanted), rights_check(authenticator, request)
        )
    if requests.header(request.scope, b"if-none-match") == shown.tag:
        return responses.not_modified(shown.tag)
    answer = responses.ready(shown.progress, schemas.Progress)
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
        return Shown(schemas.tag(task), msgspec.json.encode(schemas.progress(task)))
    return (
        errors.INSTANCE_NOT_FOUND
        if instances.get(connection, project_id, instance_id) is None
        else errors.TASK_NOT_FOUND
    )


def _task(plane: InstanceService, who: Principal, instance_id: str, task_id: str) -> Task:
    with plane.database.read() as connection:
        task = tasks.get(connection, instance_id, task_id)
    if task is None or task.project_id != who.project_id:
        raise ApiError(errors.TASK_NOT_FOUND)
    return task


@delete(_TASKS + "/{task_id:str}", status_code=200, opt=needs("dcs:instance:deleteBackgroundTask"))
@in_thread
def delete_background_task(
    request: Call, plane: Plane, instance_id: PathId, task_id: PathId
) -> Response[schemas.Deleted]:
    """DeleteBackgroundTask: forgets a task that has ended."""
    plane.tasks.delete(requests.principal(request), requests.instance_id(instance_id), requests.task_id(task_id))
    return responses.json(schemas.Deleted())


@get(_CENTRE, opt=needs("dcs:instance:getBackgroundTask"))
@in_thread
def list_center_task(request: Call, plane: Plane, wanted: Query[schemas.ListQuery]) -> Response[schemas.TaskList]:
    """ListCenterTask: of all instances of the project, those that are gone among them, newest first."""
    query = wanted.read()
    start, end = requests.period(query)
    project_id = requests.principal(request).project_id
    with plane.database.read() as connection:
        count, page = tasks.page(
            connection, project_id=project_id, offset=query.offset, limit=query.limit, start=start, end=end
        )
    return responses.json(schemas.TaskList(str(count), [schemas.task_item(task) for task in page]))


@delete(_CENTRE + "/{task_id:str}", status_code=200, opt=needs("dcs:instance:deleteBackgroundTask"))
@in_thread
def delete_center_task(
    request: Call, plane: Plane, task_id: PathId, body: OptionalBody[schemas.DeleteCenterBody]
) -> Response[schemas.Deleted]:
    """DeleteCenterTask: forgets a task that has ended, also one whose instance is gone. The body may be left out."""
    wanted = requests.task_id(task_id)
    if body.given:
        body.read()
    forget_task(plane.database, requests.principal(request), wanted)
    return responses.json(schemas.Deleted())
