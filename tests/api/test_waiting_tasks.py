"""Remaining time of tasks that wait behind others of their instance, on every route that shows it."""

import uuid

import msgspec
import pytest
from tenants import Tenant

from cachewright.model.tasks import Control, Task
from cachewright.store import instances, task_controls, tasks
from cachewright.topologies import layout


@pytest.fixture
def queue(tenant: Tenant) -> tuple[Task, Task]:
    """A task that runs, and one that waits for it."""
    instance_id = tenant.instance()
    running = tenant.add_task(instance_id, percent=30, remaining_seconds=20.0)
    return running, tenant.add_task(instance_id, kind="restart", status="WAITING", remaining_seconds=5.0)


def paths(task: Task) -> list[str]:
    """Two spellings of the path of its progress; only the first one is answered before the framework."""
    return [f"instances/{task.instance_id}/tasks/{spelled}/progress" for spelled in (task.id, uuid.UUID(task.id))]


def test_the_time_of_the_task_before_it_is_added_and_falls_with_it(tenant: Tenant, queue: tuple[Task, Task]) -> None:
    running, waiting = queue
    for left, shown in ((20.0, 25), (9.5, 15), (0.0, 5)):
        with tenant.site.database.write() as connection:
            tasks.change(connection, running.id, remaining_seconds=left)
        for path in paths(waiting):
            answer = tenant.call("GET", path).json
            assert (answer["progress"], answer["remain_time"]) == (0, shown)


def test_the_entity_tag_changes_with_what_is_shown(tenant: Tenant, queue: tuple[Task, Task]) -> None:
    running, waiting = queue
    for path in paths(waiting):
        tag = tenant.call("GET", path).headers["etag"]
        assert tenant.call("GET", path, headers={"If-None-Match": tag}).status == 304
        with tenant.site.database.write() as connection:
            before = tasks.load(connection, running.id).remaining_seconds
            tasks.change(connection, running.id, remaining_seconds=before - 5)
        changed = tenant.call("GET", path, headers={"If-None-Match": tag})
        assert (changed.status, changed.json["remain_time"]) == (200, before)


def test_records_show_the_same(tenant: Tenant, queue: tuple[Task, Task]) -> None:
    running, waiting = queue
    own = f"instances/{waiting.instance_id}/tasks/{waiting.id}"
    for path in (own, f"tasks/{waiting.id}"):
        assert tenant.call("GET", path).json["progress"]["remain_time"] == 25
    limited = tenant.call("PUT", f"{own}/control", {"parallel": 1}).json
    assert limited["progress"]["remain_time"] == 25
    assert (
        tenant.call("GET", f"instances/{running.instance_id}/tasks/{running.id}").json["progress"]["remain_time"] == 20
    )


def test_a_cancelled_task_before_it_counts_for_seconds(tenant: Tenant, queue: tuple[Task, Task]) -> None:
    running, waiting = queue
    with tenant.site.database.write() as connection:
        task_controls.put(connection, running.id, Control(state="cancelled", for_deletion=True))
    for path in paths(waiting):
        assert tenant.call("GET", path).json["remain_time"] < 10


def test_a_task_that_is_cancelled_while_it_is_planned_leaves_no_new_node(tenant: Tenant) -> None:
    instance_id = tenant.instance()
    task = tenant.add_task(instance_id, status="WAITING")
    with tenant.site.database.write() as connection:
        before = instances.nodes_of(connection, instance_id)
        added = msgspec.structs.replace(
            before[0], id=layout.node_id(instance_id, 0, 1, salt=task.run_id), role="replica", port=1, bus_port=2
        )
        instances.add_nodes(connection, [added])
    assert tenant.call("POST", f"instances/{instance_id}/tasks/{task.id}/cancel").status == 200
    with tenant.site.database.read() as connection:
        assert instances.nodes_of(connection, instance_id) == before


def test_other_instances_do_not_matter(tenant: Tenant, queue: tuple[Task, Task]) -> None:
    alone = tenant.add_task(tenant.instance(), kind="restart", status="WAITING", remaining_seconds=4.2)
    for path in paths(alone):
        assert tenant.call("GET", path).json["remain_time"] == 5


def test_a_new_task_says_what_such_tasks_take(tenant: Tenant) -> None:
    """There is no engine in these tests, so it waits for ever."""
    instance_id = tenant.instance()
    tenant.call("PUT", "instances/status", {"instances": [instance_id], "action": "restart"})
    with tenant.site.database.read() as connection:
        (task,) = tasks.unfinished_of(connection, instance_id)
    assert tenant.call("GET", paths(task)[0]).json["remain_time"] > 1
    assert 0 < task.remaining_low < task.remaining_seconds < task.remaining_high
