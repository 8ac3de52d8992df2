"""Instances: create, list, show, resize, delete."""

import sqlalchemy as sa
from litestar import Response, delete, get, post

from cachewright.api import answers, asked
from cachewright.api.routes.parameters import Body, Call, PathId, Plane, in_thread
from cachewright.api.wire import instances as wire
from cachewright.api.wire.instance_bodies import CreateBody, ResizeBody, capacity_mb
from cachewright.api.wishes import create_wish, resize_wish
from cachewright.errors import Refusal
from cachewright.flavors import parse
from cachewright.store import instances, tasks
from cachewright.store.records import Instance, Principal

_INSTANCES = "/v2/{project_id:str}/instances"
_INSTANCE = _INSTANCES + "/{instance_id:str}"
_ALL = 2**31 - 1


@post(_INSTANCES, status_code=200)
@in_thread
def create_instance(request: Call, plane: Plane, body: Body) -> Response[bytes]:
    """CreateInstance."""
    wish = create_wish(asked.body(body, CreateBody))
    created = plane.create_instances(asked.principal(request), wish)
    return answers.json(wire.CreatedList([wire.Created(instance.id, instance.name) for instance in created]))


@get(_INSTANCES)
@in_thread
def list_instances(request: Call, plane: Plane) -> Response[bytes]:
    """ListInstances, newest first; an offset beyond the end is an empty page."""
    query = asked.query(request, wire.InstancesQuery)
    with plane.database.read() as connection:
        count, page = _search(connection, asked.principal(request), query, plane.settings.node_host)
    shown = [wire.listed(instance, plane.used_memory(instance.id), plane.settings) for instance in page]
    return answers.json(wire.InstanceList(count, shown))


@get(_INSTANCE)
@in_thread
def show_instance(request: Call, plane: Plane, instance_id: PathId) -> Response[bytes]:
    """ShowInstance."""
    known = asked.instance_id(instance_id)
    with plane.database.read() as connection:
        instance = _get(connection, asked.principal(request), known)
        nodes = instances.nodes_of(connection, known)
        unfinished = tasks.unfinished_of(connection, known)
    return answers.json(wire.shown(instance, nodes, plane.used_memory(known), plane.settings, unfinished))


@delete(_INSTANCE, status_code=204)
@in_thread
def delete_single_instance(request: Call, plane: Plane, instance_id: PathId) -> Response[None]:
    """DeleteSingleInstance: the deletion is a background task; the instance is gone when ShowInstance says 404."""
    plane.delete_instance(asked.principal(request), asked.instance_id(instance_id))
    return answers.no_content()


@post(_INSTANCE + "/resize", status_code=204)
@in_thread
def resize_instance(request: Call, plane: Plane, instance_id: PathId, body: Body) -> Response[None]:
    """ResizeInstance: the answer names no task; it is the newest in the instance's list."""
    known = asked.instance_id(instance_id)
    who = asked.principal(request)
    with plane.database.read() as connection:
        instance = _get(connection, who, known)
    plane.resize_instance(who, known, resize_wish(asked.body(body, ResizeBody), instance))
    return answers.no_content()


def _get(connection: sa.Connection, who: Principal, instance_id: str) -> Instance:
    instance = instances.get(connection, who.project_id, instance_id)
    if instance is None:
        raise Refusal("DCS.3022")
    return instance


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
