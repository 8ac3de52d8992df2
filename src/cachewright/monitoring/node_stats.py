"""Collects statistics of running nodes every few seconds: the latest of each node, and an hour of each instance.

Nodes are asked over connections that are open anyway, and over one of its own where there is none: that takes most of
the time of a query.
"""

import asyncio
import random
import struct
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from valkey.exceptions import ConnectionError as NodeUnreachable

from cachewright.clock import now_ms
from cachewright.concurrency import gather_limited
from cachewright.errors import DatabaseUnavailable
from cachewright.heartbeats import LoopHeartbeats
from cachewright.model.instances import Node, Role
from cachewright.monitoring.shard_roles import ReportedRole, shard_roles
from cachewright.operations import STATUSES_WITH_RUNNING_NODES
from cachewright.operations.context import OperationContext
from cachewright.store import instances
from cachewright.threads import in_background
from cachewright.valkey.access import Access
from cachewright.valkey.client import NODE_GONE, NodeRefused
from cachewright.valkey.roles import ROLES
from cachewright.valkey.session import Session
from cachewright.valkey.single_request import databases, fields, info

MEASURE_SECONDS = 5.0
_KEPT = int(3600 / MEASURE_SECONDS)
_ANSWER_SECONDS = 1.0
_AT_ONCE = 64
_SILENT_AT_ONCE = 32
_SILENT_SECONDS = 3.0
"""Time in each round for nodes that did not respond in the last round."""

_MOST_BYTES = 2**50
_MOST_COUNT = 2**32 - 1
_SECTIONS = ("server", "memory", "stats", "clients", "replication", "keyspace")


class NodeStats(msgspec.Struct, frozen=True, kw_only=True):
    """Statistics of one node. Memory in bytes, traffic in kilobytes per second.

    :ivar is_serving: whether it accepts clients.
    """

    node: Node
    role: Role
    used_memory: int
    keys: int
    ops_per_second: int
    clients: int
    input_kbps: float
    output_kbps: float
    is_serving: bool = True


class InstanceSample(msgspec.Struct, frozen=True, kw_only=True):
    """Statistics of one instance: memory and keys of its primaries, the other values of all its nodes.

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
    """Samples of the last hour of one instance, packed to save memory."""

    _PACKED = struct.Struct("<qqqIIff")

    def __init__(self) -> None:
        self._packed = bytearray()

    def append(self, sample: InstanceSample) -> None:
        self._packed += self._PACKED.pack(*msgspec.structs.astuple(sample))
        del self._packed[: -_KEPT * self._PACKED.size]

    def __iter__(self) -> Iterator[InstanceSample]:
        """Samples, oldest first."""
        return (_unpacked(*fields) for fields in self._PACKED.iter_unpack(self._packed))

    @property
    def last(self) -> InstanceSample | None:
        size = self._PACKED.size
        return _unpacked(*self._PACKED.unpack(self._packed[-size:])) if self._packed else None


class StatsCollector:
    def __init__(
        self,
        context: OperationContext,
        heartbeats: LoopHeartbeats,
        session: Callable[[str], Session | None] = lambda _: None,
    ) -> None:
        """:param session: returns an open connection to a node, by its id, or None.
        :ivar is_measured: all nodes that should run were asked at least once. There may be none.
        """
        self._session = session
        self._context = context
        self._heartbeats = heartbeats
        self._nodes: dict[str, tuple[Node, NodeStats | None]] = {}
        self._history: dict[str, SampleHistory] = defaultdict(SampleHistory)
        self.is_measured = False

    def nodes(self) -> list[tuple[Node, NodeStats | None]]:
        """All nodes that should run, with statistics; None for a node that did not respond."""
        return list(self._nodes.values())

    def history(self, instance_id: str) -> list[InstanceSample]:
        """Samples of the last hour, oldest first; without those times at which a primary did not respond."""
        return list(self._history.get(instance_id, ()))

    def used_memory(self, instance_id: str) -> int:
        """Latest measured bytes of the instance's data; 0 without a measurement."""
        history = self._history.get(instance_id)
        return history.last.used_memory if history and history.last else 0

    def record(self, instance_id: str, sample: InstanceSample) -> None:
        self._history[instance_id].append(sample)

    async def measure(self) -> None:
        """Collect statistics until cancelled."""
        while True:
            start = time.monotonic()
            self._heartbeats.beat("statistics")
            await self.collect()
            await asyncio.sleep(max(0.0, MEASURE_SECONDS - (time.monotonic() - start)))

    async def collect(self) -> None:
        """Collect the statistics of all nodes once."""
        targets = await in_background(self._nodes_to_query)
        found = await self._query_each(targets)
        of_instance: dict[str, list[tuple[Node, NodeStats | None]]] = defaultdict(list)
        for node, stats in found:
            of_instance[node.instance_id].append((node, stats))
        of_instance = {instance_id: with_shard_roles(nodes) for instance_id, nodes in of_instance.items()}
        self._nodes = {node.id: (node, stats) for nodes in of_instance.values() for node, stats in nodes}
        self.is_measured = True
        for instance_id in self._history.keys() - of_instance.keys():
            del self._history[instance_id]
        for instance_id, node_stats in of_instance.items():
            if sample := total(node_stats, now_ms()):
                self.record(instance_id, sample)

    async def _query_each(self, targets: Sequence[tuple[Node, Access]]) -> Sequence[tuple[Node, NodeStats | None]]:
        """Query nodes. Nodes that did not respond in the last round are queried separately and with a time limit, so
        that they delay no other node."""
        silent = {node.id for node, stats in self._nodes.values() if stats is None}
        doubtful = [(node, access) for node, access in targets if node.id in silent]
        random.shuffle(doubtful)  # gives each of them a chance within the time limit
        known = [(node, access, self._session(node.id)) for node, access in targets if node.id not in silent]
        found, again = await asyncio.gather(
            _query_each(known, _AT_ONCE),
            _query_within(doubtful, _SILENT_AT_ONCE, _SILENT_SECONDS),
        )
        return [*found, *again]

    def _nodes_to_query(self) -> list[tuple[Node, Access]]:
        with self._context.database.read() as connection:
            secrets = instances.secrets(connection, STATUSES_WITH_RUNNING_NODES)
            nodes = instances.nodes_that_should_run(connection)
        nodes_dir = self._context.host.nodes_dir
        access = {
            instance_id: Access(found.control_secret, found.password, nodes_dir, node_ca=found.node_ca)
            for instance_id, found in secrets.items()
        }
        return [(node, access[node.instance_id]) for node in nodes if node.instance_id in access]


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


