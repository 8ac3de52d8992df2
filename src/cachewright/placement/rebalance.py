"""Decide which nodes move to other hosts so that all hosts are used alike. Pure."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from cachewright.hosts.addresses import is_loopback
from cachewright.model.instances import Node
from cachewright.placement.capacity import Size


class HostUse(msgspec.Struct, frozen=True, kw_only=True):
    """A host that takes new nodes.

    :ivar memory: bytes of its memory.
    :ivar allocated: bytes of it that are allocated to nodes.
    :ivar tls: whether its valkey-server has TLS, which nodes with TLS need.
    """

    name: str
    address: str
    zone: str
    memory: int
    allocated: int
    tls: bool = False

    def used(self, more: int = 0) -> float:
        """Return the share of its memory that is allocated, with so many bytes more."""
        return (self.allocated + more) / self.memory


class PlannedMove(msgspec.Struct, frozen=True, kw_only=True):
    """A node that moves. `to` is the name of its new host."""

    node: Node
    to: str

    @property
    def bytes(self) -> int:
        return Size(1, self.node.maxmemory).host_memory


def rebalance(hosts: Iterable[HostUse], nodes: Sequence[Node]) -> list[PlannedMove]:
    """Return moves. Each takes a node from a host to one that has a smaller share of its memory allocated, also
    with that node. A node stays in its zone, moves at most once, and never joins another copy of its shard. One that is
    stopped does not move, because it copies no data.

    :param nodes: all nodes of instances that can move.
    """
    uses = {host.name: host for host in hosts}
    places = {node.id: node.host_name for node in nodes}
    moves: list[PlannedMove] = []
    while found := _best(uses, nodes, places, {move.node.id for move in moves}):
        former, size = uses[found.node.host_name], found.bytes
        target = uses[found.to]
        uses[former.name] = msgspec.structs.replace(former, allocated=former.allocated - size)
        uses[target.name] = msgspec.structs.replace(target, allocated=target.allocated + size)
        places[found.node.id] = found.to
        moves.append(found)
    return moves


def _best(
    uses: Mapping[str, HostUse], nodes: Sequence[Node], places: Mapping[str, str], moved: set[str]
) -> PlannedMove | None:
    """Return the move that leaves its two hosts with the smallest larger share; None if no move helps."""
    shards: dict[tuple[str, int], set[str]] = {}
    for node in nodes:
        shards.setdefault((node.instance_id, node.shard), set()).add(places[node.id])
    best: tuple[float, str, PlannedMove] | None = None
    for node in nodes:
        source = uses.get(node.host_name)
        if source is None or node.id in moved or not node.should_run:
            continue
        for target in uses.values():
            move = PlannedMove(node=node, to=target.name)
            gain = source.used() - target.used(move.bytes)
            is_possible = (
                target.zone == source.zone
                and target.name not in shards[node.instance_id, node.shard]
                and is_loopback(target.address) == is_loopback(node.host)
                and (target.tls or node.tls_port is None)
            )
            if is_possible and gain > 0 and (best is None or (-gain, node.id) < best[:2]):
                best = -gain, node.id, move
    return best[2] if best else None
