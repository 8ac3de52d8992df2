"""HAProxy in front of a primary/standby instance: one address for clients, which leads to the primary.

Source: https://docs.haproxy.org/2.6/configuration.html
"""

from collections.abc import Sequence

from cachewright.model.instances import Instance, Node
from cachewright.valkey.acl import PROXY_USER, derived_password

_MOST_FILES = 24_000
"""Open files of a proxy, two for each connection. It derives its greatest number of connections from this."""

_LEAST_REPLY = 60
"""Bytes of the reply to INFO replication that contain the role. It is some hundred bytes long."""


def haproxy_cfg(instance: Instance, nodes: Sequence[Node]) -> str:
    """Return the configuration of the instance's proxy.

    A node gets clients if it says that it is a primary. Connections to a node that says so no longer, or that does not
    answer, are closed, so that clients connect to its successor. The table keeps new connections at the node that had
    the last ones, as long as that node is up: a former primary that wakes up gets no client.
    """
    password = derived_password(instance.control_secret, PROXY_USER)
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
        f"    bind {_bracketed(nodes[0].host)}:{instance.seed_port}",
        "    stick-table type integer size 1 nopurge",
        "    stick on dst_port",
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
    return "".join(f"{line}\n" for line in lines)


def _by_id(node: Node) -> str:
    return node.id


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
