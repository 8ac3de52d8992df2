"""What is let in: figures of a request against those of host and quota; ports are found while nothing is locked."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachewright.config import Settings
from cachewright.errors import ApiError
from cachewright.flavors import MEGABYTE, Flavor, parse
from cachewright.heartbeats import LoopHeartbeats
from cachewright.hosts.addresses import own_addresses
from cachewright.hosts.local import LocalHost
from cachewright.hosts.ports import NodePorts, free_ports
from cachewright.hosts.resources import total_memory
from cachewright.model.identity import Principal
from cachewright.model.instances import Node
from cachewright.monitoring.inspection import NodeBudget
from cachewright.monitoring.node_stats import StatsCollector
from cachewright.operations import admission, node_placement
from cachewright.operations.context import OperationContext
from cachewright.operations.requests import CreateRequest, PasswordRequest, ResizeRequest
from cachewright.operations.resize.check import RESIZE_CHECK
from cachewright.operations.resize.operation import RESIZE
from cachewright.operations.resize.request import ResizeParams, required_room
from cachewright.operations.users import CHANGE_PASSWORD
from cachewright.placement import capacity, port_reservation
from cachewright.placement.capacity import Allocated, Limits, Request, Size
from cachewright.services.instances import InstanceService
from cachewright.services.tasks import TaskService
from cachewright.store import hosts, instances, tasks
from cachewright.store.database import Database
from cachewright.store.opening import open_database
from cachewright.tasks.feed import TaskFeed
from cachewright.threads import RequestThreads
from cachewright.topologies import layout
from cachewright.valkey.migration.source_state import MigrationState
from sdk_calls import spec

WHO = Principal(project_id="p", user_id="u", user_name="n")
OTHER = Principal(project_id="q", user_id="u", user_name="n")


class Services(msgspec.Struct, frozen=True):
    """What admits instances and their tasks. There is no engine, so tasks wait for ever."""

    database: Database
    statistics: StatsCollector
    instances: InstanceService
    tasks: TaskService


def new_services(folder: Path, database: Database, **options: Any) -> Services:
    settings = Settings(data_dir=folder, **options)
    host, enqueue = LocalHost(settings), lambda task: None
    statistics = StatsCollector(None, LoopHeartbeats())  # type: ignore[arg-type]  # it does not measure
    context = OperationContext(database, settings, host, MigrationState(host.cpus))
    return Services(
        database,
        statistics,
        InstanceService(database=database, host=host, settings=settings, enqueue=enqueue),
        TaskService(context, TaskFeed(), enqueue, statistics, NodeBudget(), RequestThreads()),
    )


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(open_database(Settings(data_dir=tmp_path))) as made:
        yield made


def overcommit(nodes: float) -> float:
    """With it the host holds so many nodes of 1 GB."""
    return nodes * Size(1, 1024 * MEGABYTE).host_memory / total_memory()


def wish(shards: int, *names: str, copies: int = 1) -> CreateRequest:
    flavor = parse(spec(shards, copies=copies))
    return CreateRequest(
        names=names or ("cache",), flavor=flavor, engine_version="7.0", port=None, password=None, attributes={}
    )


def running(services: Services, shards: int, who: Principal = WHO) -> str:
    """Id of an instance that has been created."""
    (made,) = services.instances.create_instances(who, wish(shards))
    with services.database.write() as connection:
        for task in tasks.unfinished_of(connection, made.id):
            tasks.remove(connection, task)
        instances.change(connection, made.id, status="RUNNING")
    return made.id


def code(call: Any, *arguments: Any) -> str:
    with pytest.raises(ApiError) as refused:
        call(*arguments)
    return refused.value.code


def test_a_resize_that_waits_counts_with_what_it_will_need(tmp_path: Path, database: Database) -> None:
    services = new_services(tmp_path, database, memory_overcommit=overcommit(6.5))
    first, second = running(services, 2), running(services, 2, OTHER)
    task = services.tasks.submit(RESIZE, WHO, first, ResizeRequest(spec_code=spec(4)))
    assert code(services.instances.create_instances, OTHER, wish(1)) == "DCS.4036"
    assert code(services.tasks.submit, RESIZE, OTHER, second, ResizeRequest(spec_code=spec(3))) == "DCS.4036"
    services.tasks.cancel_resize(WHO, first, task.id)
    assert services.instances.create_instances(OTHER, wish(2))


def test_a_resize_is_not_tried_again_where_its_room_is_gone(tmp_path: Path, database: Database) -> None:
    services = new_services(tmp_path, database, memory_overcommit=overcommit(4.5))
    first = running(services, 2)
    task = services.tasks.submit(RESIZE, WHO, first, ResizeRequest(spec_code=spec(4)))
    services.tasks.cancel_resize(WHO, first, task.id)
    second = running(services, 1, OTHER)
    assert code(services.tasks.retry, WHO, first, task.id) == "DCS.4036"
    with database.write() as connection:
        instances.remove(connection, second)
    assert services.tasks.retry(WHO, first, task.id).status == "WAITING"


def test_quotas_are_of_one_project(tmp_path: Path, database: Database) -> None:
    services = new_services(tmp_path, database, memory_overcommit=1000, quota_instances=1)
    running(services, 1)
    assert code(services.instances.create_instances, WHO, wish(1)) == "DCS.4035"
    running(services, 1, OTHER)


def test_several_instances_come_all_or_not_at_all(tmp_path: Path, database: Database) -> None:
    services = new_services(tmp_path, database, memory_overcommit=overcommit(4.5))
    assert code(services.instances.create_instances, WHO, wish(2, "a", "b", "c")) == "DCS.4036"
    made = services.instances.create_instances(WHO, wish(2, "a", "b"))
    with database.read() as connection:
        ports = [port for one in made for node in instances.nodes_of(connection, one.id) for port in ports_of(node)]
        assert instances.taken_ports(connection)["127.0.0.1"] == set(ports)
    assert len(set(ports)) == 8


def test_of_many_requests_for_the_last_room_one_gets_it(tmp_path: Path, database: Database) -> None:
    services = new_services(tmp_path, database, memory_overcommit=overcommit(2.5))
    together = threading.Barrier(8)

    def ask(_: int) -> str:
        together.wait()
        try:
            return services.instances.create_instances(WHO, wish(2))[0].status
        except ApiError as refused:
            return refused.code

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, range(8)))
    assert sorted(answers) == ["CREATING", *["DCS.4036"] * 7]


def test_more_nodes_than_there_are_ports_are_refused(tmp_path: Path, database: Database) -> None:
    services = new_services(tmp_path, database, memory_overcommit=1000, quota_nodes=0)
    many = wish(128, *(f"cache-{number}" for number in range(100)))
    assert code(services.instances.create_instances, WHO, many) == "DCS.4039"


def ports_of(node: Node) -> tuple[int, int]:
    return node.port, node.bus_port


def store(
    database: Database, settings: Settings, nodes: int, first: int | None = None, host: LocalHost | None = None
) -> list[Node]:
    """Reserves ports for nodes of a new instance."""
    new = layout.new_nodes(settings, f"i{nodes}{first}", parse(spec(nodes)))

    def add(connection: Any, ports: Any) -> list[Node]:
        placed = layout.placed(new, ports)
        instances.add_nodes(connection, placed)
        return placed

    found = host or LocalHost(settings)
    return port_reservation.reserve(database, found, settings, [found.address] * nodes, add, tls=False, first=first)


def test_the_database_takes_changes_while_ports_are_looked_for(tmp_path: Path, database: Database) -> None:
    written = []

    class WritingMeanwhile(LocalHost):
        def find_ports(self, *arguments: Any, tls: bool) -> list[NodePorts]:
            found = super().find_ports(*arguments, tls=tls)
            with database.write():
                written.extend(port for ports in found for port in ports.numbers)
            return found

    settings = Settings(data_dir=tmp_path)
    stored = store(database, settings, 3, host=WritingMeanwhile(settings))
    assert [port for node in stored for port in ports_of(node)] == written


def test_ports_that_are_reserved_meanwhile_are_not_given_twice(tmp_path: Path, database: Database) -> None:
    settings = Settings(data_dir=tmp_path)
    others: list[Node] = []

    class BeatenOnce(LocalHost):
        def find_ports(self, *arguments: Any, tls: bool) -> list[NodePorts]:
            found = super().find_ports(*arguments, tls=tls)
            if not others:
                others.extend(layout.placed(layout.new_nodes(settings, "other", parse(spec(1))), found[:1]))
                with database.write() as connection:
                    instances.add_nodes(connection, others)
            return found

    stored = store(database, settings, 3, host=BeatenOnce(settings))
    assert others
    assert not {port for node in stored for port in ports_of(node)} & set(ports_of(others[0]))


def test_a_range_without_a_free_port_is_a_refusal(tmp_path: Path, database: Database) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = Settings(data_dir=tmp_path, node_ports=(port, port + 1))
        assert code(store, database, settings, 1) == "DCS.4039"
        wide = Settings(data_dir=tmp_path)
        assert store(database, wide, 1, port)[0].host != "127.0.0.1", "another program has the port there"
        assert code(store, database, wide, 1, wide.bus_ports[0]) == "DCS.4062"


def test_instances_that_need_the_same_port_get_addresses_of_their_own(tmp_path: Path, database: Database) -> None:
    services = new_services(tmp_path, database, memory_overcommit=1000)
    port = next(free_ports("127.0.0.1", (24000, 32767), set()))
    asked = msgspec.structs.replace(wish(2, "one"), port=port)
    several = msgspec.structs.replace(wish(1, "two", "three"), port=port)
    made = [*services.instances.create_instances(WHO, asked), *services.instances.create_instances(WHO, several)]
    assert {instance.seed_port for instance in made} == {port}
    assert {instance.attributes["port"] for instance in made} == {port}, "a node that cannot have it does not start"
    assert made[0].address == "127.0.0.1"
    assert len({instance.address for instance in made}) == 3
    with database.read() as connection:
        for instance in made:
            assert {node.host for node in instances.nodes_of(connection, instance.id)} == {instance.address}


def test_beyond_loopback_a_port_is_taken_once_and_a_password_is_needed(tmp_path: Path, database: Database) -> None:
    own = next((str(address) for address in own_addresses() if address.version == 4 and not address.is_loopback), None)
    if own is None:
        pytest.skip("this machine has no address beyond loopback")
    services = new_services(tmp_path, database, memory_overcommit=1000, node_host=own)
    assert code(services.instances.create_instances, WHO, wish(1)) == "DCS.4843"
    port = next(free_ports(own, (24000, 32767), set()))
    asked = msgspec.structs.replace(wish(1), port=port, password="Test-password-1")
    (made,) = services.instances.create_instances(WHO, asked)
    assert (made.address, made.seed_port) == (own, port)
    assert code(services.instances.create_instances, WHO, asked) == "DCS.4062"
    assert code(CHANGE_PASSWORD.validate, made, [], PasswordRequest(None)) == "DCS.4843"


def node(shard: int, gigabytes: int) -> Node:
    return Node(
        id=str(shard),
        instance_id="i",
        shard=shard,
        role="primary",
        host="h",
        port=1,
        bus_port=2,
        maxmemory=gigabytes * 1024 * MEGABYTE,
        should_run=True,
        created_at=1,
    )


@pytest.mark.parametrize(
    ("before", "after", "nodes", "gigabytes"),
    [
        ((3, 1), (5, 1), 5, 5),
        ((5, 1), (3, 1), 5, 5),
        ((3, 1), (3, 4), 3, 12),
        ((3, 4), (3, 1), 3, 12),
        ((3, 2), (5, 1), 5, 8),
        ((5, 1), (3, 2), 5, 8),
    ],
)
def test_a_resize_needs_old_and_new_nodes(
    before: tuple[int, int], after: tuple[int, int], nodes: int, gigabytes: int
) -> None:
    present = [node(shard, before[1]) for shard in range(before[0])]
    size = capacity.size_during_resize(present, parse(spec(after[0], shard_gb=after[1])))
    assert size == Size(nodes, gigabytes * 1024 * MEGABYTE)


def test_an_interrupted_resize_counts_the_nodes_that_it_has_left() -> None:
    present = [node(shard, 1) for shard in (0, 2, 5)]
    assert capacity.size_during_resize(present, parse(spec(4))) == Size(4, 4096 * MEGABYTE)
    assert capacity.size_during_resize(present, parse(spec(2))) == Size(3, 3072 * MEGABYTE)


shards, gigabytes, copies = st.integers(1, 12), st.integers(1, 8), st.integers(1, 3)


def limits(**changed: Any) -> Limits:
    plain = {"host_memory": 2**60, "overcommit": 1.0, "disk_free": 2**60, "ports": 10**6}
    quotas = {"quota_instances": 0, "quota_nodes": 0, "quota_memory": 0}
    return Limits(**plain | quotas | changed)


def nodes_of(flavor: Flavor) -> list[Node]:
    return [node(shard, flavor.shard_mb // 1024) for shard in range(flavor.shards) for _ in range(flavor.copies)]


@given(shards, gigabytes, shards, gigabytes, copies)
def test_a_change_that_adds_nothing_is_never_short_of_memory(
    now: int, now_gb: int, then: int, then_gb: int, copies: int
) -> None:
    old, new = parse(spec(now, copies=copies, shard_gb=now_gb)), parse(spec(then, copies=copies, shard_gb=then_gb))
    request = required_room(nodes_of(old), ResizeParams(spec_code=new.spec_code))
    tight = limits(host_memory=1, ports=1, quota_nodes=1, quota_memory=1)
    found = list(capacity.shortages(request, Allocated(), Allocated(9, Size(9, 2**40)), tight))
    assert bool(found) == (then > now or then_gb > now_gb)


@given(shards, gigabytes, shards, gigabytes, copies)
def test_a_change_needs_at_least_what_is_there_before_and_after_it(
    now: int, now_gb: int, then: int, then_gb: int, copies: int
) -> None:
    old, new = parse(spec(now, copies=copies, shard_gb=now_gb)), parse(spec(then, copies=copies, shard_gb=then_gb))
    during = capacity.size_during_resize(nodes_of(old), new)
    for size in (capacity.size_of(old), capacity.size_of(new)):
        assert (during.nodes, during.maxmemory) >= (size.nodes, size.maxmemory)
        assert during.maxmemory >= size.maxmemory
    back = capacity.size_during_resize(nodes_of(new), old)
    assert during == back


def test_each_limit_has_its_code_and_figures() -> None:
    request = Request(instances=1, size=Size(3, 3 * 2**30), disk=2**30)
    project, host = Allocated(1, Size(2, 2**31)), Allocated(4, Size(9, 2**33))
    tight = limits(
        host_memory=2**33, disk_free=1, ports=20, quota_instances=1, quota_nodes=4, quota_memory=2**32, overcommit=1.5
    )
    found = [(shortage.code, shortage.reason) for shortage in capacity.shortages(request, project, host, tight)]
    assert found == [
        ("DCS.4035", "1 asked for, 1 of the project's 1 exist"),
        ("DCS.4039", "3 nodes needed, other instances have 2 of the project's 4"),
        ("DCS.4039", "6 ports needed, other instances have 18 of 20"),
        ("DCS.4036", "3.00 GB needed, other instances have 2.00 GB of the project's quota of 4.00 GB"),
        (
            "DCS.4036",
            "3.82 GB needed with overhead, 10.21 GB are allocated to other instances, the host has 8.00 GB, "
            "which may be allocated 1.5 times",
        ),
        ("DCS.9007", "1.00 GB of disk needed, 0.00 GB are free"),
    ]
    assert list(capacity.shortages(request, project, host, limits())) == []


def test_data_that_moves_is_what_its_shards_lose() -> None:
    assert capacity.moved_bytes(1200, 3, 4) == 300
    assert capacity.moved_bytes(1200, 4, 3) == 300
    assert capacity.moved_bytes(1200, 3, 3) == 0


def test_room_of_a_resize_to_fewer_larger_shards_is_that_of_its_shards(tmp_path: Path, database: Database) -> None:
    services = new_services(tmp_path, database, memory_overcommit=1000)
    instance_id = running(services, 12)
    with database.read() as connection:
        present = instances.nodes_of(connection, instance_id)
    services.tasks.submit(RESIZE, WHO, instance_id, ResizeRequest(spec_code=spec(3, shard_gb=8)))
    services.tasks.submit(RESIZE_CHECK, WHO, running(services, 1), ResizeRequest(spec_code=spec(4)))
    during = capacity.size_during_resize(present, parse(spec(3, shard_gb=8)))
    with database.read() as connection:
        by_host = node_placement.allocated_by_host(connection)
        _, host = admission.allocated(connection, WHO.project_id)
    assert by_host == {"local": during + Size(1, 1024 * MEGABYTE)}
    assert by_host["local"] == host.size


def test_a_host_that_is_cordoned_while_ports_are_looked_for_gets_no_nodes(tmp_path: Path, database: Database) -> None:
    class CordonedMeanwhile(LocalHost):
        def find_ports(self, *arguments: Any, tls: bool) -> list[NodePorts]:
            with database.write() as connection:
                hosts.change(connection, "local", state="cordoned")
            return super().find_ports(*arguments, tls=tls)

    settings = Settings(data_dir=tmp_path, memory_overcommit=1000)
    service = InstanceService(
        database=database, host=CordonedMeanwhile(settings), settings=settings, enqueue=lambda task: None
    )
    assert code(service.create_instances, WHO, wish(2)) == "DCS.4036"
    with database.read() as connection:
        assert instances.every(connection) == []


def test_nodes_grow_only_where_their_host_has_room(database: Database) -> None:
    def two_hosts(gigabytes: int) -> Limits:
        of_host = capacity.HostLimits(address="h", memory=Size(2, gigabytes * 2**30).host_memory, disk_free=1, ports=99)
        return limits(hosts={"a": of_host, "b": of_host})

    nodes = [msgspec.structs.replace(node(shard, 1), host_name=name) for shard, name in enumerate("ab")]
    request = required_room(nodes, ResizeParams(spec_code=spec(2, shard_gb=4)))
    others = {"b": Size(1, 2**30)}
    assert admission._growth_shortages(two_hosts(8), others, request, nodes) == []
    (found,) = admission._growth_shortages(two_hosts(4), others, request, nodes)
    assert (found.code, found.reason.split(" has ")[0]) == ("DCS.4036", "host b")


def test_ports_of_several_instances_are_different_on_a_host_that_they_share(tmp_path: Path, database: Database) -> None:
    class Lowest(LocalHost):
        def find_ports(self, address: str, count: int, taken: Any, *, tls: bool) -> list[NodePorts]:
            free = (port for port in range(30000, 31000) if port not in taken)
            return [NodePorts(next(free), next(free), None, address) for _ in range(count)]

        def is_port_free(self, address: str, port: int) -> bool:
            return True

    settings = Settings(data_dir=tmp_path)
    found = port_reservation.reserve(
        database,
        Lowest(settings),
        settings,
        ["127.0.0.1", "10.0.0.2", "127.0.0.1", "10.0.0.2"],
        lambda _, ports: list(ports),
        tls=False,
        first=25000,
        instances_of_first=2,
    )
    numbers = [(ports.address, number) for ports in found for number in ports.numbers]
    assert len(set(numbers)) == 8
    assert [ports.client for ports in found][::2] == [25000, 25000]
    assert [ports.address for ports in found] == ["127.0.0.1", "10.0.0.2", "127.0.1.1", "10.0.0.2"]
