"""Settings of nodes for the time of a move: real nodes without a server."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest
from bench.nodes import BareCluster, client_of

from cachewright.model.instances import Node
from cachewright.model.tasks import MigrationMode
from cachewright.valkey.migration import node_settings
from cachewright.valkey.migration.jobs import jobs_in
from cachewright.valkey.migration.mover import Move, Mover
from cachewright.valkey.migration.range_size import RangeSize
from cachewright.valkey.migration.source_state import MigrationState
from cachewright.valkey.migration.transfer import Transfer
from cachewright.valkey.slots import SlotRange
from migration_control import Unhindered
from standalone_node import OPEN


@pytest.fixture
def pair() -> Iterator[tuple[Node, Node]]:
    with BareCluster(masters=1, empty=1) as cluster:
        source, target = cluster.nodes
        yield source, target


def settings(node: Node) -> dict[str, str]:
    with client_of(node) as client:
        found: dict[str, str] = client.config_get("hz", "auto-aof-rewrite-percentage")
    return {str(name): str(value) for name, value in found.items()}


def a_move(source: Node, target: Node, part: SlotRange, control: Unhindered) -> Move:
    return Move(
        source=source,
        target=target,
        part=part,
        access=OPEN,
        size=RangeSize(keys=0, bytes_per_key=100.0),
        control=control,
        stalled_seconds=30,
        state=MigrationState(cpus=2),
    )


class PausedUntilReset(Unhindered):
    """A control that pauses the move until both nodes have their usual settings. It records those after the pause."""

    def __init__(self, *nodes: Node) -> None:
        self._nodes = nodes
        self.before: list[dict[str, str]] = []
        self.after: list[dict[str, str]] = []

    async def wait_until_allowed(self, exceeds_ceiling: Callable[[float], Awaitable[bool]]) -> None:
        self.before = [settings(node) for node in self._nodes]
        async with asyncio.timeout(60):
            while any(settings(node) != node_settings.SETTINGS_OUTSIDE_MOVES for node in self._nodes):
                await asyncio.sleep(0.05)

    def mode(self) -> MigrationMode:
        self.after = self.after or [settings(node) for node in self._nodes]
        return "fastest"


async def test_a_paused_move_resets_the_settings_of_its_nodes(
    pair: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_settings, "_LONG_PAUSE_SECONDS", 0.2)
    control = PausedUntilReset(*pair)
    await Mover(a_move(*pair, SlotRange(0, 99), control)).ensure(lambda transfer: None)
    during = {"hz": "100", "auto-aof-rewrite-percentage": "0"}
    assert control.before == control.after == [during, during]
    after = {"hz": "10", "auto-aof-rewrite-percentage": "0"}
    assert [settings(node) for node in pair] == [after, after]
    for node in pair:
        await node_settings.reset(node, OPEN)
    assert [settings(node) for node in pair] == [node_settings.SETTINGS_OUTSIDE_MOVES] * 2


async def test_a_snapshot_begins_soon_while_a_batch_waits_for_it(pair: tuple[Node, Node]) -> None:
    source, _ = pair
    seen: set[tuple[str, str]] = set()

    def report(_: Transfer) -> None:
        with client_of(source) as client:
            jobs = jobs_in(client.execute_command("CLUSTER GETSLOTMIGRATIONS"))
        if not jobs[0].ended:
            seen.add(("waits" if jobs[0].awaits_snapshot else "runs", settings(source)["hz"]))

    with client_of(source) as client:
        for number in range(2000):
            client.set(f"key:{number}", "x" * 100)
        client.config_set("rdb-key-save-delay", 1000)
        client.bgsave()  # no snapshot of a batch can begin before it has ended
    await Mover(a_move(*pair, SlotRange(0, 4095), Unhindered())).ensure(report)
    assert ("waits", "19") in seen
    assert {("runs", "100"), ("runs", "500")} & seen
    assert settings(source)["hz"] == "10"
