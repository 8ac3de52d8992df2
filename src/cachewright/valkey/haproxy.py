"""HAProxy in front of an instance that is no cluster: one address for clients, which leads to the primary.

It also terminates TLS, and filters clients by address. To nodes with TLS it connects by mutual TLS.

Nodes come and go while it runs, by commands to its socket, so that connections of clients stay open.

Sources: https://docs.haproxy.org/2.6/configuration.html and management.html (`add server`, `del server`).
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cachewright.model.instances import Instance, Node, allowed_addresses
from cachewright.valkey.access import SOCKET, short_path
from cachewright.valkey.acl import PROXY_USER, derived_password
from cachewright.valkey.config import GOOD_REPLICAS

CERTIFICATE_FILE = "tls.pem"
"""Private key and certificates for clients, in the folder of the proxy. It is empty without TLS."""

NODES_FILE, IDENTITY_FILE = "nodes.pem", "identity.pem"
"""Certificate of the authority of the nodes, and private key and certificate by which they know the proxy, in its
folder, if the nodes have TLS."""

_SECURED = f"ssl check-ssl verify required ca-file {NODES_FILE} crt {IDENTITY_FILE} verifyhost"

_MOST_FILES = 24_000
"""Open files of a proxy, two for each connection. It derives its greatest number of connections from this."""

_REJECT = "    tcp-request connection reject if { dst_port gt 0 } !allowed"
"""Connections to the Unix socket have no port."""

_LEAST_REPLY = 80
"""Bytes of the reply to INFO replication that contain the role and the fence. It is some hundred bytes long."""

COMMAND_SOCKET = "haproxy.sock"
"""Name of the socket for commands in the folder of a proxy, for the owner of the folder alone."""

_CHECKED = "check inter 250ms fastinter 100ms downinter 250ms rise 1 fall 2 on-marked-down shutdown-sessions"
_BACKEND = "cache"
_SERVER = "    server "
_ANSWER_SECONDS = 2.0
_NAME, _ADMIN_STATE, _PORT = 3, 6, 18  # columns of `show servers state`


def haproxy_cfg(instance: Instance, nodes: Sequence[Node], *, is_reachable: bool = True) -> str:
    """Return the configuration of the instance's proxy.

    A node gets clients if it says that it is a primary, and not that it refuses writes since its start. Connections to
    a node that says so no longer, or that does not answer, are closed, so that clients connect to its successor. The
    table keeps new connections at the node that had the last ones, as long as that node is up: a former primary that
    wakes up gets no client.

    The control plane connects to a Unix socket, which has the same TLS and no list of addresses.

    :param is_reachable: whether it listens at the address of the instance, too.
    """
    password = derived_password(instance.control_secret, PROXY_USER)
    tls = f" ssl crt {CERTIFICATE_FILE} ssl-min-ver TLSv1.2" if instance.server_certificate else ""
    allowed = allowed_addresses(instance)
    lines = [
        "global",
        f"    fd-hard-limit {_MOST_FILES}",
        "    nbthread 1",
        f"    stats socket unix@{COMMAND_SOCKET} mode 600 level admin",
        "defaults",
        "    mode tcp",
        "    timeout connect 2s",
        "    timeout check 2s",
        "    timeout client 24d",  # the node's parameter `timeout` closes idle connections
        "    timeout server 24d",
        "    option clitcpka",
        "    option srvtcpka",
        "    retries 0",  # HAProxy would wait for a second; clients connect again by themselves
        f"listen {_BACKEND}",
        *([f"    bind {_bracketed(instance.address)}:{instance.seed_port}{tls}"] if is_reachable else []),
        f"    bind unix@{SOCKET} mode 600{tls}",
        *([] if allowed is None else [f"    acl allowed src {' '.join(allowed)}", _REJECT]),
        *(_checked(password, nodes) if len(nodes) > 1 else _unchecked(nodes[0])),
    ]
    return "".join(f"{line}\n" for line in lines)


def _checked(password: str, nodes: Sequence[Node]) -> list[str]:
    """Return lines that lead clients to the primary."""
    as_clients = " default" if any(node.tls_listener for node in nodes) else ""  # otherwise a check uses no TLS
    return [
        "    stick-table type integer size 1 nopurge",
        "    stick on int(0)",
        "    option tcp-check",
        f"    tcp-check connect{as_clients}",
        f'    tcp-check send "AUTH {PROXY_USER} {password}\\r\\n"',
        "    tcp-check expect string +OK",
        '    tcp-check send "INFO replication\\r\\n"',
        # A test for role:master would wait for more text before it fails.
        f"    tcp-check expect min-recv {_LEAST_REPLY} ! rstring role:slave|{GOOD_REPLICAS}",
        *(f"{_SERVER}{node.id} {_place(node)} {_CHECKED}" for node in sorted(nodes, key=_by_id)),
    ]


def _unchecked(node: Node) -> list[str]:
    """Return lines that lead clients to the only node. It has no successor, so a check would only cut the connections
    of clients whose commands take long."""
    return [f"{_SERVER}{node.id} {_place(node)}"]


def differ_in_nodes(one: str, other: str) -> bool:
    """Whether two configurations are equal except for their nodes."""
    return _without_nodes(one) == _without_nodes(other)


def _without_nodes(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith(_SERVER)]


async def change_nodes(folder: Path, nodes: Sequence[Node]) -> bool:
    """Let the proxy that runs in a folder have exactly these nodes, without closing other connections. Return whether
    it has them; False also if it does not answer."""
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            for command in server_commands(
                parse_servers(await _command(folder, f"show servers state {_BACKEND}")), nodes
            ):
                await _command(folder, command)
            return not server_commands(parse_servers(await _command(folder, f"show servers state {_BACKEND}")), nodes)
    except (OSError, TimeoutError, ValueError):
        return False


def parse_servers(reply: str) -> dict[str, tuple[int, bool]]:
    """Return port of each server, and whether it is in use, by its name. Raises ValueError."""
    rows = [line.split(" ") for line in reply.splitlines() if line and not line.startswith("#")][1:]
    try:
        return {row[_NAME]: (int(row[_PORT]), row[_ADMIN_STATE] == "0") for row in rows}
    except IndexError as error:
        raise ValueError(f"the state of the servers is unreadable: {reply[:200]!r}") from error


def server_commands(present: Mapping[str, tuple[int, bool]], nodes: Iterable[Node]) -> list[str]:
    """Return the commands that make the servers of a proxy equal to the nodes. A new server counts as down until its
    first check. Pure."""
    wanted = {node.id: node for node in nodes}
    former = [name for name, (port, _) in present.items() if name not in wanted or wanted[name].peer_port != port]
    commands = [
        f"{command} {_BACKEND}/{name}"
        for name in former
        for command in ("disable server", "shutdown sessions server", "del server")
    ]
    for name, node in wanted.items():
        is_new = name not in present or name in former
        if is_new:
            commands.append(f"add server {_BACKEND}/{name} {_place(node)} {_CHECKED}")
        if is_new or not present[name][1]:
            commands += [f"enable {what} {_BACKEND}/{name}" for what in ("health", "server")]
            commands.append(f"set server {_BACKEND}/{name} health down")  # it counts as up when it is enabled
    return commands


async def _command(folder: Path, command: str) -> str:
    with short_path(folder, COMMAND_SOCKET) as path:
        reader, writer = await asyncio.open_unix_connection(f"{path}/{COMMAND_SOCKET}")
    try:
        writer.write(f"{command}\n".encode())
        return (await reader.read()).decode(errors="replace")
    finally:
        writer.close()


def _place(node: Node) -> str:
    """Return address and, with TLS, how the node is verified: by its id."""
    place = f"{_bracketed(node.host)}:{node.peer_port}"
    return place if node.tls_listener is None else f"{place} {_SECURED} {node.id}"


def _by_id(node: Node) -> str:
    return node.id


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
