"""The changes that a resize makes to a cluster. Pure: the same observation gives the same plan.

The plan follows from the cluster as it is, not from the recorded size of the instance: a resize that failed half-way
leaves more shards than intended, and the next one continues from there. The invariants, which property tests
verify: slots leave every shard that is removed, and the other shards are balanced; no node is both added and removed;
a node that stays gets the memory of the new size; a shard with room for its data passes the checks.
"""

import math
from collections.abc import Mapping, Sequence, Set

import msgspec

from cachewright.flavors import Flavor
from cachewright.model.instances import Instance, Node
from cachewright.operations.actions.checks import CheckResources, Room
from cachewright.operations.resize.cost_model import Host, moved_bytes
from cachewright.placement import capacity
from cachewright.valkey import slots
from cachewright.valkey.node_load import NodeLoad
from cachewright.valkey.slots import Move, SlotRange
from cachewright.valkey.topology import View

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
    :ivar removed: nodes to remove once their shards are empty.
    :ivar moves: slot ranges to migrate.
    :ivar resized: nodes that stay and get another `maxmemory`.
    :ivar grows: `resized` get more memory than they have, so they get it before slots move.
    """

    kept: Sequence[Node]
    added: Sequence[Node]
    removed: Sequence[Node]
    moves: Sequence[Move]
    resized: Sequence[Node]
    grows: bool
    requirements: CheckResources


def shards_to_add(observed: Observation, to: Flavor) -> range:
    """Numbers of the shards that the cluster lacks. No number is used again while its shard exists."""
    first = max(observed.primaries, default=-1) + 1
    return range(first, first + max(to.shards - len(observed.primaries), 0))


def decide(observed: Observation, to: Flavor, added: Sequence[Node]) -> ResizePlan:
    """The changes that make the cluster `to`. `added` are the nodes for `shards_to_add`; some of them may be recorded
    already, by an earlier plan of the same run. ValueError if a slot does not have exactly one owner."""
    added_ids = {node.id for node in added}
    kept = [node for node in observed.nodes if node.should_run and node.id not in added_ids]
    leaving = sorted(observed.primaries)[to.shards :]
    removed = [node for node in observed.nodes if node.shard in leaving]
    staying = [node.id for shard, node in observed.primaries.items() if shard not in leaving]
    staying += [node.id for node in added if node.role == "primary"]
    moves = slots.plan_moves(observed.owned, staying)
    maxmemory = to.shard_bytes
    resized = [node for node in kept if node.maxmemory != maxmemory and node.shard not in leaving]
    grows = bool(resized) and resized[0].maxmemory < maxmemory
    shrinking = {node.id for node in resized if node.maxmemory > maxmemory}
    return ResizePlan(
        kept=kept,
        added=added,
        removed=removed,
        moves=moves,
        resized=resized,
        grows=grows,
        requirements=_requirements(observed.loads, to, staying, moves, added=len(added), shrinking=shrinking),
    )


def _requirements(
    loads: Mapping[str, NodeLoad],
    to: Flavor,
    staying: Sequence[str],
    moves: Sequence[Move],
    *,
    added: int,
    shrinking: Set[str],
) -> CheckResources:
    """Room is required of each shard that gets slots or less memory. One that gets more memory always has enough."""
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
        host_bytes=capacity.EMPTY_NODE * added + moved * to.copies,
        disk_bytes=capacity.disk_bytes(moved, to.copies, added),
        rooms=tuple(rooms),
    )
