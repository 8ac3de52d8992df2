"""The files a node is started with: valkey.conf and, for a new cluster, nodes.conf.

Sources: valkey.conf and the cluster specification of Valkey 9.1. Persistence is an append-only file that is written
before a command is answered, so a node that is killed comes back with every write it acknowledged.
"""

from collections.abc import Mapping, Sequence

from cachewright.store.records import Node
from cachewright.valkey.slots import SlotRange

CLUSTER_NODE_TIMEOUT_MS = 5000


def valkey_conf(node: Node, password: str | None) -> str:
    settings: list[tuple[str, object]] = [
        ("bind", node.host),
        ("port", node.port),
        ("cluster-port", node.bus_port),
        ("daemonize", "yes"),
        ("pidfile", "valkey.pid"),
        ("logfile", "valkey.log"),
        ("loglevel", "warning"),  # at notice a node writes a line for each slot it hands over, while clients wait
        ("set-proc-title", "no"),  # the command line keeps naming the folder, by which the process is found again
        ("maxmemory", node.maxmemory),
        ("maxmemory-policy", "noeviction"),
        ("appendonly", "yes"),
        ("appendfsync", "everysec"),
        ("save", '""'),
        ("repl-diskless-sync-delay", 0),
        ("cluster-enabled", "yes"),
        ("cluster-node-timeout", CLUSTER_NODE_TIMEOUT_MS),
        ("cluster-require-full-coverage", "no"),
        ("cluster-allow-replica-migration", "no"),  # who replicates whom is the control plane's to say
        ("cluster-slot-stats-enabled", "yes"),
        ("cluster-slot-migration-log-max-len", 100),  # the log is read several times a second
    ]
    if password:
        settings += [("requirepass", _quoted(password)), ("primaryauth", _quoted(password))]
    return "".join(f"{name} {value}\n" for name, value in settings)


def nodes_conf(myself: Node, nodes: Sequence[Node], owned: Mapping[str, SlotRange]) -> str:
    """A cluster that knows itself from the start: every node, its role, its slots, and an epoch for each master."""
    masters = {node.shard: node for node in nodes if node.role == "master"}
    epochs = {node.id: epoch for epoch, node in enumerate(masters.values(), start=1)}
    lines = []
    for node in nodes:
        master = masters[node.shard]
        flags = "myself," * (node.id == myself.id) + node.role
        primary = "-" if node is master else master.id
        slots = owned.get(node.id)
        address = f"{node.host}:{node.port}@{node.bus_port},,tls-port=0,shard-id={shard_id(master)}"
        line = f"{node.id} {address} {flags} {primary} 0 0 {epochs[master.id]} connected"
        lines.append(f"{line} {slots.first}-{slots.last}" if slots else line)
    return "\n".join([*lines, f"vars currentEpoch {len(epochs)} lastVoteEpoch 0", ""])


def lone_nodes_conf(node: Node) -> str:
    """A master that owns nothing and knows nobody, but has its id: to be met by a cluster."""
    address = f"{node.host}:{node.port}@{node.bus_port},,tls-port=0,shard-id={shard_id(node)}"
    return f"{node.id} {address} myself,master - 0 0 0 connected\nvars currentEpoch 0 lastVoteEpoch 0\n"


def shard_id(master: Node) -> str:
    """40 hex that all nodes of a shard share: the id of the node that was made as its master."""
    return master.id


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
