"""A new operation takes one declaration: the rest follows from the registry. See docs/how-to/add-an-operation.md."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from cachewright.api.schemas.control import record
from cachewright.config import Settings
from cachewright.errors import ApiError
from cachewright.heartbeats import LoopHeartbeats
from cachewright.hosts.local import LocalHost
from cachewright.model.identity import Principal
from cachewright.model.instances import Instance, Node
from cachewright.model.tasks import Control, Step, Task
from cachewright.monitoring.node_stats import StatsCollector
from cachewright.operations import OPERATIONS
from cachewright.operations.context import OperationContext
from cachewright.operations.execution import executable_operations
from cachewright.operations.operation import Accepted, NoParams, Operation
from cachewright.operations.restart import RESTART
from cachewright.operations.step_names import PRE_CHECK
from cachewright.services.new_tasks import new_task
from cachewright.services.tasks import TaskService
from cachewright.store import instances, tasks
from cachewright.store.database import Database
from cachewright.tasks.feed import TaskFeed
from cachewright.tasks.plan import SubStepSpec, build, effort
from cachewright.threads import RequestThreads
from cachewright.topologies.topology import status_check
from cachewright.valkey.migration.source_state import MigrationState
from database_fixtures import an_instance, new_database

WHO = Principal(project_id="p", user_id="u", user_name="n")


class Verify(Operation[None, NoParams]):
    kind = "verify"
    name = "VerifyInstance"
    permission = "dcs:instance:get"
    params = NoParams
    outline = (PRE_CHECK,)
    busy = "DCS.4026"
    interruptible = False
    status_while_running = "VERIFYING"

    def validate(self, instance: Instance, nodes: Sequence[Node], request: None) -> Accepted[NoParams]:
        return Accepted(NoParams())

    async def plan(self, context: OperationContext, task: Task) -> tuple[Step, ...]:
        return build(task.run_id, {PRE_CHECK: [status_check()]})


VERIFY = Verify()


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OperationContext]:
    """With the operation in the registry, and an instance."""
    monkeypatch.setitem(OPERATIONS, VERIFY.kind, VERIFY)  # type: ignore[misc]  # a constant but for tests
    settings = Settings(data_dir=tmp_path)
    host = LocalHost(settings)
    with closing(new_database(tmp_path)) as database:
        with database.write() as connection:
            instances.add(connection, an_instance())
        yield OperationContext(database, settings, host, MigrationState(host.cpus))


@pytest.fixture
def service(context: OperationContext) -> TaskService:
    """Its tasks wait for ever: there is no engine."""
    statistics = StatsCollector(None, LoopHeartbeats())  # type: ignore[arg-type]  # it does not measure
    return TaskService(context, TaskFeed(), lambda task: None, statistics, RequestThreads())


def instance_of(database: Database) -> Instance:
    with database.read() as connection:
        found = instances.find(connection, "i")
    assert found is not None
    return found


def test_it_is_submitted_and_busy(context: OperationContext, service: TaskService) -> None:
    task = service.submit(VERIFY, WHO, "i", None)
    assert (task.kind, task.name, task.status) == ("verify", "VerifyInstance", "WAITING")
    assert [step.name for step in task.steps] == [PRE_CHECK]
    assert instance_of(context.database).status == "VERIFYING"
    with pytest.raises(ApiError) as refused:
        service.submit(RESTART, WHO, "i", None)
    assert refused.value.code == VERIFY.busy


async def test_it_is_planned_and_concluded(context: OperationContext, service: TaskService) -> None:
    task = service.submit(VERIFY, WHO, "i", None)
    operation = executable_operations(context)[VERIFY.kind]
    (step,) = await operation.plan(task)
    assert [sub.action for sub in step.sub_steps] == ["check status"]
    ended = msgspec.structs.replace(task, status="FAILED", error_code="DCS.9004", end_time=task.created_at)
    with context.database.write() as connection:
        ended = tasks.save(connection, ended)
        operation.conclude(connection, ended, recovered=True)
    instance = instance_of(context.database)
    assert (instance.status, instance.error_code) == ("RUNNING", "DCS.9004")


def test_it_cannot_be_paused_and_can_be_retried(context: OperationContext, service: TaskService) -> None:
    task = service.submit(VERIFY, WHO, "i", None)
    assert not record(task, Control()).interruptible
    with pytest.raises(ApiError) as refused:
        service.control(WHO, "i", task.id, Control(state="paused"))
    assert refused.value.code == "DCS.4957"
    ended = msgspec.structs.replace(task, status="FAILED", end_time=task.created_at)
    with context.database.write() as connection:
        ended = tasks.save(connection, ended)
        executable_operations(context)[VERIFY.kind].conclude(connection, ended, recovered=True)
    assert service.retry(WHO, "i", task.id).task.attempt == 1
    assert instance_of(context.database).status == "VERIFYING"


def test_what_its_tasks_take_is_learned(context: OperationContext, service: TaskService) -> None:
    task = service.submit(VERIFY, WHO, "i", None)
    assert task.remaining_seconds == 1
    begin, end = task.created_at, task.created_at + 3_000
    check = SubStepSpec(name="Check.", action="check status", work=effort("check", seconds=0.1))
    (step,) = build(task.id, {"Check.": [check]})
    done = msgspec.structs.replace(step.sub_steps[0], status="FINISH", begin_time=begin, end_time=end)
    steps = (msgspec.structs.replace(step, status="FINISH", sub_steps=(done,)),)
    ended = msgspec.structs.replace(task, status="SUCCESS", begin_time=begin, end_time=end, steps=steps)
    with context.database.write() as connection:
        ended = tasks.save(connection, ended)
        executable = executable_operations(context)[VERIFY.kind]
        executable.learn(connection, ended)
        executable.conclude(connection, ended, recovered=True)
    assert service.submit(VERIFY, WHO, "i", None).remaining_seconds == pytest.approx(3**0.75, rel=0.01)


def test_ids_of_tasks_sort_by_the_time_of_their_request(
    context: OperationContext, service: TaskService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DBOS runs tasks of one instance that were enqueued in the same second in the order of their ids."""
    times = [1_795_451_217_699, 1_795_451_217_700, 1_795_451_217_956]
    monkeypatch.setattr("cachewright.services.new_tasks.now_ms", iter(times).__next__)
    ids = [new_task(VERIFY, WHO, instance_of(context.database), Accepted(NoParams())).id for _ in times]
    assert ids == sorted(ids)
    assert {len(task_id) for task_id in ids} == {32}
