"""Instances: create, list, show, change, resize, delete."""

from collections.abc import Sequence

import sqlalchemy as sa
from litestar import Response, delete, get, post, put

from cachewright import errors
from cachewright.api import requests, responses
from cachewright.api.auth.authorization import name_subjects
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import Body, Call, OptionalBody, PathId, Plane, Query, in_thread, instance_of
from cachewright.api.schemas import instance_changes as changes
from cachewright.api.schemas import instances as schemas
from cachewright.api.schemas.instance_bodies import CreateBody, ResizeBody, capacity_mb
from cachewright.api.validation import attribute_change, create_request, resize_request
from cachewright.errors import ApiError
from cachewright.flavors import parse
from cachewright.model.identity import Principal
from cachewright.model.instances import Instance
from cachewright.operations.delete import DELETE
from cachewright.operations.operation import NoParams, Operation
from cachewright.operations.resize import RESIZE
from cachewright.operations.restart import RESTART
from cachewright.services.instance_attributes import change_attributes
from cachewright.services.tasks import TaskService
from cachewright.store import instances, tasks

_INSTANCES = "/v2/{project_id:str}/instances"
_INSTANCE = _INSTANCES + "/{instance_id:str}"
_ALL = 2**31 - 1


@post(_INSTANCES, status_code=200, opt=needs("dcs:instance:create"))
@in_thread
def create_instance(request: Call, plane: Plane, body: Body[CreateBody]) -> Response[schemas.CreatedList]:
    """CreateInstance."""
    created = plane.create_instances(requests.principal(request), create_request(body.read()))
    name_subjects(request, [instance.id for instance in created])
    return responses.json(schemas.CreatedList([schemas.Created(instance.id, instance.name) for instance in created]))


@get(_INSTANCES, opt=needs("dcs:instance:list"))
@in_thread
def list_instances(
    request: Call, plane: Plane, wanted: Query[schemas.InstancesQuery]
) -> Response[schemas.InstanceList]:
    """ListInstances, newest first; an offset beyond the end is an empty page."""
    query = wanted.read()
    with plane.database.read() as connection:
        count, page = _search(connection, requests.principal(request), query, plane.settings.node_host)
    shown = [schemas.listed(instance, plane.statistics.used_memory(instance.id), plane.settings) for instance in page]
    return responses.json(schemas.InstanceList(count, shown))


@delete(_INSTANCES, status_code=200, opt=needs("dcs:instance:delete"))
@in_thread
def batch_delete_instances(
    request: Call, plane: Plane, wanted: Query[changes.BatchDeleteQuery], body: OptionalBody[changes.BatchDeleteBody]
) -> Response[changes.BatchResults]:
    """BatchDeleteInstances: those that are named, and with `all_failure` those that could not be created."""
    all_failure = wanted.read().all_failure.lower() == "true"
    named = body.read().instances if body.given or not all_failure else []
    ids = _named(named) if named or not all_failure else []
    who = requests.principal(request)
    if all_failure:
        with plane.database.read() as connection:
            _, failed = instances.search(connection, who.project_id, offset=0, limit=_ALL, status="CREATEFAILED")
        ids += [instance.id for instance in failed]
    name_subjects(request, ids)
    return responses.json(
        changes.BatchResults([_tried(plane.tasks, DELETE, who, known) for known in dict.fromkeys(ids)])
    )


@get(_INSTANCE, opt=needs("dcs:instance:get"))
@in_thread
def show_instance(request: Call, plane: Plane, instance_id: PathId) -> Response[schemas.ShownInstance]:
    """ShowInstance."""
    with plane.database.read() as connection:
        instance = instance_of(connection, request, instance_id)
        nodes = instances.nodes_of(connection, instance.id)
        unfinished = tasks.unfinished_of(connection, instance.id)
    return responses.json(
        schemas.shown(instance, nodes, plane.statistics.used_memory(instance.id), plane.settings, unfinished)
    )


