"""Statistics over the connection that the enforcement keeps open, and checks of the instances of ended tasks alone."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from cachewright.config import Settings
from cachewright.heartbeats import LoopHeartbeats
from cachewright.hosts.local import LocalHost
from cachewright.model.instances import Node
from cachewright.monitoring.node_stats import StatsCollector
from cachewright.monitoring.parameter_enforcement import ParameterEnforcement
from cachewright.operations.context import OperationContext
from cachewright.store import instances
from cachewright.store.database import Database
from cachewright.valkey.client import connect
from cachewright.valkey.migration.source_state import MigrationState
from cachewright.valkey.session import Session
from claim_of_server import RefusingClaim, access_with, elsewhere
from database_fixtures import an_instance, new_database
from standalone_node import OPEN, nowhere, started


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(new_database(tmp_path)) as made:
        yield made


def context_of(database: Database, folder: Path, *nodes: Node) -> OperationContext:
    settings = Settings(data_dir=folder)
    with database.write() as connection:
        for instance_id in dict.fromkeys(node.instance_id for node in nodes):
            instances.add(connection, an_instance(id=instance_id))
        instances.add_nodes(connection, nodes)
    return OperationContext(database, settings, LocalHost(settings), MigrationState(1))


async def connections(node: Node) -> int:
    """Connections that the node has accepted so far, this one not counted."""
    async with connect(node, OPEN) as client:
        return int((await client.info("stats"))["total_connections_received"])


async def test_statistics_use_an_open_connection(tmp_path: Path, database: Database) -> None:
    claim = RefusingClaim()
    async with started(tmp_path / "node") as node:
        session = await Session.open(elsewhere(node), access_with(claim), 5)
        collector = StatsCollector(context_of(database, tmp_path, node), LoopHeartbeats(), lambda _: session)

        async def connected() -> int:
            """Number of connections that one collection makes."""
            before = await connections(node)
            await collector.collect()
            assert [stats is not None for _, stats in collector.nodes()] == [True]
            return await connections(node) - before - 1

        assert await connected() == 0
        claim.refusals = 1
        assert await connected() == 1, "a server without the claim may read"
        assert await connected() == 0
        session.close()
        assert await connected() == 1


def test_the_instances_of_ended_tasks_are_read_alone(tmp_path: Path, database: Database) -> None:
    nodes = [
        msgspec.structs.replace(nowhere(), id=name * 40, instance_id=f"of {name}", access="socket", **ports)
        for name, ports in (("a", {"port": 1, "bus_port": 2}), ("b", {"port": 3, "bus_port": 4}))
    ]
    enforcement = ParameterEnforcement(context_of(database, tmp_path, *nodes), LoopHeartbeats())
    assert {target.node for target in enforcement._targets(None)} == set(nodes)
    assert [target.node for target in enforcement._targets({"of a", "unknown"})] == nodes[:1]
    assert enforcement._targets(set()) == []
