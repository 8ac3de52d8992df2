"""Which instances and changes are admitted: figures of a request against those of host and quota."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cachewright.config import Settings
from cachewright.errors import ApiError
from cachewright.flavors import MEGABYTE, parse
from cachewright.heartbeats import LoopHeartbeats
from cachewright.hosts.addresses import own_addresses
from cachewright.hosts.local import LocalHost
from cachewright.hosts.ports import NodePorts, free_ports
from cachewright.hosts.resources import total_memory
from cachewright.model.identity import Principal
from cachewright.monitoring.inspection import NodeBudget
from cachewright.monitoring.node_stats import StatsCollector
from cachewright.operations import admission, node_placement
from cachewright.operations.context import OperationContext
from cachewright.operations.requests import CreateRequest, PasswordRequest, ResizeRequest
from cachewright.operations.resize.check import RESIZE_CHECK
from cachewright.operations.resize.operation import RESIZE
from cachewright.operations.users import CHANGE_PASSWORD
from cachewright.placement import capacity
from cachewright.placement.capacity import Size
from cachewright.services.instances import InstanceService
from cachewright.services.resizes import ResizeService
from cachewright.services.tasks import TaskService
from cachewright.store import hosts, instances, tasks
from cachewright.store.database import Database
from cachewright.store.opening import open_database
from cachewright.tasks.feed import TaskFeed
from cachewright.threads import RequestThreads, Result
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
        TaskService(context, TaskFeed(), enqueue, statistics, RequestThreads()),
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
    assert services.tasks.retry(WHO, first, task.id).task.status == "WAITING"


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
        ports = [
            port
            for one in made
            for node in instances.nodes_of(connection, one.id)
            for port in (node.port, node.bus_port)
        ]
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


class _Deleting(RequestThreads):
    """Deletes an instance after the first read of a request."""

    def __init__(self, database: Database, instance_id: str) -> None:
        super().__init__()
        self._database = database
        self._instance_id = instance_id

    async def read(self, project: str, act: Callable[[], Result]) -> Result:
        answer = await super().read(project, act)
        with self._database.write() as connection:
            instances.remove(connection, self._instance_id)
        return answer


async def test_an_instance_that_is_deleted_during_a_request_is_not_found(tmp_path: Path, database: Database) -> None:
    services, wanted = new_services(tmp_path, database, memory_overcommit=1000), ResizeRequest(spec_code=spec(4))
    first, second = running(services, 2), running(services, 2)

    def resizes(instance_id: str) -> ResizeService:
        threads = _Deleting(database, instance_id)
        return ResizeService(tasks=msgspec.structs.replace(services.tasks, threads=threads), budget=NodeBudget())

    await resizes(first).require_possible(WHO, first, wanted)
    assert code(services.tasks.submit, RESIZE, WHO, first, wanted) == "DCS.3022"
    with pytest.raises(ApiError) as refused:
        await resizes(second).preview(WHO, second, wanted)
    assert refused.value.code == "DCS.3022"
