"""The cut-over in which an instance becomes a cluster: its two decisions exclude each other, and a former node that is
started beside it has no clients."""

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from cachewright.config import Settings
from cachewright.flavors import cluster_code, parse
from cachewright.hosts.local import LocalHost
from cachewright.hosts.ports import free_ports
from cachewright.model.hosts import EMBEDDED
from cachewright.model.instances import Instance, Node
from cachewright.operations import cut_over_records
from cachewright.operations.actions.cluster_type import settle_type
from cachewright.operations.actions.instance_type import single_after
from cachewright.operations.actions.nodes import close_at_start, wait_until_answering
from cachewright.operations.context import OperationContext
from cachewright.operations.node_placement import allocated_by_host
from cachewright.operations.resize.request import RESIZE_KIND
from cachewright.placement.capacity import Size
from cachewright.store import instances, tasks
from cachewright.store.database import Database
from cachewright.tasks.operation import ActionFailed
from cachewright.valkey.config import DATA_FOLDER
from cachewright.valkey.migration.source_state import MigrationState
from cachewright.valkey.node_control import is_open_to_clients
from database_fixtures import a_task, an_instance, migrated, new_database
from standalone_node import node_at

SINGLE, HA, CLUSTER = "redis.single.xu1.large.1", "redis.ha.xu1.large.r2.1", "redis.cluster.xu1.large.r1.s1.3"
SUCCESSOR = msgspec.structs.replace(node_at(30, 31), id="c" * 40, apart=True, should_run=False)
FORMER = [
    msgspec.structs.replace(node_at(10, 11), id="a" * 40),
    msgspec.structs.replace(node_at(20, 21), id="b" * 40, role="replica"),
]


def add(database: Database, instance: Instance, *nodes: Node) -> None:
    with database.write() as connection:
        instances.add(connection, instance)
        instances.add_nodes(connection, nodes)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """With a primary/standby instance without a proxy, and the node that takes over."""
    database = migrated(database_url)
    add(database, an_instance(spec_code=HA, seed_port=10), *FORMER, SUCCESSOR)
    yield database
    database.close()


def end(database: Database, withdrawn: threading.Event) -> None:
    cut_over_records.end(database, FORMER[0], withdrawn)


def become_cluster(database: Database, withdrawn: threading.Event) -> None:
    cut_over_records.become_cluster(database, SUCCESSOR, CLUSTER, withdrawn)


def restarted(database: Database) -> list[str]:
    return [node.id for node in cut_over_records.restart(database, "i")]


def serving(database: Database) -> tuple[str, list[str], list[str]]:
    """Spec code of the instance, its nodes, and the nodes that the supervisor starts."""
    with database.read() as connection:
        instance, nodes = instances.find(connection, "i"), instances.nodes_of(connection, "i")
        running = sorted(instances.should_run_in(connection, {"RUNNING"}))
        assert sorted(node.id for node in instances.nodes_that_should_run(connection)) == running
        listed = instances.nodes_by_host(connection, "p").values()
        on_hosts = {node.id for node in [*nodes, *instances.apart_of(connection, "i")]}
        assert {node.id for of_host in listed for node in of_host} == on_hosts
        assert {node.id for node in instances.nodes_without_socket(connection)} == {node.id for node in nodes}
    assert instance is not None
    return instance.spec_code, [node.id for node in nodes], running


AS_BEFORE = HA, [node.id for node in FORMER], [node.id for node in FORMER]
AS_CLUSTER = CLUSTER, [SUCCESSOR.id], [SUCCESSOR.id]


def test_nothing_withdraws_a_recorded_cluster(database: Database) -> None:
    wanted = threading.Event()
    end(database, wanted)
    assert serving(database) == (HA, [node.id for node in FORMER], [])
    become_cluster(database, wanted)
    assert restarted(database) == []
    assert serving(database) == AS_CLUSTER


def test_a_cut_over_that_was_withdrawn_records_no_cluster(database: Database) -> None:
    wanted = threading.Event()
    assert restarted(database) == []
    end(database, wanted)
    assert restarted(database) == [node.id for node in FORMER]
    with pytest.raises(ActionFailed, match="serve again"):
        become_cluster(database, wanted)
    assert serving(database) == AS_BEFORE


@pytest.mark.parametrize("late", [end, become_cluster])
def test_a_thread_of_a_cut_over_that_was_given_up_changes_nothing(
    database: Database, late: Callable[[Database, threading.Event], None]
) -> None:
    """Not even while the next attempt has ended the former nodes."""
    given_up = threading.Event()
    given_up.set()
    if late is become_cluster:
        end(database, threading.Event())
    before = serving(database)
    with pytest.raises(ActionFailed, match="given up"):
        late(database, given_up)
    assert serving(database) == before


