"""Versions of valkey-server: ShowInstanceVersion, UpgradeInstanceMinorVersion."""

from litestar import Response, get, post

from cachewright.api import requests, responses
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import Body, Call, InstanceId, Versions, endpoint, while_connected
from cachewright.api.schemas import server_versions as schemas

_INSTANCE = "/v2/{project_id:str}/instances/{instance_id:str}"


@get(_INSTANCE + "/version", opt=needs("dcs:instance:get"))
@endpoint
async def show_instance_version(
    request: Call, versions: Versions, instance_id: InstanceId
) -> Response[schemas.ShownVersion]:
    """ShowInstanceVersion: the versions that the nodes run, and the newest one that they can be upgraded to."""
    found = await while_connected(request, versions.of_instance(requests.principal(request), instance_id))
    return responses.json(schemas.shown_version(found))


@post(_INSTANCE + "/minor-version/upgrade", status_code=200, opt=needs("dcs:instance:modify"))
@endpoint
async def upgrade_instance_minor_version(
    request: Call, versions: Versions, instance_id: InstanceId, body: Body[schemas.UpgradeBody]
) -> Response[schemas.TaskId]:
    """UpgradeInstanceMinorVersion: starts a background task that restarts each node with the new version. With
    `execute_immediately: false` the task waits for the maintenance window."""
    wanted = body.read()
    if wanted.proxy_minor_version is not None:
        raise requests.refused("proxy_minor_version", "the instance has no proxy of this kind")
    if wanted.engine_minor_version is None:
        raise requests.refused("engine_minor_version", "it is missing")
    task = await versions.upgrade(
        requests.principal(request),
        instance_id,
        wanted.engine_minor_version,
        in_window=not wanted.execute_immediately,
    )
    return responses.json(schemas.TaskId(task.id))