@put(_INSTANCE, status_code=204, opt=needs("dcs:instance:modify"))
@in_thread
def update_instance(request: Call, plane: Plane, instance_id: PathId, body: Body[changes.UpdateBody]) -> Response[None]:
    """UpdateInstance: name, description, maintenance window and security group, as they are read back."""
    known = requests.instance_id(instance_id)
    with plane.database.read() as connection:
        instance_of(connection, request, known)
    wished = body.read()
    change_attributes(
        plane.database, requests.principal(request), known, lambda instance: attribute_change(wished, instance)
    )
    return responses.no_content()


@delete(_INSTANCE, status_code=204, opt=needs("dcs:instance:delete"))
@in_thread
def delete_single_instance(request: Call, plane: Plane, instance_id: PathId) -> Response[None]:
    """DeleteSingleInstance: the deletion is a background task; the instance is gone when ShowInstance says 404."""
    plane.tasks.submit(DELETE, requests.principal(request), requests.instance_id(instance_id), None)
    return responses.no_content()


@post(_INSTANCE + "/resize", status_code=204, opt=needs("dcs:instance:scale"))
@in_thread
def resize_instance(request: Call, plane: Plane, instance_id: PathId, body: Body[ResizeBody]) -> Response[None]:
    """ResizeInstance: the answer names no task; it is the newest in the instance's list."""
    with plane.database.read() as connection:
        instance = instance_of(connection, request, instance_id)
    plane.tasks.submit(RESIZE, requests.principal(request), instance.id, resize_request(body.read(), instance))
    return responses.no_content()


@put(_INSTANCES + "/status", status_code=200, opt=needs("dcs:instance:modifyStatus"))
@in_thread
def restart_or_flush_instances(
    request: Call, plane: Plane, body: Body[changes.StatusBody]
) -> Response[changes.BatchResults]:
    """RestartOrFlushInstances: restarts, node after node. Flushing is not served."""
    ids = _named(body.read().instances)
    who = requests.principal(request)
    name_subjects(request, ids)
    return responses.json(changes.BatchResults([_tried(plane.tasks, RESTART, who, known) for known in ids]))


def _named(texts: Sequence[str]) -> list[str]:
    """Each id once. ApiError DCS.4065, DCS.4100 or DCS.4061."""
    if not texts:
        raise requests.refused("instances", "none is named")
    if len(texts) > changes.MOST_IDS:
        raise ApiError(errors.TOO_MANY_INSTANCES)
    return list(dict.fromkeys(requests.instance_id(text) for text in texts))


def _tried(
    service: TaskService, operation: Operation[None, NoParams], who: Principal, instance_id: str
) -> changes.BatchResult:
    try:
        service.submit(operation, who, instance_id, None)
    except ApiError:
        return changes.BatchResult("failed", instance_id)
    return changes.BatchResult("success", instance_id)


def _search(
    connection: sa.Connection, who: Principal, query: schemas.InstancesQuery, node_host: str
) -> tuple[int, list[Instance]]:
    """Tags and capacity are no columns: where they are asked for, the page is cut after they have been looked at."""
    if query.ip not in {None, node_host}:
        return 0, []
    flag = query.name_equal.lower()
    by_row = bool(query.tags) or query.capacity is not None
    count, found = instances.search(
        connection,
        who.project_id,
        offset=0 if by_row else query.offset,
        limit=_ALL if by_row else query.limit,
        instance_id=requests.instance_id(query.instance_id) if query.instance_id else None,
        name=query.name if flag in {"", "true", "false"} else query.name_equal,
        name_equal=flag not in {"", "false"},
        status=query.status,
        include_failure=query.include_failure.lower() == "true",
    )
    if not by_row:
        return count, found
    fitting = [instance for instance in found if _fits(instance, query)]
    return len(fitting), fitting[query.offset : query.offset + query.limit]


def _fits(instance: Instance, query: schemas.InstancesQuery) -> bool:
    tags = {f"{tag['key']}.{tag['value']}" for tag in instance.attributes.get("tags", [])}
    if not set(filter(None, query.tags.split(","))) <= tags:
        return False
    return query.capacity is None or capacity_mb(query.capacity) == parse(instance.spec_code).capacity_mb