def test_of_two_decisions_under_way_one_wins(database: Database) -> None:
    end(database, threading.Event())
    with ThreadPoolExecutor() as threads:
        with database.write():  # both wait for it
            recorded = threads.submit(become_cluster, database, threading.Event())
            withdrawn = threads.submit(restarted, database)
        refused, ended = recorded.exception(), withdrawn.result()
    assert (refused is None) == (ended == [])
    assert serving(database) == (AS_BEFORE if ended else AS_CLUSTER)


def test_without_a_proxy_clients_get_the_address_of_the_node_with_the_last_writes(database: Database) -> None:
    """A failover a moment ago is not recorded yet."""
    cut_over_records.end(database, FORMER[1], threading.Event())
    with database.read() as connection:
        found, nodes = instances.find(connection, "i"), instances.nodes_of(connection, "i")
    assert found is not None
    assert (found.seed_port, [(node.id, node.role) for node in nodes]) == (
        20,
        [(FORMER[1].id, "primary"), (FORMER[0].id, "replica")],
    )


def test_nodes_that_a_cluster_replaces_need_no_room_to_grow(database: Database) -> None:
    with database.write() as connection:
        larger = {"spec_code": cluster_code("xu1", shards=1, shard_gb=4, copies=1)}
        tasks.add(connection, a_task(kind=RESIZE_KIND, params=larger))
        assert allocated_by_host(connection) == {EMBEDDED: Size(3, 3)}


@pytest.mark.parametrize(
    ("before", "now", "nodes", "single"),
    [
        (SINGLE, HA, 1, SINGLE),
        (HA, SINGLE, 1, SINGLE),
        (SINGLE, HA, 2, None),
        (SINGLE, SINGLE, 1, None),
        (SINGLE, CLUSTER, 1, None),
        (HA, CLUSTER, 1, None),
        (CLUSTER, CLUSTER, 1, None),
    ],
)
def test_only_a_change_between_single_and_ha_leaves_a_single_instance(
    before: str, now: str, nodes: int, single: str | None
) -> None:
    assert single_after(parse(before), parse(now), nodes) == single


@contextmanager
def two_nodes(folder: Path, spec_code: str) -> Iterator[tuple[OperationContext, Instance, list[Node]]]:
    """Two nodes that should not run, and have no files, with a third one that is apart."""
    host, database = LocalHost(Settings(data_dir=folder)), new_database(folder)
    ports = free_ports("127.0.0.1", (10240, 30000), set())
    stopped = [
        msgspec.structs.replace(node, port=next(ports), bus_port=next(ports), should_run=False, maxmemory=2**30)
        for node in FORMER
    ]
    nodes = [msgspec.structs.replace(node, access="socket") for node in stopped]
    instance = an_instance(spec_code=spec_code, seed_port=nodes[0].port)
    add(database, instance, *nodes, SUCCESSOR)
    yield OperationContext(database, Settings(data_dir=folder), host, MigrationState(host.cpus)), instance, nodes
    database.close()


def listens(node: Node) -> bool:
    with socket.socket() as client:
        return client.connect_ex((node.host, node.port)) == 0


@pytest.mark.node
async def test_a_former_node_that_is_started_beside_the_cut_over_has_no_clients(tmp_path: Path) -> None:
    with two_nodes(tmp_path, SINGLE) as (context, instance, (node, _)):
        await context.host.write_files(node.id, await context.files(instance, node))
        try:
            await context.host.start(node.id)
            await wait_until_answering(context, instance, node)
            assert await is_open_to_clients(node, context.access(instance))
            await close_at_start(context, instance, node)
            assert listens(node), "it serves until its end"
            await context.host.stop(node.id, 10)
            await context.prepare_start(instance.id, node.id)
            await context.host.start(node.id)
            await wait_until_answering(context, instance, node)
            assert not await is_open_to_clients(node, context.access(instance))
            assert not listens(node)
            assert node.id not in context.opened_at
            await context.open_port(instance, node)
            opened_at = context.opened_at[node.id]
            assert time.time() - opened_at < 60
            await context.open_port(instance, node)
            assert context.opened_at[node.id] == opened_at, "it was open"
        finally:
            await context.host.remove(node.id, 10)


@pytest.mark.node
async def test_a_former_node_that_cannot_start_does_not_leave_the_others_stopped(tmp_path: Path) -> None:
    with two_nodes(tmp_path, HA) as (context, instance, nodes):
        try:
            for node in nodes:
                await context.host.write_files(node.id, await context.files(instance, node))
                await context.host.start(node.id)
                await wait_until_answering(context, instance, node)
                await context.host.stop(node.id, 10)
            shutil.rmtree(tmp_path / "nodes" / nodes[0].id / DATA_FOLDER)
            with pytest.raises(ActionFailed, match="files are missing"):
                await settle_type(context, a_task())
            recorded = await context.nodes(instance.id)
            assert [node.should_run for node in recorded] == [True, True]
            processes = await context.host.processes()
            assert set(processes) == {nodes[1].id}, "it would serve without keys"
        finally:
            for node in nodes:
                await context.host.remove(node.id, 10)
