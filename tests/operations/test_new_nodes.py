"""New nodes of a resize belong to a task that has not ended."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cachewright.config import Settings
from cachewright.flavors import parse
from cachewright.hosts.local import LocalHost
from cachewright.model.tasks import Control
from cachewright.operations.context import OperationContext
from cachewright.operations.resize import added_nodes
from cachewright.store import hosts, instances, task_controls, tasks
from cachewright.tasks.operation import CANCELLED, ActionFailed
from cachewright.topologies import layout
from cachewright.valkey.migration.source_state import MigrationState
from database_fixtures import a_task, an_instance, new_database

TASK = a_task()


@pytest.fixture
def context(tmp_path: Path) -> Iterator[OperationContext]:
    settings = Settings(data_dir=tmp_path)
    with closing(new_database(tmp_path)) as database:
        with database.write() as connection:
            instances.add(connection, an_instance())
            tasks.add(connection, TASK)
        yield OperationContext(database, settings, LocalHost(settings), MigrationState(cpus=2))


def store(context: OperationContext) -> None:
    flavor = parse(an_instance().spec_code)
    added_nodes.store(context, TASK, layout.new_nodes(context.settings, TASK.instance_id, flavor, salt=TASK.run_id))


def stored(context: OperationContext) -> int:
    with context.database.read() as connection:
        return len(instances.nodes_of(connection, TASK.instance_id))


def test_a_waiting_task_stores_its_new_nodes(context: OperationContext) -> None:
    store(context)
    assert stored(context)


def test_a_task_that_was_cancelled_while_it_was_planned_stores_none(context: OperationContext) -> None:
    with context.database.write() as connection:
        task_controls.put(connection, TASK.id, Control(state="cancelled"))
    with pytest.raises(ActionFailed) as failed:
        store(context)
    assert failed.value.code == CANCELLED
    assert not stored(context)


def test_a_host_that_was_cordoned_since_the_request_gets_no_nodes(context: OperationContext) -> None:
    with context.database.write() as connection:
        hosts.change(connection, "local", state="cordoned")
    with pytest.raises(ActionFailed, match="no host takes new nodes") as failed:
        store(context)
    assert (failed.value.code, failed.value.final) == ("DCS.4036", True)
    assert not stored(context)


def test_a_task_that_has_ended_or_runs_again_stores_none(context: OperationContext) -> None:
    for change in ({"status": "FAILED"}, {"status": "WAITING", "attempt": 1}):
        with context.database.write() as connection:
            tasks.change(connection, TASK.id, **change)
        with pytest.raises(tasks.StaleTask):
            store(context)
    assert not stored(context)
