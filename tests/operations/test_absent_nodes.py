"""Nodes join a cluster and become replicas while another node of it does not answer."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from bench.nodes import BareCluster, client_of

from cachewright.config import Settings
from cachewright.hosts.local import LocalHost
from cachewright.operations.actions.cluster import JoinCluster, join_cluster
from cachewright.operations.actions.replicas import AddReplica, add_replica
from cachewright.operations.context import OperationContext
from cachewright.store import instances
from cachewright.valkey.migration.source_state import MigrationState
from database_fixtures import a_task, an_instance, new_database

INSTANCE = an_instance(spec_code="redis.cluster.xu1.large.r2.s1.3")


@pytest.fixture
def cluster() -> Iterator[BareCluster]:
    """Three shards, and a node without slots."""
    with BareCluster(masters=3, empty=1) as made:
        yield made


async def allowed() -> None: ...


async def test_a_dead_node_does_not_keep_other_shards_from_new_replicas(cluster: BareCluster, tmp_path: Path) -> None:
    settings = Settings(data_dir=cluster.root)
    database = new_database(tmp_path)
    nodes = [msgspec.structs.replace(node, instance_id=INSTANCE.id) for node in cluster.nodes]
    lead, _, dead, new = nodes
    with database.write() as connection:
        instances.add(connection, INSTANCE)
        instances.add_nodes(connection, [lead, nodes[1], dead, msgspec.structs.replace(new, shard=0, role="replica")])
    with client_of(dead) as client:
        client.shutdown(nosave=True)
    context = OperationContext(database, settings, LocalHost(settings), MigrationState(2))
    step: Any = SimpleNamespace(
        task=a_task(instance_id=INSTANCE.id),
        policy=SimpleNamespace(stalled=60),
        sub_step=SimpleNamespace(work=SimpleNamespace(total=1)),
        measure=lambda *_, **__: None,
        raise_if_cancelled=lambda: None,
        wait_until_allowed=allowed,
        begin_wait=lambda *_, **__: None,
        end_wait=lambda: None,
    )
    await join_cluster.body(context, step, JoinCluster((new.id,), absent=(dead.id,)))
    await add_replica.body(context, step, AddReplica(new.id, absent=(dead.id,)))
    with client_of(new) as client:
        replication = client.info("replication")
    assert (replication["master_port"], replication["master_link_status"]) == (lead.port, "up")
    database.close()
