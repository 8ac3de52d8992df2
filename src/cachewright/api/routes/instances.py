"""Instances: create, list, show, change, resize, delete."""

from collections.abc import Callable, Sequence

import sqlalchemy as sa
from litestar import Response, delete, get, post, put

from cachewright.api import answers, asked
from cachewright.api.auth.guard import name_subjects
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import Body, Call, OptionalBody, PathId, Plane, Query, in_thread, instance_of
from cachewright.api.wire import instance_changes as changes
from cachewright.api.wire import instances as wire
from cachewright.api.wire.instance_bodies import CreateBody, ResizeBody, capacity_mb
from cachewright.api.wishes import amendment, create_wish, resize_wish
from cachewright.errors import Refusal
from cachewright.flavors import parse
from cachewright.operations.amend import amend
from cachewright.store import instances, tasks
from cachewright.store.records import Instance, Principal, Task

_INSTANCES = "/v2/{project_id:str}/instances"
_INSTANCE = _INSTANCES + "/{instance_id:str}"
_ALL = 2**31 - 1


@post(_INSTANCES, status_code=200, opt=needs("dcs:instance:create"))
@in_thread
def create_instance(request: Call, plane: Plane, body: Body[CreateBody]) -> Response[wire.CreatedList]:
    """CreateInstance."""
    created = plane.create_instances(asked.principal(request), create_wish(body.read()))
    name_subjects(request, [instance.id for instance in created])
    return answers.json(wire.CreatedList([wire.Created(instance.id, instance.name) for instance in created]))


@get(_INSTANCES, opt=needs("dcs:instance:list"))
@in_thread
def list_instances(request: Call, plane: Plane, wanted: Query[wire.InstancesQuery]) -> Response[wire.InstanceList]:
    """ListInstances, newest first; an offset beyond the end is an empty page."""
    query = wanted.read()
    with plane.database.read() as connection:
        count, page = _search(connection, asked.principal(request), query, plane.settings.node_host)
    shown = [wire.listed(instance, plane.vitals.used_memory(instance.id), plane.settings) for instance in page]
    return answers.json(wire.InstanceList(count, shown))


@delete(_INSTANCES, status_code=200, opt=needs("dcs:instance:delete"))
@in_thread
def batch_delete_instances(
    request: Call, plane: Plane, wanted: Query[changes.BatchDeleteQuery], body: OptionalBody[changes.BatchDeleteBody]
) -> Response[changes.BatchResults]:
    """BatchDeleteInstances: those that are named, and with `all_failure` those that could not be created."""
    all_failure = wanted.read().all_failure.lower() == "true"
    named = body.read().instances if body.given or not all_failure else []
    ids = _named(named) if named or not all_failure else []
    who = asked.principal(request)
    if all_failure:
        with plane.database.read() as connection:
            _, failed = instances.search(connection, who.project_id, offset=0, limit=_ALL, status="CREATEFAILED")
        ids += [instance.id for instance in failed]
    name_subjects(request, ids)
    return answers.json(
        changes.BatchResults([_tried(plane.delete_instance, who, known) for known in dict.fromkeys(ids)])
    )


@get(_INSTANCE, opt=needs("dcs:instance:get"))
@in_thread
def show_instance(request: Call, plane: Plane, instance_id: PathId) -> Response[wire.ShownInstance]:
    """ShowInstance."""
    with plane.database.read() as connection:
        instance = instance_of(connection, request, instance_id)
        nodes = instances.nodes_of(connection, instance.id)
        unfinished = tasks.unfinished_of(connection, instance.id)
    return answers.json(wire.shown(instance, nodes, plane.vitals.used_memory(instance.id), plane.settings, unfinished))


@put(_INSTANCE, status_code=204, opt=needs("dcs:instance:modify"))
@in_thread
def update_instance(request: Call, plane: Plane, instance_id: PathId, body: Body[changes.UpdateBody]) -> Response[None]:
    """UpdateInstance: name, description, maintenance window and security group, as they are read back."""
    known = asked.instance_id(instance_id)
    with plane.database.read() as connection:
        instance_of(connection, request, known)
    wished = body.read()
    amend(plane.database, asked.principal(request), known, lambda instance: amendment(wished, instance))
    return answers.no_content()


@delete(_INSTANCE, status_code=204, opt=needs("dcs:instance:delete"))
@in_thread
def delete_single_instance(request: Call, plane: Plane, instance_id: PathId) -> Response[None]:
    """DeleteSingleInstance: the deletion is a background task; the instance is gone when ShowInstance says 404."""
    plane.delete_instance(asked.principal(request), asked.instance_id(instance_id))
    return answers.no_content()


@post(_INSTANCE + "/resize", status_code=204, opt=needs("dcs:instance:scale"))
@in_thread
def resize_instance(request: Call, plane: Plane, instance_id: PathId, body: Body[ResizeBody]) -> Response[None]:
    """ResizeInstance: the answer names no task; it is the newest in the instance's list."""
    with plane.database.read() as connection:
        instance = instance_of(connection, request, instance_id)
    plane.resize_instance(asked.principal(request), instance.id, resize_wish(body.read(), instance))
    return answers.no_content()


@put(_INSTANCES + "/status", status_code=200, opt=needs("dcs:instance:modifyStatus"))
@in_thread
def restart_or_flush_instances(
    request: Call, plane: Plane, body: Body[changes.StatusBody]
) -> Response[changes.BatchResults]:
    """RestartOrFlushInstances: restarts, node after node. Flushing is not served."""
    ids = _named(body.read().instances)
    who = asked.principal(request)
    name_subjects(request, ids)
    return answers.json(changes.BatchResults([_tried(plane.restart_instance, who, known) for known in ids]))


def _named(texts: Sequence[str]) -> list[str]:
    """Each id once. Refusal DCS.4065, DCS.4100 or DCS.4061."""
    if not texts:
        raise asked.refused("instances", "none is named")
    if len(texts) > changes.MOST_IDS:
        raise Refusal("DCS.4100")
    return list(dict.fromkeys(asked.instance_id(text) for text in texts))


def _tried(act: Callable[[Principal, str], Task], who: Principal, instance_id: str) -> changes.BatchResult:
    try:
        act(who, instance_id)
    except Refusal:
        return changes.BatchResult("failed", instance_id)
    return changes.BatchResult("success", instance_id)


def _search(
    connection: sa.Connection, who: Principal, query: wire.InstancesQuery, node_host: str
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
        instance_id=asked.instance_id(query.instance_id) if query.instance_id else None,
        name=query.name if flag in {"", "true", "false"} else query.name_equal,
        name_equal=flag not in {"", "false"},
        status=query.status,
        include_failure=query.include_failure.lower() == "true",
    )
    if not by_row:
        return count, found
    fitting = [instance for instance in found if _fits(instance, query)]
    return len(fitting), fitting[query.offset : query.offset + query.limit]


def _fits(instance: Instance, query: wire.InstancesQuery) -> bool:
    tags = {f"{tag['key']}.{tag['value']}" for tag in instance.attributes.get("tags", [])}
    if not set(filter(None, query.tags.split(","))) <= tags:
        return False
    return query.capacity is None or capacity_mb(query.capacity) == parse(instance.spec_code).capacity_mb
