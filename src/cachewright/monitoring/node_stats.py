"""What running nodes say of themselves, measured every few seconds: the last of each node, an hour of each instance."""

import asyncio
import random
import struct
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from cachewright.clock import now_ms
from cachewright.concurrency import gather_limited
from cachewright.heartbeats import LoopHeartbeats
from cachewright.model.instances import Node, Role
from cachewright.operations import STATUSES_WITH_RUNNING_NODES
from cachewright.operations.context import OperationContext
from cachewright.store import instances
from cachewright.threads import in_background
from cachewright.valkey.access import Access
from cachewright.valkey.client import NODE_GONE, NodeRefused
from cachewright.valkey.roles import ROLES
from cachewright.valkey.single_request import databases, info

MEASURE_SECONDS = 5.0
_KEPT = int(3600 / MEASURE_SECONDS)
_ANSWER_SECONDS = 1.0
_AT_ONCE = 64
_SILENT_AT_ONCE = 32
_SILENT_SECONDS = 3.0
"""For so long, in each round, nodes that did not answer last time are asked again."""

_MOST_BYTES = 2**50
_MOST_COUNT = 2**32 - 1
_SECTIONS = ("memory", "stats", "clients", "replication", "keyspace")


class NodeStats(msgspec.Struct, frozen=True, kw_only=True):
    """One node's numbers. Memory in bytes, traffic in kilobytes a second."""

    node: Node
    role: Role
    used_memory: int
    keys: int
    ops_per_second: int
    clients: int
    input_kbps: float
    output_kbps: float


class InstanceSample(msgspec.Struct, frozen=True, kw_only=True):
    """One instance's numbers: memory and keys of its masters, whose data is the instance's; the rest of all its nodes.

    :ivar at: epoch milliseconds.
    """

    at: int
    used_memory: int
    keys: int
    ops_per_second: int
    clients: int
    input_kbps: float
    output_kbps: float


class SampleHistory:
    """The last hour of one instance, in as few bytes as it takes: there are many instances."""

    _PACKED = struct.Struct("<qqqIIff")

    def __init__(self) -> None:
        self._packed = bytearray()

    def append(self, sample: InstanceSample) -> None:
        self._packed += self._PACKED.pack(*msgspec.structs.astuple(sample))
        del self._packed[: -_KEPT * self._PACKED.size]

    def __iter__(self) -> Iterator[InstanceSample]:
        """Oldest first."""
        return (_unpacked(*fields) for fields in self._PACKED.iter_unpack(self._packed))

    @property
    def last(self) -> InstanceSample | None:
        size = self._PACKED.size
        return _unpacked(*self._PACKED.unpack(self._packed[-size:])) if self._packed else None


class StatsCollector:
    def __init__(self, site: OperationContext, heartbeats: LoopHeartbeats) -> None:
        self._site = site
        self._heartbeats = heartbeats
        self._nodes: dict[str, tuple[Node, NodeStats | None]] = {}
        self._history: dict[str, SampleHistory] = defaultdict(SampleHistory)

    def nodes(self) -> list[tuple[Node, NodeStats | None]]:
        """Every node that should be running; None for one that did not answer."""
        return list(self._nodes.values())

    def history(self, instance_id: str) -> list[InstanceSample]:
        """Oldest first. No sample stands for a time when a master did not answer."""
        return list(self._history.get(instance_id, ()))

    def used_memory(self, instance_id: str) -> int:
        """Bytes of the instance's data, as last measured; 0 where it never was."""
        history = self._history.get(instance_id)
        return history.last.used_memory if history and history.last else 0

    def record(self, instance_id: str, sample: InstanceSample) -> None:
        self._history[instance_id].append(sample)

    async def measure(self) -> None:
        """Until cancelled."""
        while True:
            begun = time.monotonic()
            self._heartbeats.beat("statistics")
            await self.look()
            await asyncio.sleep(max(0.0, MEASURE_SECONDS - (time.monotonic() - begun)))

    async def look(self) -> None:
        """Measures every node once."""
        wanted = await in_background(self._wanted)
        found = await self._ask_each(wanted)
        self._nodes = {node.id: (node, vital) for node, vital in found}
        of_instance: dict[str, list[tuple[Node, NodeStats | None]]] = defaultdict(list)
        for node, vital in found:
            of_instance[node.instance_id].append((node, vital))
        for gone in self._history.keys() - of_instance.keys():
            del self._history[gone]
        for instance_id, vitals in of_instance.items():
            if sample := total(vitals, now_ms()):
                self.record(instance_id, sample)

    async def _ask_each(self, wanted: Sequence[tuple[Node, Access]]) -> Sequence[tuple[Node, NodeStats | None]]:
        """Nodes that did not answer last time are asked apart from the others, in the time that is left for them: they
        delay no node that answers."""
        silent = {node.id for node, vital in self._nodes.values() if vital is None}
        doubtful = [(node, access) for node, access in wanted if node.id in silent]
        random.shuffle(doubtful)  # so that each has its turn
        found, again = await asyncio.gather(
            _ask_each([(node, access) for node, access in wanted if node.id not in silent], _AT_ONCE),
            _ask_within(doubtful, _SILENT_AT_ONCE, _SILENT_SECONDS),
        )
        return [*found, *again]

    def _wanted(self) -> list[tuple[Node, Access]]:
        with self._site.database.read() as connection:
            secrets = instances.secrets(connection, STATUSES_WITH_RUNNING_NODES)
            nodes = instances.nodes_that_should_run(connection)
        nodes_dir = self._site.host.nodes_dir
        return [(node, Access(*secrets[node.instance_id], nodes_dir)) for node in nodes if node.instance_id in secrets]


