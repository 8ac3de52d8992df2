"""Which nodes an instance consists of: ids, ports, shards and roles of the nodes it is about to get."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import sqlalchemy as sa

from cachewright.config import Settings, show_ports
from cachewright.errors import Refusal
from cachewright.flavors import Flavor
from cachewright.hosts.ports import NodePorts, free_node_ports, is_free
from cachewright.store import instances
from cachewright.store.records import Node, Role
from cachewright.tasks.clock import now_ms
from cachewright.valkey.topology import View

MEGABYTE = 1024 * 1024


def new_nodes(
    connection: sa.Connection,
    settings: Settings,
    instance_id: str,
    flavor: Flavor,
    *,
    tls: bool,
    shards: Iterable[int] | None = None,
    seed_port: int | None = None,
    salt: str = "",
) -> list[Node]:
    """Nodes for `shards` (all of the flavor's where not given), none of them stored yet. `tls`: their bus uses TLS.

    Ids follow from the instance, `salt`, the shard and the copy: the same call gives the same nodes, on other ports.
    Refusal DCS.4062 where `seed_port` is taken, or is one of those that only nodes connect to.
    """
    taken = instances.taken_ports(connection, settings.node_host)
    if seed_port is not None:
        _require_free(settings, taken, seed_port)
    available = _free(settings, taken | {seed_port or 0}, tls=tls)
    nodes: list[Node] = []
    for shard in range(flavor.shards) if shards is None else shards:
        for copy in range(flavor.copies):
            role: Role = "slave" if copy else "master"
            ports = next(available)
            nodes.append(
                Node(
                    id=hashlib.sha1(f"{instance_id}/{salt}/{shard}/{copy}".encode(), usedforsecurity=False).hexdigest(),
                    instance_id=instance_id,
                    shard=shard,
                    role=role,
                    host=settings.node_host,
                    port=ports.client if nodes or not seed_port else seed_port,
                    bus_port=ports.bus,
                    tls_port=ports.tls,
                    maxmemory=flavor.shard_mb * MEGABYTE,
                    wanted=True,
                    created_at=now_ms(),
                )
            )
    return nodes


def masters(nodes: Sequence[Node], view: View) -> Mapping[int, Node]:
    """Who is master of each shard now, by shard. Of two that think they are, the one that lives and owns slots."""
    leads = [(node, member) for node in nodes if (member := view.members.get(node.id)) and not member.primary]
    leads.sort(key=lambda lead: (lead[1].known, bool(lead[1].slots)))
    return {node.shard: node for node, _ in leads}


def other_ports(connection: sa.Connection, settings: Settings, *, tls: bool) -> NodePorts:
    """Free ports for one node."""
    return next(_free(settings, instances.taken_ports(connection, settings.node_host), tls=tls))


def _free(settings: Settings, taken: set[int], *, tls: bool) -> Iterator[NodePorts]:
    return free_node_ports(settings.node_host, settings.node_ports, settings.bus_ports, taken, tls=tls)


def _require_free(settings: Settings, taken: set[int], port: int) -> None:
    if port in range(*settings.bus_ports):
        reason = f"{port} is one of {show_ports(settings.bus_ports)}, which are for the cluster bus"
        raise Refusal("DCS.4062", parameter="port", reason=reason)
    if port in taken or not is_free(settings.node_host, port):
        raise Refusal("DCS.4062", parameter="port", reason=f"{port} is taken")
