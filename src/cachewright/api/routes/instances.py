"""Instances: create, list, show, resize, delete."""

import asyncio
import re
from typing import Any

import msgspec
from litestar import Request, Response, delete, get, post

from cachewright import flavors
from cachewright.api import answers, asked
from cachewright.api.wire import instances as wire
from cachewright.errors import Refusal
from cachewright.flavors import Flavor
from cachewright.operations.plane import ControlPlane
from cachewright.operations.wishes import CreateWish, ResizeWish
from cachewright.store import instances, tasks
from cachewright.store.records import Instance

_INSTANCES = "/v2/{project_id:str}/instances"
_INSTANCE = _INSTANCES + "/{instance_id:str}"
_PASSWORD_CLASSES = (r"[a-z]", r"[A-Z]", r"[0-9]", r"[^a-zA-Z0-9]")
_NOT_SERVED: dict[str, Any] = {
    "enable_publicip": False,
    "publicip_id": None,
    "private_ip": None,
    "access_user": None,
    "template_id": None,
    "rename_commands": {},
    "instance_backup_policy": {},
}
"""Fields of CreateInstance whose wish cannot be granted yet, and what leaves it unwished."""

_REPLAYED = (
    "description",
    "vpc_id",
    "subnet_id",
    "security_group_id",
    "enterprise_project_id",
    "az_codes",
    "maintain_begin",
    "maintain_end",
    "port",
)
_CHANGE_TYPES = {"", "createReplication", "deleteReplication", "addSharding", "instanceType"}


@post(_INSTANCES, status_code=200)
async def create_instance(request: Request[Any, Any, Any], plane: ControlPlane) -> Response[bytes]:
    """CreateInstance."""
    wish = _create_wish(await asked.body(request, wire.CreateBody))
    created = await asyncio.to_thread(plane.create_instances, asked.principal(request), wish)
    return answers.json(wire.CreatedList([wire.Created(instance.id, instance.name) for instance in created]))


@get(_INSTANCES)
async def list_instances(request: Request[Any, Any, Any], plane: ControlPlane) -> Response[bytes]:
    """ListInstances, newest first."""
    query = asked.query(request, wire.InstancesQuery)
    who = asked.principal(request)

    def read() -> tuple[int, list[Instance]]:
        with plane.database.read() as connection:
            return instances.search(
                connection,
                who.project_id,
                offset=query.offset,
                limit=query.limit,
                instance_id=query.instance_id,
                name=query.name,
                name_equal=query.name_equal,
                status=query.status,
                include_failure=query.include_failure,
            )

    if query.tags or (query.ip and query.ip != plane.settings.node_host):
        return answers.json(wire.InstanceList(0, []))
    count, page = await asyncio.to_thread(read)
    shown = [wire.listed(instance, plane.used_memory(instance.id), plane.settings) for instance in page]
    return answers.json(wire.InstanceList(count, shown))


@get(_INSTANCE)
async def show_instance(request: Request[Any, Any, Any], plane: ControlPlane, instance_id: str) -> Response[bytes]:
    """ShowInstance."""
    known = asked.instance_id(instance_id)

    def read() -> wire.ShownInstance:
        with plane.database.read() as connection:
            instance = instances.get(connection, asked.principal(request).project_id, known)
            if instance is None:
                raise Refusal("DCS.3022")
            unfinished = tasks.unfinished_of(connection, known)
        return wire.shown(instance, plane.used_memory(known), plane.settings, unfinished)

    return answers.json(await asyncio.to_thread(read))


@delete(_INSTANCE, status_code=204)
async def delete_single_instance(
    request: Request[Any, Any, Any], plane: ControlPlane, instance_id: str
) -> Response[None]:
    """DeleteSingleInstance: the deletion is a background task; the instance is gone when ShowInstance says 404."""
    known = asked.instance_id(instance_id)
    await asyncio.to_thread(plane.delete_instance, asked.principal(request), known)
    return answers.no_content()


