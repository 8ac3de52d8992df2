"""The changes that a resize makes to a cluster. Pure: the same observation gives the same plan.

The plan follows from the cluster as it is, not from the recorded size of the instance: a resize that failed half-way
leaves more shards than intended, and the next one continues from there. The invariants, which property tests
verify: slots leave every shard that is removed, and the other shards are balanced; each shard has the copies of the
new size; no node is both added and removed; a node that stays gets the memory of the new size; a new replica has no
less memory than its primary; a shard with room for its data passes the checks.
"""

import math
from collections.abc import Mapping, Sequence, Set

import msgspec
from msgspec.structs import replace

from cachewright.flavors import Flavor, parse
from cachewright.model.instances import Instance, Node
from cachewright.operations.actions.checks import CheckResources, Room
from cachewright.operations.resize.cost_model import Host, moved_bytes
from cachewright.operations.resize.replica_plan import (
    NamedNodes,
    Shards,
    missing_copies,
    seed_of,
    staying_shards,
    surplus_replicas,
)
from cachewright.placement import capacity
from cachewright.topologies import topology_of
from cachewright.valkey import slots
from cachewright.valkey.node_load import NodeLoad
from cachewright.valkey.slots import Move, SlotRange
from cachewright.valkey.topology import Member, View

NONE_NAMED = NamedNodes()
FULLEST = 0.7
"""Share of its memory that a shard may use after a scale-in (the cloud's own rule)."""


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster and what is recorded of it, at one moment.

    :ivar nodes: the recorded nodes of the instance.
    :ivar views: the view of each recorded node, by node id; None for a node that does not respond.
    :ivar primaries: the current primary of each shard, by shard.
    :ivar owned: slot ranges by node id; nodes without slots are left out.
    :ivar loads: of each primary, by node id.
    :ivar host: what determines the speed of slot migrations.
    """

    instance: Instance
    nodes: Sequence[Node]
    views: Mapping[str, View | None]
    primaries: Mapping[int, Node]
    owned: Mapping[str, Sequence[SlotRange]]
    loads: Mapping[str, NodeLoad]
    host: Host


class ResizePlan(msgspec.Struct, frozen=True, kw_only=True):
    """The changes of one resize.

    :ivar kept: recorded nodes that run and are not added by this resize, those to remove included.
    :ivar added: nodes to add, not stored yet.
    :ivar replicas: those of `added` that are for shards that exist.
    :ivar removed: nodes to remove once their shards are empty.
    :ivar surplus: nodes to remove from shards that stay.
    :ivar moves: slot ranges to migrate.
    :ivar resized: nodes that stay and get another `maxmemory`, and new replicas of shards that are larger until then.
    :ivar grows: `resized` get more memory than they have, so they get it before slots move.
    :ivar now: present size, :ivar to: new size.
    """

    kept: Sequence[Node]
    added: Sequence[Node]
    replicas: Sequence[Node]
    removed: Sequence[Node]
    surplus: Sequence[Node]
    moves: Sequence[Move]
    resized: Sequence[Node]
    grows: bool
    requirements: CheckResources
    now: Flavor
    to: Flavor


def shards_to_add(observed: Observation, to: Flavor) -> range:
    """Numbers of the shards that the cluster lacks. No number is used again while its shard exists."""
    first = max(observed.primaries, default=-1) + 1
    return range(first, first + max(to.shards - len(observed.primaries), 0))


def replicas_to_add(observed: Observation, to: Flavor, salt: str, named: NamedNodes) -> Mapping[int, range]:
    """Numbers of the copies that shards lack, by shard. For `salt` see `replica_plan.missing_copies`."""
    shards = _staying_shards(observed, to, named)
    return missing_copies(observed.nodes, shards, to, observed.instance.id, salt)


def decide(observed: Observation, to: Flavor, added: Sequence[Node], named: NamedNodes = NONE_NAMED) -> ResizePlan:
    """The changes that make the cluster `to`. `added` are the nodes for `shards_to_add` and `replicas_to_add`; some of
    them may be recorded already, by an earlier plan of the same run. ValueError if a slot does not have exactly one
    owner."""
    added, added_ids = _as_large_as_primaries(observed, added), {node.id for node in added}
    replicas = [node for node in added if node.shard in observed.primaries]
    kept = [node for node in observed.nodes if node.should_run and node.id not in added_ids]
    shards = _staying_shards(observed, to, named)
    leaving = observed.primaries.keys() - shards
    removed = [node for node in observed.nodes if node.shard in leaving]
    present = Shards(
        nodes=kept,
        staying=shards,
        primaries=observed.primaries,
        views=observed.views,
        seed=seed_of(observed.instance, observed.nodes),
        primary_leaves_last=topology_of(observed.instance.spec_code).has_sentinel,
    )
    surplus = surplus_replicas(present, to, named)
    staying = [node.id for shard, node in observed.primaries.items() if shard not in leaving]
    staying += [node.id for node in added if node.role == "primary"]
    moves = slots.plan_moves(observed.owned, staying)
    maxmemory = to.shard_bytes
    resized = [
        node for node in kept if node.maxmemory != maxmemory and node.shard not in leaving and node not in surplus
    ]
    resized += [node for node in replicas if node.maxmemory != maxmemory]
    grows = bool(resized) and resized[0].maxmemory < maxmemory
    shrinking = {node.id for node in resized if node.maxmemory > maxmemory}
    return ResizePlan(
        kept=kept,
        added=added,
        replicas=replicas,
        removed=removed,
        surplus=surplus,
        moves=moves,
        resized=resized,
        grows=grows,
        now=parse(observed.instance.spec_code),
        to=to,
        requirements=_requirements(
            observed.loads,
            to,
            staying,
            moves,
            added=len(added),
            copied=sum(copied_bytes(observed, node) for node in replicas),
            shrinking=shrinking,
        ),
    )


def _as_large_as_primaries(observed: Observation, added: Sequence[Node]) -> list[Node]:
    """Return the nodes with at least the memory of the present primary of their shard. A smaller replica would evict
    keys, or refuse writes, if it took over before the slots have moved."""
    present = {shard: node.maxmemory for shard, node in observed.primaries.items()}
    return [replace(node, maxmemory=max(node.maxmemory, present.get(node.shard, 0))) for node in added]


def copied_bytes(observed: Observation, replica: Node) -> int:
    """The bytes that a new replica copies from the primary of its shard."""
    primary = observed.primaries[replica.shard]
    return observed.loads[primary.id].used_memory


def unused_nodes(nodes: Sequence[Node], added: Set[str], members: Mapping[str, Member]) -> list[Node]:
    """The `added` nodes that an interrupted resize has left without a use: those of new shards without slots, and new
    replicas of old shards. `members` are those of the cluster by node id."""
    owners = {node.id for node in nodes if node.id in members and members[node.id].slots}
    used = {node.shard for node in nodes if node.id in owners}
    old = {node.shard for node in nodes if node.id not in added}
    return [
        node
        for node in nodes
        if node.id in added and (node.shard not in used or (node.shard in old and node.id not in owners))
    ]


def _staying_shards(observed: Observation, to: Flavor, named: NamedNodes) -> set[int]:
    seed = seed_of(observed.instance, observed.nodes)
    return staying_shards(sorted(observed.primaries), observed.nodes, seed, to, named)


def _requirements(
    loads: Mapping[str, NodeLoad],
    to: Flavor,
    staying: Sequence[str],
    moves: Sequence[Move],
    *,
    added: int,
    copied: int,
    shrinking: Set[str],
) -> CheckResources:
    """Room is required of each shard that gets slots or less memory. One that gets more memory always has enough.
    `copied` are the bytes that new replicas of existing shards copy."""
    size = {move: math.ceil(moved_bytes(move, loads[move.source])) for move in moves}
    moved = sum(size.values())
    may_hold = int(to.shard_bytes * FULLEST)
    rooms = []
    for node_id in staying:
        arriving = sum(size[move] for move in moves if move.target == node_id)
        departing = sum(size[move] for move in moves if move.source == node_id)
        if arriving or node_id in shrinking:
            used_memory = loads[node_id].used_memory if node_id in loads else 0
            rooms.append(Room(node_id, used_memory + arriving - departing, may_hold))
    return CheckResources(
        host_bytes=capacity.EMPTY_NODE * added + moved * to.copies + copied,
        disk_bytes=capacity.disk_bytes(moved, to.copies, added) + capacity.disk_bytes(copied, 1, 0),
        rooms=tuple(rooms),
    )
