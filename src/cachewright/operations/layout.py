"""Which nodes an instance consists of: ids, ports, shards and roles of the nodes it is about to get."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import sqlalchemy as sa

from cachewright.config import Settings
from cachewright.errors import Refusal
from cachewright.flavors import Flavor
from cachewright.hosts.ports import free_ports, is_free
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
    shards: Iterable[int] | None = None,
    seed_port: int | None = None,
    salt: str = "",
) -> list[Node]:
    """Nodes for `shards` (all of the flavor's where not given), none of them stored yet.

    Ids follow from the instance, `salt`, the shard and the copy: the same call gives the same nodes, on other ports.
    Refusal DCS.4062 where `seed_port` is taken.
    """
    taken = instances.taken_ports(connection, settings.node_host)
    if seed_port is not None and (seed_port in taken or not is_free(settings.node_host, seed_port)):
        raise Refusal("DCS.4062", parameter="port", reason=f"{seed_port} is taken")
    ports = free_ports(settings.node_host, settings.node_ports, taken | {seed_port or 0})
    nodes: list[Node] = []
    for shard in range(flavor.shards) if shards is None else shards:
        for copy in range(flavor.copies):
            role: Role = "slave" if copy else "master"
            wished = seed_port if not nodes else None
            nodes.append(
                Node(
                    id=hashlib.sha1(f"{instance_id}/{salt}/{shard}/{copy}".encode(), usedforsecurity=False).hexdigest(),
                    instance_id=instance_id,
                    shard=shard,
                    role=role,
                    host=settings.node_host,
                    port=wished or next(ports),
                    bus_port=next(ports),
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


def two_ports(connection: sa.Connection, settings: Settings) -> tuple[int, int]:
    """A free port for clients and one for the cluster bus."""
    ports = free_ports(settings.node_host, settings.node_ports, instances.taken_ports(connection, settings.node_host))
    return next(ports), next(ports)
