"""Previews and checks of resizes, and jobs, which the cloud's clients poll."""

from litestar import Response, get, post

from cachewright.api import requests, responses
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import (
    Body,
    Call,
    InstanceId,
    OnlineMigrations,
    Records,
    Resizes,
    TaskId,
    Tasks,
    endpoint,
    while_connected,
)
from cachewright.api.schemas import plans as schemas
from cachewright.api.schemas.instance_bodies import capacity_mb
from cachewright.operations.requests import ResizeRequest
from cachewright.operations.resize.check import RESIZE_CHECK

_RESIZE = "/v2/{project_id:str}/instances/{instance_id:str}/resize"


@post(_RESIZE + "/plan", status_code=200, opt=needs("dcs:instance:get"))
@endpoint
async def plan_resize(
    request: Call, resizes: Resizes, instance_id: InstanceId, body: Body[schemas.CheckBody]
) -> Response[schemas.ResizePlan]:
    """An extension: previews the steps of a resize with slots, keys, bytes and seconds. Changes nothing."""
    resize = _resize_request(body.read())
    planned = resizes.preview(requests.principal(request), instance_id, resize)
    instance, preview = await while_connected(request, planned)
    return responses.json(schemas.resize_plan(instance, resize.spec_code, preview))


@post(_RESIZE + "/check-job", status_code=200, opt=needs("dcs:instance:scale"))
@endpoint
def start_instance_resize_check_job(
    request: Call, tasks: Tasks, instance_id: InstanceId, body: Body[schemas.CheckBody]
) -> Response[schemas.JobId]:
    """StartInstanceResizeCheckJob: starts a check. Follow it with ShowJobInfo or as a background task."""
    task = tasks.submit(RESIZE_CHECK, requests.principal(request), instance_id, _resize_request(body.read()))
    return responses.json(schemas.JobId(task.id))


@post(_RESIZE + "/cancel/{task_id:str}", status_code=200, opt=needs("dcs:instance:controlBackgroundTask"))
@endpoint
def cancel_instance_resize(
    request: Call, tasks: Tasks, instance_id: InstanceId, task_id: TaskId
) -> Response[schemas.ResizeCancelled]:
    """CancelInstanceResize: cancels a waiting or running resize. The cloud documents it, but its clients lack it."""
    tasks.cancel_resize(requests.principal(request), instance_id, task_id)
    return responses.json(schemas.ResizeCancelled())


@get("/v2/{project_id:str}/jobs/{job_id:str}", opt=needs("dcs:instance:getBackgroundTask"))
@endpoint
def show_job_info(
    request: Call, records: Records, online_migrations: OnlineMigrations, job_id: TaskId
) -> Response[schemas.JobInfo]:
    """ShowJobInfo: the state of a job. Every background task is a job with the same id, and so is the creation of an
    online migration, which is over when it is answered."""
    principal = requests.principal(request)
    if created := online_migrations.find(principal, job_id):
        return responses.json(schemas.ended_job(created.id, "CreateOnlineMigrationTask", created.created_at))
    return responses.json(schemas.job_info(records.find(principal, job_id).task))


def _resize_request(body: schemas.CheckBody) -> ResizeRequest:
    capacity = None if body.new_capacity is None else capacity_mb(body.new_capacity)
    if body.new_capacity is not None and capacity is None:
        raise requests.refused("new_capacity", "it is not a whole number of MB")
    return ResizeRequest(
        spec_code=body.spec_code,
        capacity_mb=capacity,
        mode=body.migration_mode,
        reserved_ip=tuple(body.reserved_ip),
        node_list=tuple(body.node_list),
    )
