"""The replicas that a resize adds to shards that stay and removes from them, and the shards that stay. Pure.

The node whose address clients of the instance got, its seed, always stays, so that the address stays valid. If another
node of its shard is the primary and has to leave, the seed takes over from it first.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set

import msgspec

from cachewright.flavors import Flavor
from cachewright.model.instances import Instance, Node
from cachewright.topologies import layout
from cachewright.valkey.topology import View


class NamedNodes(msgspec.Struct, frozen=True):
    """Ids of nodes that the caller named: those that `stay` and those that `leave`."""

    stay: frozenset[str] = frozenset()
    leave: frozenset[str] = frozenset()


def seed_of(instance: Instance, nodes: Sequence[Node]) -> Node | None:
    """Return the node whose address is that of the instance."""
    return next((node for node in nodes if (node.host, node.port) == (instance.address, instance.seed_port)), None)


def by_shard(nodes: Sequence[Node]) -> Mapping[int, list[Node]]:
    shards: dict[int, list[Node]] = defaultdict(list)
    for node in nodes:
        shards[node.shard].append(node)
    return shards


def staying_shards(
    shards: Sequence[int], nodes: Sequence[Node], seed: Node | None, to: Flavor, named: NamedNodes
) -> set[int]:
    """Return which of the shards stay: that of the seed, then those with nodes that shall stay, then the first ones."""
    kept = {node.shard for node in nodes if node.id in named.stay}

    def rank(shard: int) -> tuple[bool, bool, int]:
        return seed is None or shard != seed.shard, shard not in kept, shard

    return set(sorted(shards, key=rank)[: to.shards])


def missing_copies(
    nodes: Sequence[Node], shards: Set[int], to: Flavor, instance_id: str, salt: str
) -> Mapping[int, range]:
    """Return the numbers of the copies that each of the shards lacks. Nodes that an earlier plan of the same run has
    stored, which have ids with this `salt`, are among them."""
    copies = {}
    for shard, found in by_shard(nodes).items():
        added = {layout.node_id(instance_id, shard, copy, salt=salt) for copy in range(to.copies)}
        present = sum(node.id not in added for node in found)
        if shard in shards and 0 < present < to.copies:
            copies[shard] = range(present, to.copies)
    return copies


class Shards(msgspec.Struct, frozen=True, kw_only=True):
    """Shards before replicas are removed from them.

    :ivar nodes: nodes that run, those of shards that are removed included.
    :ivar staying: numbers of the shards that stay.
    :ivar primaries: the present primary of each shard.
    :ivar views: by node id; None for a node that does not respond.
    :ivar primary_leaves_last: Sentinel chooses the successor of a primary among all nodes, so the others leave before.
    """

    nodes: Sequence[Node]
    staying: Set[int]
    primaries: Mapping[int, Node]
    views: Mapping[str, View | None]
    seed: Node | None
    primary_leaves_last: bool = False


def surplus_replicas(shards: Shards, to: Flavor, named: NamedNodes) -> list[Node]:
    """Return the nodes to remove from shards that have more copies than `to`, in the order in which they leave.
    Preferably they are named by the caller, do not respond, or are no primary."""

    def leads(node: Node) -> bool:
        return shards.primaries.get(node.shard) is node

    def rank(node: Node) -> tuple[bool, bool, bool, bool, bool, int, str]:
        is_seed = shards.seed is not None and node.id == shards.seed.id
        answers = shards.views.get(node.id) is not None
        is_named = node.id in named.leave
        return is_seed, node.id in named.stay, not is_named, answers, leads(node), -node.created_at, node.id

    surplus = []
    for shard, nodes in sorted(by_shard(shards.nodes).items()):
        if shard in shards.staying:
            leaving = sorted(nodes, key=rank)[: max(len(nodes) - to.copies, 0)]
            surplus += sorted(leaving, key=leads, reverse=not shards.primary_leaves_last)
    return surplus
