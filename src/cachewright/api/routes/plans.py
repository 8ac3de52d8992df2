"""What a resize would do, before it is asked for; and jobs, as the cloud's clients poll them."""

from litestar import Response, get, post

from cachewright.api import answers, asked
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
from cachewright.api.wire import plans as wire
from cachewright.api.wire.instance_bodies import capacity_mb
from cachewright.errors import Refusal
from cachewright.operations.wishes import ResizeWish
from cachewright.store import tasks

_RESIZE = "/v2/{project_id:str}/instances/{instance_id:str}/resize"


@post(_RESIZE + "/plan", status_code=200, opt=needs("dcs:instance:get"))
@reading
async def plan_resize(
    request: Call, plane: Plane, instance_id: PathId, body: Body[wire.CheckBody]
) -> Response[wire.ResizePlan]:
    """An extension: the steps a resize would take now, with slots, keys, bytes and seconds; nothing is touched."""
    known = asked.instance_id(instance_id)
    wish = _wish(body.read())
    instance, task = await run_in_thread(request, lambda: plane.resize_task(asked.principal(request), known, wish))
    preview = await while_connected(request, plane.preview_resize(task))
    return answers.json(wire.resize_plan(instance, wish.spec_code, preview))


@post(_RESIZE + "/check-job", status_code=200, opt=needs("dcs:instance:scale"))
@in_thread
def start_instance_resize_check_job(
    request: Call, plane: Plane, instance_id: PathId, body: Body[wire.CheckBody]
) -> Response[wire.JobId]:
    """StartInstanceResizeCheckJob: follow it with ShowJobInfo, or as the background task that it is."""
    known = asked.instance_id(instance_id)
    task = plane.check_resize(asked.principal(request), known, _wish(body.read()))
    return answers.json(wire.JobId(task.id))


@post(_RESIZE + "/cancel/{task_id:str}", status_code=200, opt=needs("dcs:instance:controlBackgroundTask"))
@in_thread
def cancel_instance_resize(
    request: Call, plane: Plane, instance_id: PathId, task_id: PathId
) -> Response[wire.ResizeCancelled]:
    """CancelInstanceResize, which is in the cloud's documents and in no client: ends a resize that waits or runs."""
    known, wanted = asked.instance_id(instance_id), asked.task_id(task_id)
    plane.cancel_resize(asked.principal(request), known, wanted)
    return answers.json(wire.ResizeCancelled())


@get("/v2/{project_id:str}/jobs/{job_id:str}", opt=needs("dcs:instance:getBackgroundTask"))
@in_thread
def show_job_info(request: Call, plane: Plane, job_id: PathId) -> Response[wire.JobInfo]:
    """ShowJobInfo. Every background task is a job with the same id."""
    wanted = asked.task_id(job_id)
    with plane.database.read() as connection:
        task = tasks.of_project(connection, asked.principal(request).project_id, wanted)
    if task is None:
        raise Refusal("DCS.4958")
    return answers.json(wire.job_info(task))


def _wish(body: wire.CheckBody) -> ResizeWish:
    if body.new_capacity is None:
        return ResizeWish(spec_code=body.spec_code)
    capacity = capacity_mb(body.new_capacity)
    if capacity is None:
        raise asked.refused("new_capacity", "it is not a whole number of MB")
    return ResizeWish(spec_code=body.spec_code, capacity_mb=capacity)
