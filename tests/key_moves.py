"""Two bare nodes between which keys move one by one."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psutil
from bench.nodes import BareCluster, client_of
from valkey.cluster import ValkeyCluster

from cachewright.model.instances import Node
from cachewright.model.tasks import MigrationMode
from cachewright.valkey.migration.mover import Move, Mover
from cachewright.valkey.migration.open_slots import (
    complete_open_slots,
)
from cachewright.valkey.migration.range_size import RangeSize
from cachewright.valkey.migration.source_state import MigrationState
from cachewright.valkey.migration.transfer import Transfer
from cachewright.valkey.slots import SlotRange
from cachewright.valkey.topology import ask_view
from migration_control import Unhindered
from standalone_node import OPEN

PART = SlotRange(0, 200)
KEYS = 30_000


class Gentle(Unhindered):
    """A task in the mode `gentle`, or in others later."""

    def __init__(self, *modes: MigrationMode, cancel_after: int = 10**9) -> None:
        self._modes = list(modes or ("gentle",))
        self._left = cancel_after

    async def wait_until_allowed(self, exceeds_ceiling: Callable[[float], Awaitable[bool]]) -> None:
        if len(self._modes) > 1:
            self._modes.pop(0)

    def is_cancelled(self) -> bool:
        self._left -= 1
        return self._left < 0

    def mode(self) -> MigrationMode:
        return self._modes[0]


@contextmanager
def filled_cluster() -> Iterator[BareCluster]:
    """A cluster of two primaries with KEYS keys; the second one has no slot of PART."""
    with BareCluster(masters=2) as nodes:
        with ValkeyCluster(host="127.0.0.1", port=nodes.nodes[0].port) as client:
            pipeline = client.pipeline()
            for number in range(KEYS):
                pipeline.set(f"key:{number}", f"value {number}")
            pipeline.execute()
        yield nodes


def move(
    cluster: BareCluster, control: Gentle, state: MigrationState | None = None, *, to_new_node: bool = False
) -> list[Transfer]:
    source, target = (node for node in cluster.nodes if node.role == "primary")
    reports: list[Transfer] = []
    moved = Move(
        source=source,
        target=target,
        part=PART,
        access=OPEN,
        size=RangeSize(keys=0, bytes_per_key=100.0),
        control=control,
        stalled_seconds=30,
        state=state or MigrationState(cpus=2),
        to_new_node=to_new_node,
    )
    with client_of(source) as connected:  # a client, which may send a command at any time
        connected.ping()
        asyncio.run(Mover(moved).ensure(reports.append))
    return reports


def complete(cluster: BareCluster, state: MigrationState | None = None) -> int:
    by_id = {node.id: node for node in cluster.nodes}
    source = next(node for node in cluster.nodes if node.role == "primary")

    async def run() -> int:
        view = await ask_view(source, OPEN)
        return await complete_open_slots(source, view, by_id.__getitem__, OPEN, state or MigrationState(cpus=2))

    return asyncio.run(run())


def on(node: Node, *words: object) -> Any:
    with client_of(node) as client:
        return client.execute_command(*words)


def opened(node: Node) -> set[int]:
    own = asyncio.run(ask_view(node, OPEN)).members[node.id]
    return {*own.migrating, *own.importing}


def values_of(cluster: BareCluster, numbers: Sequence[int] = range(KEYS)) -> dict[int, str]:
    with ValkeyCluster(host="127.0.0.1", port=cluster.nodes[0].port, decode_responses=True) as client:
        return {number: client.get(f"key:{number}") for number in numbers}


def in_part(cluster: BareCluster) -> list[int]:
    with ValkeyCluster(host="127.0.0.1", port=cluster.nodes[0].port) as client:
        return [number for number in range(KEYS) if client.keyslot(f"key:{number}") in PART]


def arrived(cluster: BareCluster) -> int:
    """Keys of the range on the target."""
    return sum(on(cluster.nodes[1], "CLUSTER", "COUNTKEYSINSLOT", slot) for slot in range(PART.first, PART.last + 1))


def process_of(node: Node) -> psutil.Process:
    with client_of(node) as client:
        return psutil.Process(client.info("server")["process_id"])


def on_slot(node: Node, key: str) -> int:
    return int(on(node, "CLUSTER", "KEYSLOT", key))


def name_in_part(cluster: BareCluster) -> str:
    return next(f"{{t{n}}}" for n in range(100_000) if on_slot(cluster.nodes[0], f"{{t{n}}}") in PART)