@post(_INSTANCE + "/resize", status_code=204)
async def resize_instance(request: Request[Any, Any, Any], plane: ControlPlane, instance_id: str) -> Response[None]:
    """ResizeInstance: the answer names no task; it is the newest in the instance's list."""
    known = asked.instance_id(instance_id)
    who = asked.principal(request)
    await asyncio.to_thread(_require_instance, plane, who.project_id, known)
    body = await asked.body(request, wire.ResizeBody)
    if body.change_type not in _CHANGE_TYPES:
        raise asked.refused("change_type", f"it is not one of {sorted(_CHANGE_TYPES - {''})}")
    for field in ("reserved_ip", "node_list"):
        if getattr(body, field):
            raise asked.refused(field, "which nodes leave cannot be chosen")
    if not body.execute_immediately:
        raise asked.refused("execute_immediately", "a resize cannot wait for a maintenance window")
    capacity = wire.capacity_mb(body.new_capacity)
    if capacity is None:
        raise asked.refused("new_capacity", "it is not a whole number of MB")
    await asyncio.to_thread(
        plane.resize_instance, who, known, ResizeWish(spec_code=body.spec_code, capacity_mb=capacity)
    )
    return answers.no_content()


def _require_instance(plane: ControlPlane, project_id: str, instance_id: str) -> None:
    with plane.database.read() as connection:
        if instances.get(connection, project_id, instance_id) is None:
            raise Refusal("DCS.3022")


def _create_wish(body: wire.CreateBody) -> CreateWish:
    flavor = _flavor(body)
    if body.engine.lower() != "redis":
        raise Refusal("DCS.4006", reason=f"engine: {body.engine} is not Redis")
    version = body.engine_version or flavors.DEFAULT_ENGINE_VERSION
    if version not in flavors.ENGINE_VERSIONS:
        raise Refusal("DCS.4008", reason=f"engine_version: {version} is not one of {flavors.ENGINE_VERSIONS}")
    if len(body.description) > 1024:
        raise Refusal("DCS.4011")
    if (body.maintain_begin is None) != (body.maintain_end is None):
        raise Refusal("DCS.4106", reason="maintain_begin and maintain_end go together")
    if body.enable_ssl:
        raise Refusal("DCS.4202")
    if body.bss_param.charging_mode != "postPaid":
        raise asked.refused("bss_param.charging_mode", "only postPaid is served")
    for field, unwished in _NOT_SERVED.items():
        if getattr(body, field) not in (unwished, ""):
            raise asked.refused(field, "this is not served")
    if body.instance_num > 1 and (len(body.name) > 56 or body.port is not None):
        raise asked.refused("instance_num", "several instances need a name of at most 56 characters and no port")
    attributes: dict[str, Any] = {field: getattr(body, field) for field in _REPLAYED}
    attributes["tags"] = msgspec.to_builtins(body.tags)
    return CreateWish(
        names=_names(body),
        flavor=flavor,
        engine_version=version,
        port=body.port,
        password=_password(body),
        attributes={name: value for name, value in attributes.items() if value not in (None, "", [])},
    )


def _flavor(body: wire.CreateBody) -> Flavor:
    try:
        flavor = flavors.parse(body.spec_code)
    except flavors.UnknownFlavor as unknown:
        raise Refusal("DCS.4927", reason=f"spec_code: {unknown}") from unknown
    if flavor.cache_mode != "cluster":
        raise Refusal("DCS.4007", reason=f"spec_code: {flavor.cache_mode} is not served, cluster is")
    if wire.capacity_mb(body.capacity) != flavor.capacity_mb:
        raise Refusal("DCS.4012", reason=f"capacity: {flavor.spec_code} has {flavor.capacity_gb} GB")
    agreed = {"sharding_count": flavor.shards, "replica_count": flavor.copies, "cache_mode": flavor.cache_mode}
    for field, value in agreed.items():
        if getattr(body.spec_param, field) not in {None, value}:
            raise asked.refused(f"spec_param.{field}", f"{flavor.spec_code} stands for {value}")
    return flavor


def _names(body: wire.CreateBody) -> tuple[str, ...]:
    if body.instance_num == 1:
        return (body.name,)
    return tuple(f"{body.name}-{number:03}" for number in range(body.instance_num))


def _password(body: wire.CreateBody) -> str | None:
    if body.no_password_access:
        if body.password:
            raise asked.refused("password", "an instance without password takes none")
        return None
    if body.password is None:
        raise Refusal("DCS.4845")
    classes = sum(bool(re.search(pattern, body.password)) for pattern in _PASSWORD_CLASSES)
    if not 8 <= len(body.password) <= 32 or classes < 3 or not body.password.isprintable():
        raise Refusal("DCS.4019")
    return body.password
