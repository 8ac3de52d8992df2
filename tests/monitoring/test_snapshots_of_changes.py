"""Snapshots of an instance that changes while its nodes answer."""

from pathlib import Path

import msgspec
import pytest

from cachewright.config import Settings
from cachewright.hosts.local import LocalHost
from cachewright.monitoring import snapshots
from cachewright.monitoring.snapshots import InstanceSnapshot, SnapshotReader
from cachewright.operations.context import OperationContext
from cachewright.store import instances
from cachewright.valkey.migration.source_state import MigrationState
from cachewright.valkey.slots import SLOTS, SlotRange
from cachewright.valkey.topology import Member, View
from database_fixtures import an_instance, new_database
from standalone_node import nowhere

SECOND = "c" * 40


def owner(node_id: str, first: int, last: int) -> Member:
    slots = (SlotRange(first, last),)
    return Member(id=node_id, address="", flags=frozenset(), primary=None, linked=True, slots=slots)


@pytest.mark.parametrize("is_recorded", [True, False])
async def test_a_node_that_joins_meanwhile_is_in_the_snapshot(tmp_path: Path, is_recorded: bool) -> None:
    settings, database = Settings(data_dir=tmp_path), new_database(tmp_path)
    context = OperationContext(database, settings, LocalHost(settings), MigrationState(cpus=2))
    first = nowhere()
    second = msgspec.structs.replace(first, id=SECOND, shard=1, port=first.port + 1, bus_port=first.bus_port + 1)
    with database.write() as connection:
        instances.add(connection, an_instance(spec_code="redis.cluster.xu1.large.r1.s1.2"))
        instances.add_nodes(connection, [first])
    members = (owner(first.id, 0, 8191), owner(SECOND, 8192, SLOTS - 1))
    view = View(ok=True, epoch=1, members={member.id: member for member in members})
    seen = []

    class Slow(SnapshotReader):
        async def _snapshot(self, record: snapshots._Record) -> InstanceSnapshot:
            if is_recorded and not seen:
                with database.write() as connection:
                    instances.add_nodes(connection, [second])
            nodes = [(node, None) for node in record.nodes]
            seen.append(InstanceSnapshot(instance=record.instance, nodes=nodes, view=view, task=None))
            return seen[-1]

    found = await Slow(context).look("p", "i")
    database.close()
    assert found is seen[-1]
    assert [node.id for node, _ in found.nodes] == [first.id, SECOND][: 1 + is_recorded]
    assert len(seen) == 1 + is_recorded, "a stranger is no reason for another look"
