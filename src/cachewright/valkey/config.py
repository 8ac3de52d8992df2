"""Files that a node needs at its start: valkey.conf and nodes.conf.

A node writes each command to its append-only file before it answers, so that a killed node restarts with every write
that it has acknowledged.

Sources: valkey.conf and the cluster specification of Valkey 9.1.
"""

import hashlib
from collections.abc import Iterable, Mapping

from cachewright.model.instances import NEVER_PRIMARY, Node
from cachewright.valkey.access import SOCKET, Access, can_close_all_ports, needs_client_port
from cachewright.valkey.acl import (
    CONTROL_USER,
    PROXY_USER,
    SENTINEL_USER,
    control_rules,
    derived_password,
    proxy_rules,
    sentinel_rules,
)
from cachewright.valkey.certificates import CA_FILE, NODE_FILE
from cachewright.valkey.parameters import node_settings, values
from cachewright.valkey.slots import SLOTS, SlotRange
from cachewright.valkey.users import User

CLUSTER_NODE_TIMEOUT_MS = 5000

DATA_FOLDER = "appendonlydir"
"""Name of the folder with the append-only files of a node."""

SNAPSHOT = "dump.rdb"
"""Name of the file from which a node without an append-only file starts."""

_BASE, _MANIFEST = "appendonly.aof.1.base.rdb", "appendonly.aof.manifest"

LISTENER = "listener.conf"
"""Name of the file with the setting of the port at the start of a node."""

LISTENER_CONF = "port 0\n"

FENCE, FENCED, UNFENCED = "min-replicas-to-write", 1000, 0
"""Setting with which a primary refuses writes because it lacks replicas, and its values.

A primary that restarts may have been replaced. It accepts writes when the sentinels say that it is the primary."""

GOOD_REPLICAS = "min_slaves_good_slaves"
"""Field of INFO replication that a node has while it requires replicas for writes."""

CERTIFICATES_REQUIRED, CERTIFICATES_OPTIONAL = "yes", "optional"
"""Values of `tls-auth-clients`: whether clients must have certificates, as nodes have."""

Setting = tuple[str, object]
"""Name and value of one line of valkey.conf."""


def valkey_conf(
    node: Node, access: Access, parameters: Mapping[str, str], role: Iterable[Setting], users: Iterable[User]
) -> str:
    """Return the text of valkey.conf.

    :param parameters: parameters that the owner of the instance has changed, by their names in Valkey.
    :param role: settings of the topology, such as `cluster_settings`.
    :param users: of clients.
    """
    settings: list[Setting] = [
        ("bind", node.host),
        ("port", node.port),
        ("replica-announce-ip", node.host),  # a connection to another loopback address has the source 127.0.0.1
        ("unixsocket", SOCKET),
        ("unixsocketperm", "700"),
        ("daemonize", "yes"),
        ("pidfile", "valkey.pid"),
        ("logfile", "valkey.log"),
        ("loglevel", "warning"),  # at notice a node logs each slot that it hands over, while clients wait
        ("set-proc-title", "no"),  # the command line keeps the folder, which identifies the process
        ("maxmemory", node.maxmemory),
        ("save", '""'),
        ("aof-timestamp-enabled", "yes"),  # so that write logs can be cut at a second
        ("repl-diskless-sync-delay", 0),
        ("sanitize-dump-payload", "clients"),  # clients may use RESTORE
        *_tls(node),
        *role,
        *((name, _quoted(value)) for name, value in node_settings(values(parameters)).items()),
        ("primaryuser", CONTROL_USER),
        ("primaryauth", _quoted(access.secret)),
        *(("user", user.line) for user in users),
        ("user", " ".join((CONTROL_USER, *control_rules(access.secret)))),
    ]
    return "".join(f"{name} {value}\n" for name, value in settings)


def data_files(snapshot: Iterable[bytes]) -> Mapping[str, Iterable[bytes]]:
    """Return the files of `DATA_FOLDER` with which a node starts with the keys of a snapshot, given in parts. A file
    `dump.rdb` would be ignored."""
    return {_MANIFEST: [f"file {_BASE} seq 1 type b\n".encode()], _BASE: snapshot}