def total(node_stats: Sequence[tuple[Node, NodeStats | None]], at: int) -> InstanceSample | None:
    """Sum the statistics of an instance's nodes. None if a shard has no responding primary, which would make the sum
    wrong."""
    responding = [stats for _, stats in node_stats if stats]
    primaries = [stats for stats in responding if stats.role == "primary"]
    if {stats.node.shard for stats in primaries} != {node.shard for node, _ in node_stats}:
        return None
    return InstanceSample(
        at=at,
        used_memory=sum(stats.used_memory for stats in primaries),
        keys=sum(stats.keys for stats in primaries),
        ops_per_second=min(sum(stats.ops_per_second for stats in responding), _MOST_COUNT),
        clients=min(sum(stats.clients for stats in responding), _MOST_COUNT),
        input_kbps=round(sum(stats.input_kbps for stats in responding), 2),
        output_kbps=round(sum(stats.output_kbps for stats in responding), 2),
    )


async def query_all(nodes: Sequence[Node], access: Access) -> Sequence[tuple[Node, NodeStats | None]]:
    """Query the statistics of an instance's nodes now; None for a node that does not respond."""
    return with_shard_roles(await _query_each([(node, access, None) for node in nodes], _AT_ONCE))


def with_shard_roles(
    node_stats: Sequence[tuple[Node, NodeStats | None]],
) -> list[tuple[Node, NodeStats | None]]:
    """Return the statistics of an instance's nodes, each with its role as derived from all nodes of its shard."""
    reports = [
        ReportedRole(node, stats.role if stats else None, stats is not None and stats.is_serving)
        for node, stats in node_stats
    ]
    roles = shard_roles(reports)
    return [(node, stats and msgspec.structs.replace(stats, role=roles[node.id])) for node, stats in node_stats]


async def _query_each(
    targets: Sequence[tuple[Node, Access, Session | None]], at_once: int
) -> Sequence[tuple[Node, NodeStats | None]]:
    node_stats = await gather_limited(lambda target: _query(*target), targets, at_once)
    return [(node, stats) for (node, *_), stats in zip(targets, node_stats, strict=True)]


async def _query_within(
    targets: Sequence[tuple[Node, Access]], at_once: int, seconds: float
) -> Sequence[tuple[Node, NodeStats | None]]:
    """Query nodes for at most this time. Nodes after that count as not responding."""
    deadline = time.monotonic() + seconds
    found: list[tuple[Node, NodeStats | None]] = []
    for first in range(0, len(targets), at_once):
        group = [(node, access, None) for node, access in targets[first : first + at_once]]
        late = time.monotonic() >= deadline
        found += [(node, None) for node, *_ in group] if late else await _query_each(group, at_once)
    return found


async def _query(node: Node, access: Access, session: Session | None) -> NodeStats | None:
    try:
        if session is not None:
            with suppress(DatabaseUnavailable, NodeUnreachable):  # the connection was lost, or needs the claim
                async with asyncio.timeout(_ANSWER_SECONDS):
                    return read_stats(node, fields(await session.ask("INFO", *_SECTIONS)))
        return read_stats(node, await info(node, access, _SECTIONS, _ANSWER_SECONDS))
    except (*NODE_GONE, NodeRefused):
        return None


def read_stats(node: Node, info_fields: Mapping[str, str]) -> NodeStats | None:
    """Parse INFO. None if it is malformed, which counts as no response."""
    try:
        return NodeStats(
            node=node,
            role=ROLES[info_fields["role"]],
            used_memory=_count(info_fields["used_memory"], _MOST_BYTES),
            keys=sum(_keys(info_fields[name]) for name in databases(info_fields)),
            ops_per_second=_count(info_fields["instantaneous_ops_per_sec"], _MOST_COUNT),
            clients=_count(info_fields["connected_clients"], _MOST_COUNT),
            input_kbps=_rate(info_fields["instantaneous_input_kbps"]),
            output_kbps=_rate(info_fields["instantaneous_output_kbps"]),
            is_serving=info_fields.get("tcp_port", str(node.port)) == str(node.port),
        )
    except (KeyError, ValueError):
        return None


def _count(text: str, most: int) -> int:
    """Parse a count. ValueError if it is out of range."""
    number = int(text)
    if not 0 <= number <= most:
        raise ValueError(f"count {number} is out of range")
    return number


def _keys(text: str) -> int:
    """Parse the keys of one database, `keys=3,expires=0`. ValueError if malformed."""
    return _count(text.partition(",")[0].removeprefix("keys="), _MOST_BYTES)


def _rate(text: str) -> float:
    """Parse a rate. ValueError if it is out of range."""
    number = float(text)
    if not 0 <= number <= _MOST_BYTES:
        raise ValueError(f"rate {number} is out of range")
    return number
