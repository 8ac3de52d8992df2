"""The proxy of an instance, which leads its clients to the primary."""

import asyncio
from collections.abc import Mapping, Sequence
from functools import lru_cache

import msgspec

from cachewright import errors
from cachewright.hosts.host import HAPROXY_CONFIG, NodeStartFailed
from cachewright.model.instances import Instance, Node, has_proxy
from cachewright.operations.context import OperationContext
from cachewright.tasks.operation import ActionFailed
from cachewright.valkey.access import TLS_CONTEXTS, socket_address
from cachewright.valkey.acl import PROXY_USER, derived_password
from cachewright.valkey.certificates import authority_certificate, client_certificate, is_usable, trusted
from cachewright.valkey.client import NODE_GONE, NodeRefused
from cachewright.valkey.haproxy import (
    CERTIFICATE_FILE,
    IDENTITY_FILE,
    NODES_FILE,
    change_nodes,
    differ_in_nodes,
    haproxy_cfg,
)
from cachewright.valkey.roles import ROLES
from cachewright.valkey.single_request import fields, request_at

NO_HAPROXY = "HAProxy is not installed, or is off"
_STATUSES_WITHOUT_PROXY = frozenset({"DELETING", "CREATEFAILED"})
_ANSWER_SECONDS = 1.0
_STOP_SECONDS = 5.0
_POLL_SECONDS = 0.05


async def ensure(context: OperationContext, instance: Instance, nodes: Sequence[Node]) -> None:
    """Ensure that the instance's proxy runs as recorded: with all nodes, TLS and the whitelist. Raises NodeStartFailed.
    No effect if the instance has no proxy, or the host no HAProxy.

    A proxy that runs with other nodes gets the new ones while it runs. If other settings differ, or it does not answer,
    it is replaced, which closes the connections of clients.
    """
    processes = context.host.proxies
    if not context.host.has_haproxy or not has_proxy(instance, nodes):
        return
    if await _is_current(context, instance, nodes) and await processes.process(instance.id):
        return
    now, present = await context.recorded(instance.id)
    if now is not None and has_proxy(now, present) and await _has_changed_nodes(context, now, present):
        return

    async def recorded() -> Mapping[str, str] | None:
        """Read the record again: the caller may have read it before a task changed it."""
        now, present = await context.recorded(instance.id)
        if now is None or now.status in _STATUSES_WITHOUT_PROXY or not has_proxy(now, present):
            return None
        return await _files(context, now, present)

    await processes.ensure(instance.id, recorded, _STOP_SECONDS)


async def prove(context: OperationContext, instance: Instance, nodes: Sequence[Node]) -> None:
    """Start a proxy for an instance that has none, without its address, so that a HAProxy that does not start is found
    before the node leaves the address. Raises ActionFailed DCS.9001."""

    async def files() -> Mapping[str, str]:
        return await _files(context, instance, nodes, is_reachable=False)

    try:
        await context.host.proxies.ensure(instance.id, files, _STOP_SECONDS)
    except NodeStartFailed as failure:
        raise ActionFailed(errors.NODE_START_FAILED, f"HAProxy did not start: {failure}") from failure


async def ensure_reachable(context: OperationContext, instance_id: str) -> None:
    """Ensure that the instance's proxy, if it has one, runs as recorded, and wait until it leads to a primary. Raises
    ActionFailed DCS.9001 if HAProxy does not start."""
    instance, nodes = await context.recorded(instance_id)
    if instance is None or not has_proxy(instance, nodes):
        return
    if not context.host.has_haproxy:
        raise ActionFailed(errors.NODE_START_FAILED, NO_HAPROXY, True)
    try:
        await ensure(context, instance, nodes)
    except NodeStartFailed as failure:
        raise ActionFailed(errors.NODE_START_FAILED, f"HAProxy did not start: {failure}") from failure
    while not await leads_to_primary(context, instance):
        await asyncio.sleep(_POLL_SECONDS)


async def remove(context: OperationContext, instance_id: str) -> None:
    """Stop the proxy of an instance and remove its files."""
    await context.host.proxies.remove(instance_id, _STOP_SECONDS)


async def leads_to_primary(context: OperationContext, instance: Instance) -> bool:
    """Whether a connection through the instance's proxy reaches a primary, with the recorded certificate if clients use
    TLS. It needs the proxy's own user alone."""
    password = derived_password(instance.control_secret, PROXY_USER)
    certificate = instance.server_certificate
    with socket_address(context.host.proxies_dir / instance.id, password) as socket:
        place = msgspec.structs.replace(
            socket, host=instance.address, username=PROXY_USER, authority=certificate and trusted(certificate)
        )
        try:
            (reply,) = await request_at(place, instance.id, [("INFO", "replication")], _ANSWER_SECONDS)
        except (*NODE_GONE, NodeRefused):
            return False
    return ROLES.get(fields(reply).get("role", "")) == "primary"


async def _is_current(context: OperationContext, instance: Instance, nodes: Sequence[Node]) -> bool:
    """Whether the proxy's files are those of this record."""
    read = context.host.proxies.read_file
    wanted = await _files(context, instance, nodes)
    return all([await read(instance.id, name) == text for name, text in wanted.items()])


async def _has_changed_nodes(context: OperationContext, instance: Instance, nodes: Sequence[Node]) -> bool:
    """Let a proxy that runs have these nodes, if nothing else differs. Return whether it has them. That of a single
    node checks nothing, and is replaced."""
    if len(nodes) == 1:
        return False
    processes = context.host.proxies
    wanted = await _files(context, instance, nodes)
    present = {name: await processes.read_file(instance.id, name) for name in wanted}
    config = present.pop(HAPROXY_CONFIG)
    if config is None or not differ_in_nodes(config, wanted[HAPROXY_CONFIG]) or present.items() - wanted.items():
        return False
    runs = await processes.process(instance.id) is not None
    if not runs or not await change_nodes(context.host.proxies_dir / instance.id, nodes):
        return False
    await processes.write_files(instance.id, wanted)  # last: a file that differs shows that something may be missing
    return True


async def _files(
    context: OperationContext, instance: Instance, nodes: Sequence[Node], *, is_reachable: bool = True
) -> Mapping[str, str]:
    """Return the files of the proxy by name, its configuration last. It keeps the key by which nodes know it: another
    one would close the connections of clients."""
    files = {CERTIFICATE_FILE: instance.server_certificate or ""}
    if (authority := instance.node_ca) is not None:
        found = await context.host.proxies.read_file(instance.id, IDENTITY_FILE)
        files |= await asyncio.to_thread(files_for_nodes, found, authority)
    return {**files, HAPROXY_CONFIG: haproxy_cfg(instance, nodes, is_reachable=is_reachable)}


@lru_cache(maxsize=TLS_CONTEXTS)
def files_for_nodes(identity: str | None, authority: str) -> Mapping[str, str]:
    """Return the files by which a proxy and the nodes of this authority know each other.

    :param identity: the present one, if there is one.
    """
    if identity is None or not is_usable(identity, authority):
        identity = client_certificate(authority, PROXY_USER)
    return {NODES_FILE: authority_certificate(authority), IDENTITY_FILE: identity}