def converter_conf(host: str, bus_port: int) -> str:
    """Return the valkey.conf of a temporary node that loads `SNAPSHOT` and writes it again, divided by slots."""
    clustered: list[Setting] = [("cluster-enabled", "yes"), ("cluster-port", bus_port)]
    return _temporary_conf(host, clustered)


def replay_conf(host: str, bus_port: int, databases: int, *, is_cluster: bool) -> str:
    """Return the valkey.conf of a temporary node that loads the files of `DATA_FOLDER` and writes a snapshot, divided
    by slots if the files are those of a node of a cluster."""
    own: list[Setting] = [("appendonly", "yes"), ("auto-aof-rewrite-percentage", 0)]
    if is_cluster:
        return _temporary_conf(host, [*own, ("cluster-enabled", "yes"), ("cluster-port", bus_port)])
    return _temporary_conf(host, [*own, ("databases", databases)])


def _temporary_conf(host: str, own: list[Setting]) -> str:
    settings: list[Setting] = [
        ("bind", host),
        ("port", 0),
        ("unixsocket", SOCKET),
        ("unixsocketperm", "700"),
        ("daemonize", "yes"),
        ("pidfile", "valkey.pid"),
        ("logfile", "valkey.log"),
        ("loglevel", "warning"),  # at notice it logs each slot
        ("set-proc-title", "no"),
        ("save", '""'),
        *own,
    ]
    return "".join(f"{name} {value}\n" for name, value in settings)


def cluster_settings(node: Node) -> list[Setting]:
    """Return the settings of a node of a cluster."""
    return [
        ("cluster-enabled", "yes"),
        ("cluster-port", node.bus_port),
        ("cluster-announce-ip", node.host),
        ("cluster-node-timeout", CLUSTER_NODE_TIMEOUT_MS),
        ("cluster-require-full-coverage", "no"),
        ("cluster-allow-replica-migration", "no"),  # the control plane decides which node replicates which
        ("cluster-slot-stats-enabled", "yes"),
        ("cluster-slot-migration-log-max-len", 100),  # the log is read several times a second
        *priority_settings(node).items(),
    ]


def priority_settings(node: Node) -> dict[str, str]:
    """Return the settings that follow from the priority of a node of a cluster. Elections of Valkey's clusters ignore
    `replica-priority`, so a node that must never take over does not take part in them."""
    return {
        "replica-priority": str(node.priority),
        "cluster-replica-no-failover": "yes" if node.priority == NEVER_PRIMARY else "no",
    }


def closed_at_start(node: Node) -> list[Setting]:
    """Return settings with which a node of a cluster starts without listening on its port for clients: a node that does
    not know the whole cluster would give clients wrong answers. Other nodes learn the port nevertheless.

    The control plane opens the port (`node_control.open_to_clients`). `LISTENER` needs the text `LISTENER_CONF`. It
    is a file of its own, so that `port` in valkey.conf is the port of the node.
    """
    announced: list[Setting] = [("cluster-announce-port", node.port)]
    if node.tls_port is None:
        announced.append(("replica-announce-port", node.port))
    return [*announced, ("include", LISTENER)]


def watched_settings(node: Node, access: Access) -> list[Setting]:
    """Return settings of a node that Sentinel watches. It starts as a primary that refuses connections and writes of
    clients, until the control plane knows its role (`FENCE`). Without TLS, the control plane reaches nodes on other
    hosts by the port for clients, so that port is open there. Proxies lead no client to a node with the fence. A node
    with an open port starts as one that never takes over, because sentinels reach it before it has the data of its
    primary."""
    return [
        (FENCE, FENCED),
        ("replica-priority", node.priority if can_close_all_ports(node) else NEVER_PRIMARY),
        ("replica-announce-port", node.peer_port),
        *([] if needs_client_port(node) else [("include", LISTENER)]),
        *(("user", " ".join((name, *rules))) for name, rules in watcher_users(access).items()),
    ]


def proxy_user(access: Access) -> Setting:
    """Return the setting of the user by which a proxy asks the node for its role."""
    return ("user", " ".join((PROXY_USER, *watcher_users(access)[PROXY_USER])))


