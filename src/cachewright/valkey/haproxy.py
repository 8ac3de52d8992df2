"""HAProxy in front of an instance that is no cluster: one address for clients, which leads to the primary.

It also terminates TLS, and filters clients by address.

Source: https://docs.haproxy.org/2.6/configuration.html
"""

from collections.abc import Sequence

from cachewright.model.instances import Instance, Node, allowed_addresses
from cachewright.valkey.access import SOCKET
from cachewright.valkey.acl import PROXY_USER, derived_password

CERTIFICATE_FILE = "tls.pem"
"""Private key and certificates for clients, in the folder of the proxy. It is empty without TLS."""

_MOST_FILES = 24_000
"""Open files of a proxy, two for each connection. It derives its greatest number of connections from this."""

_REJECT = "    tcp-request connection reject if { dst_port gt 0 } !allowed"
"""Connections to the Unix socket have no port."""

_LEAST_REPLY = 60
"""Bytes of the reply to INFO replication that contain the role. It is some hundred bytes long."""


def haproxy_cfg(instance: Instance, nodes: Sequence[Node], *, is_reachable: bool = True) -> str:
    """Return the configuration of the instance's proxy.

    A node gets clients if it says that it is a primary. Connections to a node that says so no longer, or that does not
    answer, are closed, so that clients connect to its successor. The table keeps new connections at the node that had
    the last ones, as long as that node is up: a former primary that wakes up gets no client.

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
        "defaults",
        "    mode tcp",
        "    timeout connect 2s",
        "    timeout check 2s",
        "    timeout client 24d",  # the node's parameter `timeout` closes idle connections
        "    timeout server 24d",
        "    option clitcpka",
        "    option srvtcpka",
        "    retries 0",  # HAProxy would wait for a second; clients connect again by themselves
        "listen cache",
        *([f"    bind {_bracketed(instance.address)}:{instance.seed_port}{tls}"] if is_reachable else []),
        f"    bind unix@{SOCKET} mode 600{tls}",
        *([] if allowed is None else [f"    acl allowed src {' '.join(allowed)}", _REJECT]),
        *(_checked(password, nodes) if len(nodes) > 1 else _unchecked(nodes[0])),
    ]
    return "".join(f"{line}\n" for line in lines)


def _checked(password: str, nodes: Sequence[Node]) -> list[str]:
    """Return lines that lead clients to the primary."""
    return [
        "    stick-table type integer size 1 nopurge",
        "    stick on int(0)",
        "    option tcp-check",
        "    tcp-check connect",
        f'    tcp-check send "AUTH {PROXY_USER} {password}\\r\\n"',
        "    tcp-check expect string +OK",
        '    tcp-check send "INFO replication\\r\\n"',
        # A test for role:master would wait for more text before it fails.
        f"    tcp-check expect min-recv {_LEAST_REPLY} ! string role:slave",
        "    default-server inter 250ms fastinter 100ms downinter 250ms rise 1 fall 2 on-marked-down shutdown-sessions",
        *(f"    server {node.id} {_bracketed(node.host)}:{node.port} check" for node in sorted(nodes, key=_by_id)),
    ]


def _unchecked(node: Node) -> list[str]:
    """Return lines that lead clients to the only node. It has no successor, so a check would only cut the connections
    of clients whose commands take long."""
    return [f"    server {node.id} {_bracketed(node.host)}:{node.port}"]


def _by_id(node: Node) -> str:
    return node.id


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