def _unpacked(*fields: Any) -> InstanceSample:
    at, used_memory, keys, ops_per_second, clients, input_kbps, output_kbps = fields
    return InstanceSample(
        at=at,
        used_memory=used_memory,
        keys=keys,
        ops_per_second=ops_per_second,
        clients=clients,
        input_kbps=round(input_kbps, 2),
        output_kbps=round(output_kbps, 2),
    )


def total(vitals: Sequence[tuple[Node, NodeStats | None]], at: int) -> InstanceSample | None:
    """The instance's numbers from its nodes'. None where no master of a shard answers: a sum without it would be
    false."""
    known = [vital for _, vital in vitals if vital]
    masters = [vital for vital in known if vital.role == "primary"]
    if {vital.node.shard for vital in masters} != {node.shard for node, _ in vitals}:
        return None
    return InstanceSample(
        at=at,
        used_memory=sum(vital.used_memory for vital in masters),
        keys=sum(vital.keys for vital in masters),
        ops_per_second=min(sum(vital.ops_per_second for vital in known), _MOST_COUNT),
        clients=min(sum(vital.clients for vital in known), _MOST_COUNT),
        input_kbps=round(sum(vital.input_kbps for vital in known), 2),
        output_kbps=round(sum(vital.output_kbps for vital in known), 2),
    )


async def ask_all(nodes: Sequence[Node], access: Access) -> Sequence[tuple[Node, NodeStats | None]]:
    """What each of an instance's nodes says now; None for one that does not answer."""
    return await _ask_each([(node, access) for node in nodes], _AT_ONCE)


async def _ask_each(wanted: Sequence[tuple[Node, Access]], at_once: int) -> Sequence[tuple[Node, NodeStats | None]]:
    vitals = await gather_limited(lambda asked: _ask(*asked), wanted, at_once)
    return [(node, vital) for (node, _), vital in zip(wanted, vitals, strict=True)]


async def _ask_within(
    wanted: Sequence[tuple[Node, Access]], at_once: int, seconds: float
) -> Sequence[tuple[Node, NodeStats | None]]:
    """Those whose turn does not come in that time count as silent."""
    deadline = time.monotonic() + seconds
    found: list[tuple[Node, NodeStats | None]] = []
    for first in range(0, len(wanted), at_once):
        group = wanted[first : first + at_once]
        late = time.monotonic() >= deadline
        found += [(node, None) for node, _ in group] if late else await _ask_each(group, at_once)
    return found


async def _ask(node: Node, access: Access) -> NodeStats | None:
    try:
        return read_stats(node, await info(node, access, _SECTIONS, _ANSWER_SECONDS))
    except (*NODE_GONE, NodeRefused):
        return None


def read_stats(node: Node, said: Mapping[str, str]) -> NodeStats | None:
    """What INFO says. None where no node says that: such a node counts as one that does not answer."""
    try:
        return NodeStats(
            node=node,
            role=ROLES[said["role"]],
            used_memory=_count(said["used_memory"], _MOST_BYTES),
            keys=sum(_keys(said[name]) for name in databases(said)),
            ops_per_second=_count(said["instantaneous_ops_per_sec"], _MOST_COUNT),
            clients=_count(said["connected_clients"], _MOST_COUNT),
            input_kbps=_rate(said["instantaneous_input_kbps"]),
            output_kbps=_rate(said["instantaneous_output_kbps"]),
        )
    except (KeyError, ValueError):
        return None


def _count(text: str, most: int) -> int:
    """ValueError where it is no count that a node can have."""
    number = int(text)
    if not 0 <= number <= most:
        raise ValueError(f"{number} is no count")
    return number


def _keys(text: str) -> int:
    """Of one database, from a field such as `keys=3,expires=0`. ValueError where it is no count."""
    return _count(text.partition(",")[0].removeprefix("keys="), _MOST_BYTES)


def _rate(text: str) -> float:
    """ValueError where it is no rate that a node can have."""
    number = float(text)
    if not 0 <= number <= _MOST_BYTES:
        raise ValueError(f"{number} is no rate")
    return number
