"""Decide which host runs each new node. Pure.

Copies of a shard are spread over hosts, and over zones if a request names several: two of them share a host only if no
other host has room, and share a zone only if there are more copies than zones. Primaries of one instance are spread
over hosts, and of equal hosts the one with the most free memory is taken. Hosts on loopback and others never share an
instance.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from cachewright.errors import CachewrightError
from cachewright.hosts.addresses import is_loopback
from cachewright.model.instances import Node
from cachewright.placement.capacity import Size


class NoHost(CachewrightError):
    """No host has room for a node."""


class HostRoom(msgspec.Struct, frozen=True, kw_only=True):
    """A host that takes new nodes.

    :ivar memory: bytes that may be allocated to nodes.
    :ivar allocated: size of the nodes that it has.
    :ivar nodes: number of nodes that its ports suffice for.
    """

    name: str
    address: str
    zone: str
    memory: int
    allocated: Size
    nodes: int

    def fits(self, added: Size) -> bool:
        size = self.allocated + added
        return size.nodes <= self.nodes and size.host_memory <= self.memory


def place(
    nodes: Sequence[Node],
    hosts: Iterable[HostRoom],
    *,
    zones: Sequence[str] = (),
    neighbours: Sequence[Node] = (),
    zone_of: Mapping[str, str] | None = None,
    one_machine: bool = False,
) -> list[Node]:
    """Return the nodes with their hosts and addresses. Raises NoHost.

    :param nodes: new nodes; within a shard, the primary comes first.
    :param zones: zones to use, that of primaries first; empty for all.
    :param neighbours: nodes that the instance already has.
    :param zone_of: zones of the hosts of the neighbours, by name.
    :param one_machine: all nodes of an instance are on one machine, so they reach each other at every address.
    """
    rooms = {host.name: host for host in hosts}
    zone_by_host = {**(zone_of or {}), **{host.name: host.zone for host in rooms.values()}}
    spread = _Spread()
    for node in neighbours:
        spread.add(node)
    placed = []
    for node in nodes:
        taken = spread.copies[node.instance_id, node.shard]
        zone = _zone(zones, [zone_by_host.get(name, "") for name in taken])
        added = Size(1, node.maxmemory)
        reachable = [room for room in rooms.values() if one_machine or spread.reaches(node, room.address)]
        fitting = [room for room in reachable if _in_zone(room, zones, zone) and room.fits(added)]
        if not fitting:
            raise NoHost(_reason(node, reachable, zones, zone))
        chosen = min(fitting, key=lambda room: (*spread.of(node, room.name), room.allocated.host_memory - room.memory))
        rooms[chosen.name] = msgspec.structs.replace(chosen, allocated=chosen.allocated + added)
        found = msgspec.structs.replace(node, host_name=chosen.name, host=chosen.address)
        spread.add(found)
        placed.append(found)
    return placed


def fits(nodes: Sequence[Node], hosts: Iterable[HostRoom]) -> bool:
    """Whether the hosts of these new nodes still have room for them."""
    added: defaultdict[str, Size] = defaultdict(Size)
    for node in nodes:
        added[node.host_name] += Size(1, node.maxmemory)
    rooms = {host.name: host for host in hosts}
    return all(name in rooms and rooms[name].fits(size) for name, size in added.items())


def misplaced(nodes: Sequence[Node], zone_of: Mapping[str, str], zones: Sequence[str]) -> list[Node]:
    """Return the nodes of an instance that must leave their hosts for the instance to be in these zones. The copies of
    each shard are divided among them as by `place`.

    :param zone_of: zones of hosts, by name.
    """
    asked = list(dict.fromkeys(zones))
    shards: defaultdict[int, list[Node]] = defaultdict(list)
    for node in nodes:
        shards[node.shard].append(node)
    found = []
    for of_shard in shards.values():
        free = Counter(asked[place % len(asked)] for place in range(len(of_shard)))
        for node in of_shard:
            zone = zone_of.get(node.host_name, "")
            if free[zone] > 0:
                free[zone] -= 1
            else:
                found.append(node)
    return found


class _Spread:
    """Where the nodes of each instance are.

    :ivar copies: names of the hosts of each shard, by instance and shard.
    """

    def __init__(self) -> None:
        self.copies: defaultdict[tuple[str, int], list[str]] = defaultdict(list)
        self._primaries: Counter[tuple[str, str]] = Counter()
        self._nodes: Counter[tuple[str, str]] = Counter()
        self._on_loopback: dict[str, bool] = {}

    def add(self, node: Node) -> None:
        self.copies[node.instance_id, node.shard].append(node.host_name)
        self._on_loopback.setdefault(node.instance_id, is_loopback(node.host))
        self._nodes[node.instance_id, node.host_name] += 1
        self._primaries[node.instance_id, node.host_name] += node.role == "primary"

    def reaches(self, node: Node, address: str) -> bool:
        """Whether a node at this address and the present nodes of its instance can reach each other: all or none of
        them are on loopback. Without a password, an instance on loopback so stays there."""
        on_loopback = is_loopback(address)
        return self._on_loopback.get(node.instance_id, on_loopback) == on_loopback

    def of(self, node: Node, host_name: str) -> tuple[int, int, int]:
        """Return the number of copies of the node's shard, of primaries if it is one, and of nodes of its instance that
        are on a host."""
        place = node.instance_id, host_name
        copies = self.copies[node.instance_id, node.shard].count(host_name)
        return copies, self._primaries[place] if node.role == "primary" else 0, self._nodes[place]


def _zone(zones: Sequence[str], taken: Sequence[str]) -> str | None:
    """Return the zone for the next copy of a shard whose other copies are in `taken`; None for any."""
    asked = list(dict.fromkeys(zones))
    return min(asked, key=lambda zone: (taken.count(zone), asked.index(zone)), default=None)


def _in_zone(room: HostRoom, zones: Sequence[str], zone: str | None) -> bool:
    return not zones or room.zone == zone


def _reason(node: Node, rooms: Iterable[HostRoom], zones: Sequence[str], zone: str | None) -> str:
    there = [room for room in rooms if _in_zone(room, zones, zone)]
    place = f" in zone {zone}" if zone else ""
    if not there:
        return f"no host{place} takes new nodes"
    needed = Size(1, node.maxmemory).host_memory / 2**30
    return f"no host{place} has {needed:.2f} GB of memory and enough ports left for a node of shard {node.shard}"
