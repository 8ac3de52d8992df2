"""The files a node is started with: valkey.conf and nodes.conf.

Sources: valkey.conf and the cluster specification of Valkey 9.1. Persistence is an append-only file that is written
before a command is answered, so a node that is killed comes back with every write it acknowledged.
"""

import hashlib
from collections.abc import Iterable, Mapping

from cachewright.model.instances import Node
from cachewright.valkey.access import SOCKET, Access
from cachewright.valkey.acl import CLIENT_USER, CONTROL_USER, client_rules, control_rules
from cachewright.valkey.certificates import CA_FILE, NODE_FILE
from cachewright.valkey.parameters import node_settings, values
from cachewright.valkey.slots import SlotRange

CLUSTER_NODE_TIMEOUT_MS = 5000

Setting = tuple[str, object]
"""Name and value of one line of valkey.conf."""


def valkey_conf(node: Node, access: Access, parameters: Mapping[str, str], role: Iterable[Setting]) -> str:
    """The text of valkey.conf.

    :param parameters: those that the owner of the instance has changed, by their names in Valkey.
    :param role: what the node is started as: `cluster_settings`, or those of a lone node.
    """
    settings: list[Setting] = [
        ("bind", node.host),
        ("port", node.port),
        ("unixsocket", SOCKET),
        ("unixsocketperm", "700"),
        ("daemonize", "yes"),
        ("pidfile", "valkey.pid"),
        ("logfile", "valkey.log"),
        ("loglevel", "warning"),  # at notice a node writes a line for each slot it hands over, while clients wait
        ("set-proc-title", "no"),  # the command line keeps naming the folder, by which the process is found again
        ("maxmemory", node.maxmemory),
        ("save", '""'),
        ("repl-diskless-sync-delay", 0),
        ("sanitize-dump-payload", "clients"),  # clients may use RESTORE
        *role,
        *((name, _quoted(value)) for name, value in node_settings(values(parameters)).items()),
        ("primaryuser", CONTROL_USER),
        ("primaryauth", _quoted(access.secret)),
        ("user", " ".join((CLIENT_USER, *client_rules(access.password)))),
        ("user", " ".join((CONTROL_USER, *control_rules(access.secret)))),
    ]
    return "".join(f"{name} {value}\n" for name, value in settings)


def cluster_settings(node: Node) -> list[Setting]:
    """Settings of a node of a cluster."""
    return [
        ("cluster-enabled", "yes"),
        ("cluster-port", node.bus_port),
        ("cluster-node-timeout", CLUSTER_NODE_TIMEOUT_MS),
        ("cluster-require-full-coverage", "no"),
        ("cluster-allow-replica-migration", "no"),  # the control plane decides which node replicates which
        ("cluster-slot-stats-enabled", "yes"),
        ("cluster-slot-migration-log-max-len", 100),  # the log is read several times a second
        *_tls(node),
    ]


def _tls(node: Node) -> list[Setting]:
    """Mutual TLS between the nodes of an instance: on the cluster bus (`tls-cluster`), and for replication and slot
    migration (`tls-replication`), which connect to `tls-port`. `port` stays in clear, for clients."""
    if node.tls_port is None:
        return []
    return [
        ("tls-port", node.tls_port),
        ("tls-cluster", "yes"),
        ("tls-replication", "yes"),
        ("tls-auth-clients", "yes"),
        ("tls-cert-file", NODE_FILE),
        ("tls-key-file", NODE_FILE),
        ("tls-ca-cert-file", CA_FILE),
    ]


def nodes_conf(node: Node, epoch: int = 0, slots: SlotRange | None = None) -> str:
    """A node that knows nobody yet, but has its id: to be met by a cluster. With `slots` and an `epoch` of its own it
    is a founding master of one.

    Valkey holds a freshly started master back for two seconds, for it may be an old one that has missed who leads now.
    A replica is not held back. So a master starts as the replica of its stand-in, a master that does not exist, and
    leads in its place once it finds its cluster ok. See docs/decisions/0016.
    """
    address = f"{node.host}:{node.port}@{node.bus_port},,tls-port={node.tls_port or 0},shard-id={node.id}"
    lines = [f"{node.id} {address} myself,master - 0 0 0 connected"]
    if node.role == "primary":
        gone, flags, nowhere, tls_nowhere = placeholder_primary(node), "master,noaddr", ":0@0", 0
        if slots:
            # Only a master that may be reachable counts towards a cluster that is ok.
            flags, nowhere, tls_nowhere = "master", f"{node.host}:1@1", 1 if node.tls_port else 0
        owned = f" {slots.first}-{slots.last}" if slots else ""
        lines = [
            f"{node.id} {address} myself,slave {gone} 0 0 {epoch} connected",
            f"{gone} {nowhere},,tls-port={tls_nowhere},shard-id={node.id} {flags} - 0 0 {epoch} disconnected{owned}",
        ]
    return "\n".join([*lines, f"vars currentEpoch {epoch} lastVoteEpoch 0", ""])


def placeholder_addresses(master: Node) -> tuple[str, str]:
    """The addresses that a stand-in can have in the view of its master, as `host:port@bus port`."""
    return ":0@0", f"{master.host}:1@1"


def placeholder_primary(master: Node) -> str:
    """Id of the master that a new master starts behind. No other node ever hears of it."""
    return hashlib.sha1(f"{master.id}/stand-in".encode(), usedforsecurity=False).hexdigest()


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
