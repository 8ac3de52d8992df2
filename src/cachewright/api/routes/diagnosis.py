"""Slow logs, and connections of clients."""

import asyncio

from litestar import Response, get, post

from cachewright import errors
from cachewright.api import requests, responses
from cachewright.api.auth.authorization import name_subjects
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import Body, Call, Diagnosis, InstanceId, Query, endpoint, while_connected
from cachewright.api.schemas import diagnosis as schemas
from cachewright.api.schemas.plans import JobId
from cachewright.clock import now_ms
from cachewright.errors import ApiError

_INSTANCE = "/v2/{project_id:str}/instances/{instance_id:str}"
_READ, _CLOSE = needs("dcs:instance:diagnose"), needs("dcs:instance:closeClients")


@get(_INSTANCE + "/slowlog", opt=_READ)
@endpoint
async def list_slowlog(
    request: Call, diagnosis: Diagnosis, instance_id: InstanceId, wanted: Query[schemas.SlowLogQuery]
) -> Response[schemas.SlowLogList]:
    """ListSlowlog: slow commands of all nodes in a period, which the nodes still have."""
    query = wanted.read()
    if query.end_time < query.start_time:
        raise ApiError(errors.INVALID_TIME_RANGE)
    found = await while_connected(request, diagnosis.slow_logs(requests.principal(request), instance_id))
    return responses.json(schemas.slow_log_list(found, query))


@get(_INSTANCE + "/clients", opt=_READ)
@endpoint
async def list_clients(
    request: Call, diagnosis: Diagnosis, instance_id: InstanceId, wanted: Query[schemas.ClientsQuery]
) -> Response[schemas.ClientList]:
    """ListClients: present connections of clients of a node, without those of the control plane."""
    query = wanted.read()
    rows = await while_connected(request, diagnosis.clients(requests.principal(request), instance_id, query.node_id))
    return responses.json(await asyncio.to_thread(schemas.client_list, rows, query, now_ms()))


@post(_INSTANCE + "/clients", status_code=200, opt=_READ)
@endpoint
async def scan_clients(
    request: Call, diagnosis: Diagnosis, instance_id: InstanceId, body: Body[schemas.ScanBody]
) -> Response[schemas.Nothing]:
    """ScanClients: checks that the node lists its connections. ListClients always shows the present ones."""
    node_id = body.read().node_id
    await while_connected(request, diagnosis.clients(requests.principal(request), instance_id, node_id))
    return responses.json(schemas.Nothing())


@post(_INSTANCE + "/clients/kill", status_code=204, opt=_CLOSE)
@endpoint
async def hang_up_clients(
    request: Call, diagnosis: Diagnosis, instance_id: InstanceId, body: Body[schemas.CloseBody]
) -> Response[None]:
    """HangUpClients: closes the connections of these clients. One that is not connected is not an error."""
    wanted = body.read()
    name_subjects(request, [*filter(None, [wanted.node_id]), *wanted.client_addrs])
    principal = requests.principal(request)
    await diagnosis.close(principal, instance_id, wanted.node_id or None, set(wanted.client_addrs))
    return responses.no_content()


@post(_INSTANCE + "/clients/kill-all", status_code=200, opt=_CLOSE)
@endpoint
async def hang_up_kill_all_clients(
    request: Call, diagnosis: Diagnosis, instance_id: InstanceId, body: Body[schemas.CloseAllBody]
) -> Response[JobId]:
    """HangUpKillAllClients: starts a task that closes all connections of clients of a node, or of all nodes."""
    wanted = body.read()
    if not wanted.node_id and not wanted.kill_all_nodes:
        raise requests.refused("node_id", "it is missing, and kill_all_nodes is not true")
    name_subjects(request, filter(None, [wanted.node_id]))
    node_id = None if wanted.kill_all_nodes else wanted.node_id
    task = await diagnosis.close_all(requests.principal(request), instance_id, node_id)
    return responses.json(JobId(task.id))
