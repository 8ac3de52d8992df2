"""What a resize would do, before it is asked for; and jobs, as the cloud's clients poll them."""

from litestar import Response, get, post

from cachewright import errors
from cachewright.api import requests, responses
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import (
    Body,
    Call,
    PathId,
    Plane,
    in_thread,
    reading,
    run_in_thread,
    while_connected,
)
from cachewright.api.schemas import plans as schemas
from cachewright.api.schemas.instance_bodies import capacity_mb
from cachewright.errors import ApiError
from cachewright.operations.requests import ResizeRequest
from cachewright.operations.resize_check import RESIZE_CHECK
from cachewright.store import tasks

_RESIZE = "/v2/{project_id:str}/instances/{instance_id:str}/resize"


@post(_RESIZE + "/plan", status_code=200, opt=needs("dcs:instance:get"))
@reading
async def plan_resize(
    request: Call, plane: Plane, instance_id: PathId, body: Body[schemas.CheckBody]
) -> Response[schemas.ResizePlan]:
    """An extension: the steps a resize would take now, with slots, keys, bytes and seconds; nothing is touched."""
    known = requests.instance_id(instance_id)
    wish = _wish(body.read())
    instance, task = await run_in_thread(
        request, lambda: plane.tasks.draft_resize(requests.principal(request), known, wish)
    )
    preview = await while_connected(request, plane.tasks.preview_resize(task))
    return responses.json(schemas.resize_plan(instance, wish.spec_code, preview))


@post(_RESIZE + "/check-job", status_code=200, opt=needs("dcs:instance:scale"))
@in_thread
def start_instance_resize_check_job(
    request: Call, plane: Plane, instance_id: PathId, body: Body[schemas.CheckBody]
) -> Response[schemas.JobId]:
    """StartInstanceResizeCheckJob: follow it with ShowJobInfo, or as the background task that it is."""
    known = requests.instance_id(instance_id)
    task = plane.tasks.submit(RESIZE_CHECK, requests.principal(request), known, _wish(body.read()))
    return responses.json(schemas.JobId(task.id))


@post(_RESIZE + "/cancel/{task_id:str}", status_code=200, opt=needs("dcs:instance:controlBackgroundTask"))
@in_thread
def cancel_instance_resize(
    request: Call, plane: Plane, instance_id: PathId, task_id: PathId
) -> Response[schemas.ResizeCancelled]:
    """CancelInstanceResize, which is in the cloud's documents and in no client: ends a resize that waits or runs."""
    known, wanted = requests.instance_id(instance_id), requests.task_id(task_id)
    plane.tasks.cancel_resize(requests.principal(request), known, wanted)
    return responses.json(schemas.ResizeCancelled())


@get("/v2/{project_id:str}/jobs/{job_id:str}", opt=needs("dcs:instance:getBackgroundTask"))
@in_thread
def show_job_info(request: Call, plane: Plane, job_id: PathId) -> Response[schemas.JobInfo]:
    """ShowJobInfo. Every background task is a job with the same id."""
    wanted = requests.task_id(job_id)
    with plane.database.read() as connection:
        task = tasks.of_project(connection, requests.principal(request).project_id, wanted)
    if task is None:
        raise ApiError(errors.TASK_NOT_FOUND)
    return responses.json(schemas.job_info(task))


def _wish(body: schemas.CheckBody) -> ResizeRequest:
    if body.new_capacity is None:
        return ResizeRequest(spec_code=body.spec_code)
    capacity = capacity_mb(body.new_capacity)
    if capacity is None:
        raise requests.refused("new_capacity", "it is not a whole number of MB")
    return ResizeRequest(spec_code=body.spec_code, capacity_mb=capacity)
