"""Layout of the nodes of an instance: ids, shards and roles."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from cachewright.clock import now_ms
from cachewright.config import Settings
from cachewright.flavors import MAX_REPLICAS, Flavor
from cachewright.hosts.ports import NodePorts
from cachewright.model.instances import Node, Role


def new_nodes(
    settings: Settings,
    instance_id: str,
    flavor: Flavor,
    *,
    shards: Iterable[int] | None = None,
    salt: str = "",
    server_version: str | None = None,
) -> list[Node]:
    """Return nodes for `shards`, or for all shards of the flavor. They are not stored and have port 0.

    Ids are derived from the instance, `salt`, the shard and the copy, so the same call returns the same nodes.
    """
    return [
        _node(settings, instance_id, flavor, shard=shard, copy=copy, salt=salt, server_version=server_version)
        for shard in (range(flavor.shards) if shards is None else shards)
        for copy in range(flavor.copies)
    ]


def new_replicas(
    settings: Settings,
    instance_id: str,
    flavor: Flavor,
    copies: Mapping[int, Iterable[int]],
    *,
    salt: str,
    server_version: str | None = None,
) -> list[Node]:
    """Return replicas for existing shards, like `new_nodes`. `copies` are the numbers of the copies, by shard; 0 is
    the primary."""
    return [
        _node(settings, instance_id, flavor, shard=shard, copy=copy, salt=salt, server_version=server_version)
        for shard, missing in copies.items()
        for copy in missing
    ]


def node_id(instance_id: str, shard: int, copy: int, *, salt: str = "") -> str:
    """Return the id of a copy of a shard."""
    return hashlib.sha1(f"{instance_id}/{salt}/{shard}/{copy}".encode(), usedforsecurity=False).hexdigest()


def has_salt(node: Node, salt: str) -> bool:
    """Whether the id of a node was derived with this salt."""
    return any(node.id == node_id(node.instance_id, node.shard, copy, salt=salt) for copy in range(MAX_REPLICAS + 2))


def _node(
    settings: Settings,
    instance_id: str,
    flavor: Flavor,
    *,
    shard: int,
    copy: int,
    salt: str,
    server_version: str | None,
) -> Node:
    role: Role = "replica" if copy else "primary"
    return Node(
        id=node_id(instance_id, shard, copy, salt=salt),
        instance_id=instance_id,
        shard=shard,
        role=role,
        host=settings.node_host,
        port=0,
        bus_port=0,
        maxmemory=flavor.shard_bytes,
        should_run=True,
        created_at=now_ms(),
        server_version=server_version,
    )


def placed(nodes: Sequence[Node], ports: Sequence[NodePorts]) -> list[Node]:
    """Return the nodes with these ports and their addresses, which are in the same order."""
    return [msgspec.structs.replace(node, **own.columns) for node, own in zip(nodes, ports, strict=True)]
