"""How an instance is configured."""

from litestar import Response, get

from cachewright.api import answers
from cachewright.api.auth.permissions import needs
from cachewright.api.routes.parameters import (
    Call,
    PathId,
    Plane,
    in_thread,
    instance_of,
    run_in_thread,
    while_connected,
)
from cachewright.api.wire import configurations as wire
from cachewright.store import instances
from cachewright.store.records import Instance, Node

_INSTANCES = "/v2/{project_id:str}/instances/{instance_id:str}"


@get(_INSTANCES + "/configs", opt=needs("dcs:instance:getConfiguration"))
async def list_configurations(request: Call, plane: Plane, instance_id: PathId) -> Response[wire.Configurations]:
    """ListConfigurations, as a node of the instance has them now."""

    def read() -> tuple[Instance, list[Node]]:
        with plane.database.read() as connection:
            instance = instance_of(connection, request, instance_id)
            return instance, instances.nodes_of(connection, instance.id)

    instance, nodes = await run_in_thread(request, read)
    names = [parameter.name for parameter in wire.PARAMETERS]
    values = await while_connected(request, plane.inspector.configuration(instance, nodes, names))
    return answers.json(wire.configurations(instance, values))


@get("/v2/{project_id:str}/instance/{instance_id:str}/whitelist", opt=needs("dcs:instance:getConfiguration"))
@in_thread
def show_ip_whitelist(request: Call, plane: Plane, instance_id: PathId) -> Response[wire.Whitelist]:
    """ShowIpWhitelist: there is none."""
    with plane.database.read() as connection:
        instance = instance_of(connection, request, instance_id)
    return answers.json(wire.Whitelist(instance.id))


@get(_INSTANCES + "/bigkey/autoscan", opt=needs("dcs:instance:getConfiguration"))
@in_thread
def show_bigkey_autoscan_config(request: Call, plane: Plane, instance_id: PathId) -> Response[wire.AutoScan]:
    """ShowBigkeyAutoscanConfig: it is off."""
    with plane.database.read() as connection:
        instance = instance_of(connection, request, instance_id)
    return answers.json(wire.AutoScan(instance.id))


@get(_INSTANCES + "/hotkey/autoscan", opt=needs("dcs:instance:getConfiguration"))
@in_thread
def show_hotkey_autoscan_config(request: Call, plane: Plane, instance_id: PathId) -> Response[wire.AutoScan]:
    """ShowHotkeyAutoscanConfig: it is off."""
    with plane.database.read() as connection:
        instance = instance_of(connection, request, instance_id)
    return answers.json(wire.AutoScan(instance.id))
