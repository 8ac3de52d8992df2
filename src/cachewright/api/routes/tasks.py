"""Background tasks of an instance, and of the whole project in the task center."""

from functools import partial

from litestar import Response, delete, get

from cachewright.api import event_streams, requests, responses
from cachewright.api.auth.permissions import needs
from cachewright.api.auth.rights import rights_check
from cachewright.api.progress import render, respond
from cachewright.api.routes.parameters import (
    Authentication,
    Call,
    Feed,
    InstanceId,
    OptionalBody,
    Query,
    Records,
    Streams,
    TaskId,
    endpoint,
)
from cachewright.api.schemas import tasks as schemas
from cachewright.services.task_records import Period

_TASKS = "/v2/{project_id:str}/instances/{instance_id:str}/tasks"
_CENTRE = "/v2/{project_id:str}/tasks"


@get(_TASKS, opt=needs("dcs:instance:getBackgroundTask"))
@endpoint
def list_background_task(
    request: Call, records: Records, instance_id: InstanceId, wanted: Query[schemas.ListQuery]
) -> Response[schemas.TaskList]:
    """ListBackgroundTask: newest first. An offset beyond the end returns an empty page."""
    query = wanted.read()
    count, page = records.page_of_instance(
        requests.principal(request),
        instance_id,
        Period(*requests.period(query)),
        offset=query.offset,
        limit=query.limit,
    )
    return responses.json(schemas.TaskList(str(count), [schemas.task_item(task) for task in page]))


@get(_TASKS + "/{task_id:str}/progress", opt=needs("dcs:instance:getBackgroundTask"))
@endpoint
async def show_background_task_progress(
    request: Call,
    records: Records,
    feed: Feed,
    *,
    authenticator: Authentication,
    streams: Streams,
    instance_id: InstanceId,
    task_id: TaskId,
) -> Response[schemas.Progress]:
    """ShowBackgroundTaskProgress: percentage, remaining seconds, and all steps and sub-steps.

    Two extensions: With `Accept: text/event-stream`, sends every change until the task ends (event `end`) or the caller
    may no longer read it (event `refused`). Its events also have `heartbeat`, `waiting`, `remain_seconds`, `remain_low`
    and `remain_high` of the task's record. With the `ETag` of an earlier response in `If-None-Match`, returns 304
    without a body if nothing has changed.
    """
    principal = requests.principal(request)
    rendered = await records.cached(principal.project_id, instance_id, task_id, render)
    if event_streams.wanted(requests.header(request.scope, b"accept")):
        streams.open(request.scope, principal.user_id)
        current = partial(records.current, principal, instance_id, task_id)
        return event_streams.stream(feed, task_id, current, rights_check(authenticator, request))
    response = respond(rendered, requests.header(request.scope, b"if-none-match"))
    if not response.body:
        return responses.not_modified(response.etag)
    return responses.ready(response.body, schemas.Progress, {"etag": response.etag})


@delete(_TASKS + "/{task_id:str}", status_code=200, opt=needs("dcs:instance:deleteBackgroundTask"))
@endpoint
def delete_background_task(
    request: Call, records: Records, instance_id: InstanceId, task_id: TaskId
) -> Response[schemas.Deleted]:
    """DeleteBackgroundTask: deletes the record of an ended task."""
    records.delete(requests.principal(request), task_id, instance_id)
    return responses.json(schemas.Deleted())


@get(_CENTRE, opt=needs("dcs:instance:getBackgroundTask"))
@endpoint
def list_center_task(request: Call, records: Records, wanted: Query[schemas.ListQuery]) -> Response[schemas.TaskList]:
    """ListCenterTask: tasks of all instances of the project, including deleted instances, newest first."""
    query = wanted.read()
    count, page = records.page_of_project(
        requests.principal(request), Period(*requests.period(query)), offset=query.offset, limit=query.limit
    )
    return responses.json(schemas.TaskList(str(count), [schemas.task_item(task) for task in page]))


@delete(_CENTRE + "/{task_id:str}", status_code=200, opt=needs("dcs:instance:deleteBackgroundTask"))
@endpoint
def delete_center_task(
    request: Call, records: Records, task_id: TaskId, body: OptionalBody[schemas.DeleteCenterBody]
) -> Response[schemas.Deleted]:
    """DeleteCenterTask: deletes the record of an ended task, also of a deleted instance. The body is optional."""
    if body.given:
        body.read()
    records.delete(requests.principal(request), task_id)
    return responses.json(schemas.Deleted())
