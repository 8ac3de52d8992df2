"""The proxy of a primary/standby instance, which leads its clients to the primary."""

from cachewright.hosts.host import HAPROXY_CONFIG
from cachewright.model.instances import Instance, Node, has_proxy
from cachewright.operations.context import OperationContext
from cachewright.valkey.access import Address
from cachewright.valkey.acl import PROXY_USER, derived_password
from cachewright.valkey.client import NODE_GONE, NodeRefused
from cachewright.valkey.haproxy import haproxy_cfg
from cachewright.valkey.roles import ROLES
from cachewright.valkey.single_request import fields, request_at

_ANSWER_SECONDS = 1.0
_STOP_SECONDS = 5.0


async def ensure(context: OperationContext, instance: Instance, nodes: list[Node]) -> None:
    """Ensure that the instance's proxy runs, with all its nodes. Raises NodeStartFailed. No effect if the instance has
    no proxy, or the host no HAProxy.

    A proxy that runs with other nodes is replaced, which closes the connections of clients.
    """
    processes = context.host.proxies
    if not context.host.has_haproxy or not has_proxy(instance, nodes):
        return
    text = haproxy_cfg(instance, nodes)
    is_current = await processes.read_file(instance.id, HAPROXY_CONFIG) == text
    if is_current and await processes.process(instance.id):
        return
    if not is_current:
        await processes.stop(instance.id, _STOP_SECONDS)
        await processes.write_files(instance.id, {HAPROXY_CONFIG: text})
    await processes.start(instance.id)


async def remove(context: OperationContext, instance_id: str) -> None:
    """Stop the proxy of an instance and remove its files."""
    await context.host.proxies.remove(instance_id, _STOP_SECONDS)


async def leads_to_primary(context: OperationContext, instance: Instance) -> bool:
    """Whether a connection to the instance's address reaches a primary. It needs the proxy's own user alone."""
    password = derived_password(instance.control_secret, PROXY_USER)
    place = Address(None, instance.address, instance.seed_port, PROXY_USER, password)
    try:
        (reply,) = await request_at(place, instance.id, [("INFO", "replication")], _ANSWER_SECONDS)
    except (*NODE_GONE, NodeRefused):
        return False
    return ROLES.get(fields(reply).get("role", "")) == "primary"