def watcher_users(access: Access) -> dict[str, tuple[str, ...]]:
    """Return the rules of the users of sentinels and of a proxy, by name."""
    return {
        SENTINEL_USER: sentinel_rules(derived_password(access.secret, SENTINEL_USER)),
        PROXY_USER: proxy_rules(derived_password(access.secret, PROXY_USER)),
    }


def _tls(node: Node) -> list[Setting]:
    """Return settings for mutual TLS between the nodes of an instance: on the cluster bus (`tls-cluster`), and for
    replication and slot migration (`tls-replication`), which connect to `tls-port`, as sentinels and proxies do. `port`
    has no TLS; clients use it.
    If they use TLS, nothing listens at `port`, and the control plane lets clients without a certificate connect to
    `tls-port` (`node_control.open_to_clients`). The cluster bus always requires certificates.
    """
    if node.tls_listener is None:
        return []
    return [
        ("tls-port", node.tls_listener),
        ("tls-cluster", "yes"),
        ("tls-replication", "yes"),
        ("tls-auth-clients", CERTIFICATES_REQUIRED),
        ("tls-cert-file", NODE_FILE),
        ("tls-key-file", NODE_FILE),
        ("tls-ca-cert-file", CA_FILE),
    ]


def nodes_conf(node: Node, epoch: int = 0, slots: SlotRange | None = None) -> str:
    """Return the nodes.conf of a new node, which has its id and knows no other nodes. With `slots` and its own `epoch`
    it is a founding primary of a cluster.

    Valkey lets a primary wait for two seconds after its start, because it may have missed a failover. Replicas do not
    wait. Therefore a new primary starts as the replica of a placeholder primary, which does not exist, and replaces it
    when the state of the cluster is ok. See docs/decisions/0016.
    """
    address = f"{node.host}:{node.port}@{node.bus_port},,tls-port={node.tls_listener or 0},shard-id={node.id}"
    lines = [f"{node.id} {address} myself,master - 0 0 0 connected"]
    if node.role == "primary":
        placeholder, flags, unused, unused_tls = placeholder_primary(node), "master,noaddr", ":0@0", 0
        if slots:
            # For the state ok, Valkey counts only primaries that may be reachable.
            flags, unused, unused_tls = "master", f"{node.host}:1@1", 1 if node.tls_port else 0
        owned = f" {slots.first}-{slots.last}" if slots else ""
        lines = [
            f"{node.id} {address} myself,slave {placeholder} 0 0 {epoch} connected",
            f"{placeholder} {unused},,tls-port={unused_tls},shard-id={node.id} {flags} - 0 0 {epoch} "
            f"disconnected{owned}",
        ]
    return "\n".join([*lines, f"vars currentEpoch {epoch} lastVoteEpoch 0", ""])


def nodes_conf_behind(node: Node, primary: Node) -> str:
    """Return the nodes.conf of a new node that replicates a primary outside of any cluster. Its placeholder primary has
    the address of that one, and all slots, which the node takes over with the data. Both have TLS, or none of them."""
    placeholder, last = placeholder_primary(node), SLOTS - 1
    own = f"{node.host}:{node.port}@{node.bus_port},,tls-port={node.tls_listener or 0},shard-id={node.id}"
    other = f"{primary.host}:{primary.port}@{primary.bus_port},,tls-port={primary.tls_listener or 0},shard-id={node.id}"
    lines = [
        f"{node.id} {own} myself,slave {placeholder} 0 0 1 connected",
        f"{placeholder} {other} master - 0 0 1 disconnected 0-{last}",
    ]
    return "\n".join([*lines, "vars currentEpoch 1 lastVoteEpoch 0", ""])


def is_behind(nodes_conf: str | None, node: Node, primary: Node) -> bool:
    """Whether a node replicates this primary, by its nodes.conf: the placeholder primary has its address."""
    return f"{placeholder_primary(node)} {primary.host}:{primary.port}@" in (nodes_conf or "")


def placeholder_addresses(master: Node) -> tuple[str, str]:
    """Return the addresses that the placeholder primary of a node can have in that node's view, as `host:port@bus
    port`."""
    return ":0@0", f"{master.host}:1@1"


def placeholder_primary(master: Node) -> str:
    """Return the id of a new primary's placeholder primary. Other nodes never learn it."""
    return hashlib.sha1(f"{master.id}/stand-in".encode(), usedforsecurity=False).hexdigest()


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
