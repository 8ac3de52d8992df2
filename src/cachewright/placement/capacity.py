"""Check whether a host and a project's quota have room for an instance. Pure.

A node may fill its `maxmemory` at any time, so the check counts allocated memory, not used memory. A node takes more
memory of its host than its `maxmemory`. Measured with the bundled Valkey 9.1.2 (libc's malloc) and `maxmemory` 512 MB:

- an empty node: 7 MB; the replication backlog of one with replicas takes 10 MB, cluster bus and clients some MB more
- filled once to `maxmemory`: 1.02 (values of 16 to 4000 bytes) to 1.08 (200 bytes) times `maxmemory`
- filled, emptied and filled again with values of other sizes: up to 1.5 times
- while a child rewrites the append-only file under writes: 0.1 to 0.45 times more, as pages are copied

Not all nodes are at their peak at the same time. Other services also reserve a quarter more than `maxmemory`.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

import msgspec

from cachewright import errors
from cachewright.flavors import MEGABYTE, Flavor
from cachewright.model.instances import Node

GIGABYTE = 1024 * MEGABYTE

MEMORY_FACTOR = 1.25
NODE_MEMORY = 24 * MEGABYTE
"""Bytes of host memory that a node takes besides its data."""

EMPTY_NODE = 16 * MEGABYTE
"""Free memory and free disk that the start of an empty node needs."""

DISK_FACTOR = 1.25
"""During a rewrite the old and the new append-only file exist."""

PORTS_A_NODE = 2


class Size(msgspec.Struct, frozen=True):
    """A number of nodes, and the sum of their `maxmemory` in bytes."""

    nodes: int = 0
    maxmemory: int = 0

    def __add__(self, other: "Size") -> "Size":
        return Size(self.nodes + other.nodes, self.maxmemory + other.maxmemory)

    def __sub__(self, other: "Size") -> "Size":
        return Size(self.nodes - other.nodes, self.maxmemory - other.maxmemory)

    def __mul__(self, times: int) -> "Size":
        return Size(self.nodes * times, self.maxmemory * times)

    @property
    def host_memory(self) -> int:
        """Bytes of the host's memory that these nodes may take."""
        return self.nodes * NODE_MEMORY + math.ceil(self.maxmemory * MEMORY_FACTOR)


class Allocated(msgspec.Struct, frozen=True):
    """Resources of a project, or of all projects."""

    instances: int = 0
    size: Size = Size()


class HostLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Memory and free disk of one host in bytes, its number of ports for clients, its address for nodes, and whether
    its valkey-server has TLS."""

    address: str
    memory: int
    disk_free: int
    ports: int
    tls: bool = False


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of the hosts together and of a project. Memory and disk are in bytes; a quota of 0 means no limit.

    :ivar overcommit: factor by which a host's memory may be allocated.
    :ivar ports: number of ports that nodes may take.
    :ivar hosts: memory and free disk of each host, by its name.
    """

    host_memory: int
    overcommit: float
    disk_free: int
    ports: int
    quota_instances: int
    quota_nodes: int
    quota_memory: int
    hosts: Mapping[str, HostLimits] = {}

    def of(self, names: Collection[str]) -> "Limits":
        """Return the limits with these hosts alone."""
        found = {name: host for name, host in self.hosts.items() if name in names}
        return msgspec.structs.replace(
            self,
            host_memory=sum(host.memory for host in found.values()),
            disk_free=sum(host.disk_free for host in found.values()),
            ports=sum(host.ports for host in found.values()),
            hosts=found,
        )

    def memory_of(self, name: str) -> int | None:
        """Bytes of one host's memory that may be allocated; None if it does not report."""
        return int(self.hosts[name].memory * self.overcommit) if name in self.hosts else None

    @property
    def memory(self) -> int:
        """Bytes of the hosts' memory that may be allocated."""
        return int(self.host_memory * self.overcommit)

    @property
    def project_memory(self) -> int:
        """Limit for the sum of `maxmemory` of one project: its quota, or the capacity of the host if that is less."""
        hosted = int(self.memory / MEMORY_FACTOR)
        return min(self.quota_memory, hosted) if self.quota_memory else hosted


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """Resources that a change needs.

    :ivar instances: number of new instances.
    :ivar size: largest size during the change of the instances that are added or changed.
    :ivar held: their size before the change.
    :ivar disk: bytes that the change writes.
    :ivar grown: largest `maxmemory` of present nodes during the change, by id.
    """

    instances: int = 0
    size: Size
    held: Size = Size()
    disk: int = 0
    grown: Mapping[str, int] = {}


class Shortage(msgspec.Struct, frozen=True):
    """A missing resource: a code of the error table and a reason with the figures."""

    code: str
    reason: str


def size_of(flavor: Flavor) -> Size:
    nodes = flavor.shards * flavor.copies
    return Size(nodes, nodes * flavor.shard_bytes)


def size_of_nodes(nodes: Sequence[Node]) -> Size:
    return Size(len(nodes), sum(node.maxmemory for node in nodes))


