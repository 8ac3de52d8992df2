"""A resize that waits for the maintenance window of its instance."""

import time
from collections.abc import Mapping
from typing import Any

import pytest
from huaweicloudsdkdcs.v2 import ResizeInstanceBody, ResizeInstanceRequest
from tenants import Tenant

from cachewright.model.tasks import Task
from cachewright.services.scheduled_tasks import TaskScheduler
from cachewright.store import instances, tasks
from cachewright.tasks.feed import TaskFeed
from sdk_calls import window

LARGER = {"spec_code": "redis.cluster.xu1.large.r1.s1.5", "new_capacity": 5}
HOUR_MS = 3600 * 1000


@pytest.fixture
def instance_id(tenant: Tenant) -> str:
    """An instance whose window begins in a few hours."""
    made = tenant.instance()
    assert tenant.call("PUT", f"instances/{made}", window(4)).status == 204
    return made


@pytest.fixture
def task(tenant: Tenant, instance_id: str) -> Task:
    body = ResizeInstanceBody(**LARGER, execute_immediately=False)
    tenant.client.resize_instance(ResizeInstanceRequest(instance_id=instance_id, body=body))
    return stored(tenant, instance_id)


def stored(tenant: Tenant, instance_id: str) -> Task:
    """The newest task."""
    with tenant.site.database.read() as connection:
        _, newest = tasks.page(connection, instance_id=instance_id, offset=0, limit=1)
        return newest[0]


def scheduled(tenant: Tenant, task: Task) -> Task:
    with tenant.site.database.read() as connection:
        return tasks.load(connection, task.id)


def begun(tenant: Tenant, at: int) -> list[Task]:
    """The tenant's tasks that begin if it is this time."""
    enqueued: list[Task] = []
    TaskScheduler(tenant.site.database, TaskFeed(), enqueued.append, lambda: at).begin_due()
    return [task for task in enqueued if task.project_id == tenant.project_id]


def shown(tenant: Tenant, task: Task) -> Mapping[str, Any]:
    record: Mapping[str, Any] = tenant.call("GET", f"tasks/{task.id}").json
    return record


def test_it_waits_and_knows_when_the_window_begins(tenant: Tenant, instance_id: str, task: Task) -> None:
    instance = tenant.call("GET", f"instances/{instance_id}").json
    assert (instance["status"], instance["task"]) == ("RUNNING", None)
    record = shown(tenant, task)
    assert record["task"]["status"] == "WAITING"
    (wait,) = record["waiting"]
    assert wait["cause"].startswith("the maintenance window, which begins at ")
    assert f"T{window(4)['maintain_begin']}" in wait["cause"]
    assert task.begins_at is not None
    progress = tenant.call("GET", f"instances/{instance_id}/tasks/{task.id}/progress").json
    for remaining in (record["progress"]["remain_time"], progress["remain_time"]):
        assert remaining == pytest.approx(task.begins_at / 1000 - time.time(), abs=60)


def test_other_operations_run_meanwhile_and_a_second_resize_is_refused(
    tenant: Tenant, instance_id: str, task: Task
) -> None:
    resize = f"instances/{instance_id}/resize"
    assert tenant.call("POST", resize, LARGER).refusal == (400, "DCS.4113")
    restart = {"instances": [instance_id], "action": "restart"}
    assert tenant.call("PUT", "instances/status", restart).json["results"][0]["result"] == "success"
    assert tenant.stored(instance_id).status == "RESTARTING"
    remaining = shown(tenant, stored(tenant, instance_id))["progress"]["remain_time"]
    assert remaining < 600, "the restart does not wait for the window"
    assert tenant.call("POST", f"{resize}/cancel/{task.id}").json == {"result": "success"}
    assert tenant.stored(instance_id).status == "RESTARTING"
    assert shown(tenant, task)["task"]["status"] == "FAILED"


def test_it_begins_in_the_window_when_the_instance_is_ready(tenant: Tenant, instance_id: str, task: Task) -> None:
    assert task.begins_at is not None
    assert begun(tenant, task.begins_at - 1) == []
    with tenant.site.database.write() as connection:
        instances.change(connection, instance_id, status="ERROR")
    assert begun(tenant, task.begins_at) == [], "an instance in ERROR is not resized"
    busy = tenant.add_task(instance_id, kind="restart", status="EXECUTING")
    with tenant.site.database.write() as connection:
        instances.change(connection, instance_id, status="RUNNING")
    assert begun(tenant, task.begins_at) == [], "a task that runs may last longer than the window"
    with tenant.site.database.write() as connection:
        tasks.change(connection, busy.id, status="SUCCESS", end_time=1)
        (first, *_) = instances.nodes_of(connection, instance_id)
        instances.change_node(connection, first.id, should_run=False)
    assert begun(tenant, task.begins_at) == [], "a node is stopped"
    assert begun(tenant, task.begins_at + 5 * HOUR_MS) == []
    postponed = scheduled(tenant, task)
    assert postponed.begins_at == task.begins_at + 24 * HOUR_MS, "the window was missed"
    with tenant.site.database.write() as connection:
        instances.change_node(connection, first.id, should_run=True)
    (started,) = begun(tenant, postponed.begins_at + HOUR_MS)
    assert (started.id, started.status, started.is_scheduled) == (task.id, "WAITING", False)
    assert tenant.stored(instance_id).status == "EXTENDING"
    assert begun(tenant, postponed.begins_at + HOUR_MS) == []


def test_a_changed_window_moves_it_and_an_open_one_needs_no_wait(tenant: Tenant, instance_id: str, task: Task) -> None:
    assert tenant.call("PUT", f"instances/{instance_id}", window(6)).status == 204
    assert task.begins_at is not None
    assert stored(tenant, instance_id).begins_at == task.begins_at + 2 * HOUR_MS
    assert tenant.call("POST", f"instances/{instance_id}/tasks/{task.id}/cancel").status == 200
    assert (tenant.stored(instance_id).status, tenant.stored(instance_id).error_code) == ("RUNNING", None)
    assert tenant.call("PUT", f"instances/{instance_id}", window(0)).status == 204
    assert tenant.call("POST", f"instances/{instance_id}/resize", LARGER | {"execute_immediately": False}).status == 204
    assert tenant.stored(instance_id).status == "EXTENDING"


def test_a_failed_resize_is_not_retried_while_another_waits(tenant: Tenant, instance_id: str, task: Task) -> None:
    failed = tenant.add_task(instance_id, kind="resize", name="EXTEND", status="FAILED", params=dict(task.params))
    retried = tenant.call("POST", f"instances/{instance_id}/tasks/{failed.id}/retry")
    assert retried.refusal == (400, "DCS.4113")


def test_a_deletion_cancels_it(tenant: Tenant, instance_id: str, task: Task) -> None:
    assert tenant.call("DELETE", f"instances/{instance_id}").status == 204
    assert tenant.stored(instance_id).status == "DELETING"
    record = shown(tenant, task)
    assert (record["task"]["status"], record["task"]["error_code"]) == ("FAILED", "DCS.9005")
