"""Control of single nodes: memory limit, parameters, clients, shutdown.

Functions raise one of NODE_GONE if the node does not answer and NodeRefused if it refuses, unless the docstring says
otherwise.

Source: CONFIG, CLIENT LIST, INFO and SHUTDOWN of Valkey 9.1.
"""

from collections.abc import Mapping
from contextlib import suppress

from cachewright.model.instances import NEVER_PRIMARY, Node
from cachewright.valkey.access import Access, can_close_all_ports, needs_client_port
from cachewright.valkey.acl import PROXY_USER, derived_password, proxy_rules
from cachewright.valkey.client import NODE_GONE, NodeRefused, Valkey, ask, config_set, connect
from cachewright.valkey.config import CERTIFICATES_OPTIONAL, CERTIFICATES_REQUIRED, priority_settings
from cachewright.valkey.parameters import deviations, node_settings, read_settings, settable

_PARAMETER_SECONDS = 2.0


async def set_memory_limit(node: Node, access: Access, maxmemory: int) -> int:
    """Set `maxmemory`, in bytes, until the node's next start, unless the node uses more. Return the used bytes."""
    async with connect(node, access) as client:
        used = int((await client.info("memory"))["used_memory"])
        if used <= maxmemory:
            await client.config_set("maxmemory", maxmemory)
        return used


async def set_parameters(node: Node, access: Access, values: Mapping[str, str]) -> None:
    """Set parameters of `valkey.parameters` until the node's next start, either all or none of them. Those that need a
    restart do not change."""
    if values := settable(values):
        async with connect(node, access, _PARAMETER_SECONDS) as client:
            await config_set(client, node_settings(values))


async def ensure_parameters(node: Node, access: Access, values: Mapping[str, str]) -> None:
    """Set the parameters whose values on the node differ. Raises NodeRefused if one differs that needs a restart."""
    async with connect(node, access, _PARAMETER_SECONDS) as client:
        current = read_settings(await ask(client, "CONFIG GET", *values))
        if different := deviations(current, values):
            await config_set(client, node_settings(different))


async def differs(node: Node, access: Access, values: Mapping[str, str]) -> bool:
    """Whether a parameter has another value on the node. False if the node does not respond."""
    with suppress(*NODE_GONE):
        async with connect(node, access, _PARAMETER_SECONDS) as client:
            return bool(deviations(read_settings(await ask(client, "CONFIG GET", *values)), values))
    return False


async def set_priority(node: Node, access: Access) -> None:
    """Set the recorded priority of a replica until its next start."""
    async with connect(node, access, _PARAMETER_SECONDS) as client:
        await config_set(client, priority_settings(node))


async def server_version(node: Node, access: Access) -> str:
    """Return the version of valkey-server that the node runs, such as `9.1.2`."""
    async with connect(node, access) as client:
        return str((await client.info("server"))["valkey_version"])


async def tls_port(access: Access, *places: Node) -> int | None:
    """Return the port at which a node listens with TLS. None if it answers at none of these `places`, which differ in
    its TLS of clients."""
    for node in places:
        with suppress(*NODE_GONE):
            async with connect(node, access) as client:
                return int((await client.config_get("tls-port"))["tls-port"])
    return None


async def is_open_to_clients(node: Node, access: Access) -> bool:
    """Whether the node accepts clients at its port."""
    async with connect(node, access) as client:
        return not await _closed_by(client, node)


async def open_to_clients(node: Node, access: Access) -> bool:
    """Make the node accept clients at its port, until its next start. Return False if it did before.

    Two callers may open a node at the same time. Only settings that differ are set: each CONFIG SET of `bind`, also to
    the same value, replaces the listener, and the kernel resets connections that the node has not accepted yet. Valkey
    leaves the listener alone if `port` is set to the same value.
    """
    async with connect(node, access) as client:
        if different := await _closed_by(client, node):
            await config_set(client, different)
    return bool(different)


async def _closed_by(client: Valkey, node: Node) -> dict[str, str]:
    """Return the settings that keep the node from accepting clients, with the values by which it accepts them."""
    words = _open_setting(node)
    wanted = dict(zip(words[::2], words[1::2], strict=True))
    found = await ask(client, "CONFIG GET", *wanted)
    return {name: value for name, value in wanted.items() if found.get(name) != value}


def _open_setting(node: Node) -> tuple[str, ...]:
    """Return the settings by which a node accepts clients, and their values. With TLS it listens in any case, for other
    nodes, which have certificates. On another host it listens in any case, too, for the control plane. Then it may have
    another priority (`watched_settings`)."""
    if node.client_tls:
        return ("tls-auth-clients", CERTIFICATES_OPTIONAL)
    own = ("bind", node.host, "port", str(node.port))
    return own if can_close_all_ports(node) else (*own, "replica-priority", str(node.priority))


def tls_port_setting(node: Node) -> tuple[object, ...]:
    """Return the setting of the port for TLS between nodes, and its value; nothing without TLS."""
    return () if node.tls_port is None else ("tls-port", node.tls_port)


async def leave_address(node: Node, access: Access, host: str, port: int) -> None:
    """Make a node that listened at another address listen at its own, until its next start, accept the proxy, and close
    connections to the other address."""
    proxy = ("SETUSER", PROXY_USER, "reset", *proxy_rules(derived_password(access.secret, PROXY_USER)))
    async with connect(node, access) as client:
        await ask(client, "ACL", *proxy)
        await ask(client, "CONFIG SET", *_open_setting(node), *tls_port_setting(node))
        await ask(client, "CLIENT KILL", "LADDR", f"{host}:{port}")


async def announce_port(node: Node, access: Access) -> None:
    """Let other nodes and clients learn the recorded port of a node of a cluster, until its next start."""
    as_replica = () if node.tls_port else ("replica-announce-port", node.port)
    async with connect(node, access) as client:
        await ask(client, "CONFIG SET", "cluster-announce-port", node.port, *as_replica)


async def close_to_clients(node: Node, access: Access) -> None:
    """Make the node refuse new connections of clients and, without TLS of clients, of peers. Open connections continue,
    and other nodes still know its port. No effect if the control plane itself reaches the node through that port."""
    if node.client_tls:
        async with connect(node, access) as client:
            await ask(client, "CONFIG SET", "tls-auth-clients", CERTIFICATES_REQUIRED)
    elif not needs_client_port(node):
        async with connect(node, access) as client:
            await ask(client, "CONFIG SET", "cluster-announce-port", node.port, "port", 0)


async def withhold(node: Node, access: Access) -> None:
    """Keep sentinels from making the node the primary, until `open_to_clients`."""
    async with connect(node, access) as client:
        await ask(client, "CONFIG SET", "replica-priority", NEVER_PRIMARY)


async def shut_down(node: Node, access: Access) -> None:
    """Make the node exit without saving its data, which is faster than a signal. Raises no error if the node has ended
    or refuses."""
    with suppress(*NODE_GONE, NodeRefused):
        async with connect(node, access) as client:
            await ask(client, "SHUTDOWN", "NOSAVE", "NOW")


async def is_in_sync(replica: Node, access: Access) -> bool:
    """Whether a replica is connected to its primary and in sync with it."""
    async with connect(replica, access) as client:
        return await is_link_up(client)


async def is_link_up(client: Valkey) -> bool:
    """Same as `is_in_sync`, on an open connection."""
    return bool((await client.info("replication")).get("master_link_status") == "up")