def size_during_resize(nodes: Sequence[Node], flavor: Flavor) -> Size:
    """Return the largest size of an instance during a resize to `flavor`: nodes are removed last, and the remaining
    nodes grow before the data moves and shrink after it."""
    shard_bytes = flavor.shard_bytes
    limits = _grown(nodes, flavor)
    limits += [shard_bytes] * max(flavor.shards - len({node.shard for node in nodes}), 0) * flavor.copies
    for shard, missing in _missing_replicas(nodes, flavor).items():  # each as large as its primary until the data moves
        limits += [max(shard_bytes, *(node.maxmemory for node in nodes if node.shard == shard))] * missing
    return Size(len(limits), sum(limits))


def grown_nodes(nodes: Sequence[Node], flavor: Flavor) -> dict[str, int]:
    """Return the largest `maxmemory` of present nodes during a resize to `flavor`, by id."""
    return dict(zip((node.id for node in nodes), _grown(nodes, flavor), strict=True))


def _grown(nodes: Sequence[Node], flavor: Flavor) -> list[int]:
    staying = sorted({node.shard for node in nodes})[: flavor.shards]
    return [max(node.maxmemory, flavor.shard_bytes) if node.shard in staying else node.maxmemory for node in nodes]


def missing_replicas(nodes: Sequence[Node], flavor: Flavor) -> int:
    """Return the number of replicas that existing shards lack for `flavor`."""
    return sum(_missing_replicas(nodes, flavor).values())


def _missing_replicas(nodes: Sequence[Node], flavor: Flavor) -> dict[int, int]:
    copies = Counter(node.shard for node in nodes)
    return {shard: max(flavor.copies - copies[shard], 0) for shard in sorted(copies)[: flavor.shards]}


def copied_bytes(dataset: int, nodes: Sequence[Node], flavor: Flavor) -> int:
    """Return the bytes of a data set that new replicas of existing shards copy."""
    shards = len({node.shard for node in nodes})
    return math.ceil(dataset * missing_replicas(nodes, flavor) / max(shards, 1))


def moved_bytes(dataset: int, shards: int, new_shards: int) -> int:
    """Return the bytes of a data set that move to other shards when the number of shards changes."""
    return math.ceil(dataset * abs(new_shards - shards) / max(shards, new_shards, 1))


def disk_bytes(moved: int, copies: int, new_nodes: int) -> int:
    """Return the bytes of disk for moved data, which every copy of its new shard writes, and for new nodes."""
    return new_nodes * EMPTY_NODE + math.ceil(moved * copies * DISK_FACTOR)


def shortages(request: Request, project: Allocated, host: Allocated, limits: Limits) -> Iterator[Shortage]:
    """Yield every shortage. `project` and `host` do not include the instances of the request.

    Only resources of which the request needs more than before are checked, so that a project or a host over its limits
    can shrink.
    """
    size, held = request.size, request.held
    if request.instances and 0 < limits.quota_instances < project.instances + request.instances:
        reason = f"{request.instances} asked for, {project.instances} of the project's {limits.quota_instances} exist"
        yield Shortage(errors.INSTANCE_QUOTA_EXCEEDED, reason)
    if size.nodes > held.nodes:
        if 0 < limits.quota_nodes < project.size.nodes + size.nodes:
            reason = (
                f"{size.nodes} nodes needed, other instances have {project.size.nodes} of the project's "
                f"{limits.quota_nodes}"
            )
            yield Shortage(errors.LIMIT_EXCEEDED, reason)
        if limits.ports < (host.size.nodes + size.nodes) * PORTS_A_NODE:
            reason = (
                f"{size.nodes * PORTS_A_NODE} ports needed, other instances have "
                f"{host.size.nodes * PORTS_A_NODE} of {limits.ports}"
            )
            yield Shortage(errors.LIMIT_EXCEEDED, reason)
    if size.maxmemory > held.maxmemory and 0 < limits.quota_memory < project.size.maxmemory + size.maxmemory:
        reason = (
            f"{_gigabytes(size.maxmemory)} needed, other instances have {_gigabytes(project.size.maxmemory)} of the "
            f"project's quota of {_gigabytes(limits.quota_memory)}"
        )
        yield Shortage(errors.NOT_ENOUGH_MEMORY, reason)
    if size.host_memory > held.host_memory and limits.memory < host.size.host_memory + size.host_memory:
        times = "" if limits.overcommit == 1 else f", which may be allocated {limits.overcommit:g} times"
        reason = (
            f"{_gigabytes(size.host_memory)} needed with overhead, {_gigabytes(host.size.host_memory)} are allocated "
            f"to other instances, {_owner(limits)} {_gigabytes(limits.host_memory)}{times}"
        )
        yield Shortage(errors.NOT_ENOUGH_MEMORY, reason)
    if request.disk > limits.disk_free:
        reason = f"{_gigabytes(request.disk)} of disk needed, {_gigabytes(limits.disk_free)} are free"
        yield Shortage(errors.NOT_ENOUGH_DISK, reason)


def _owner(limits: Limits) -> str:
    return "the host has" if len(limits.hosts) <= 1 else f"{len(limits.hosts)} hosts have"


def _gigabytes(size: int) -> str:
    return f"{size / GIGABYTE:,.2f} GB"
