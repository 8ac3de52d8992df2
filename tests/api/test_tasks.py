"""ListBackgroundTask, ShowBackgroundTaskProgress, DeleteBackgroundTask."""

import uuid
from typing import Any

import pytest
from contract import faults
from huaweicloudsdkdcs.v2 import (
    DeleteBackgroundTaskRequest,
    ListBackgroundTaskRequest,
    ShowBackgroundTaskProgressRequest,
)
from tenants import Tenant

from cachewright.model.tasks import Step, SubStep, Work

BEGUN, ENDED = 1_592_379_522_503, 1_592_379_600_000
WORK = Work(unit="keys", total=100.0, seconds=2.0, lane="a")


def sub_step(**changed: Any) -> SubStep:
    known: dict[str, Any] = {"id": str(uuid.uuid4()), "name": "Resource request.", "action": "a", "arguments": {}}
    return SubStep(**(known | {"work": WORK} | changed))


def step(*sub_steps: SubStep, **changed: Any) -> Step:
    return Step(**({"id": str(uuid.uuid4()), "name": "Data migration.", "sub_steps": sub_steps} | changed))


@pytest.fixture
def instance_id(tenant: Tenant) -> str:
    return tenant.instance()


def test_a_running_task_is_listed_as_the_contract_has_it(tenant: Tenant, instance_id: str) -> None:
    task = tenant.add_task(
        instance_id,
        begin_time=BEGUN,
        params={"spec_code": "redis.cluster.xu1.large.r1.s1.5"},
        details={"old_capacity": "3", "new_capacity": "5", "old_replica_num": 1},
    )
    answer = tenant.call("GET", f"instances/{instance_id}/tasks").json
    assert faults(answer | {"tasks": []}, "ListBackgroundTaskResponse") == []
    row = answer["tasks"][0]
    assert faults(row, "SingleBackgroundTask") == []
    row["details"] = {name: value for name, value in row["details"].items() if value is not None}
    assert answer["task_count"] == "1"
    assert row == {
        "id": task.id,
        "name": "EXTEND",
        "details": {"old_capacity": "3", "new_capacity": "5", "old_replica_num": 1},
        "user_name": tenant.user_name,
        "user_id": tenant.key.user_id,
        "params": '{"spec_code":"redis.cluster.xu1.large.r1.s1.5"}',
        "status": "EXECUTING",
        "created_at": "2020-06-17T07:38:42.503Z",
        "updated_at": None,
        "error_code": None,
        "enable_show": True,
        "job_id": task.id,
    }


def test_a_task_that_has_ended_says_when_and_why(tenant: Tenant, instance_id: str) -> None:
    tenant.add_task(instance_id, status="FAILED", end_time=ENDED, error_code="DCS.9002")
    row = tenant.call("GET", f"instances/{instance_id}/tasks").json["tasks"][0]
    assert (row["status"], row["updated_at"], row["error_code"]) == ("FAILED", "2020-06-17T07:40:00.000Z", "DCS.9002")


@pytest.fixture
def many(tenant: Tenant, instance_id: str) -> list[str]:
    """Ids of twelve tasks, the oldest first, one a second from 2020-06-17 07:38:42.503."""
    return [tenant.add_task(instance_id, created_at=BEGUN + 1000 * n, status="SUCCESS").id for n in range(12)]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", range(11, 1, -1)),
        ("limit=1000", range(11, -1, -1)),
        ("offset=10", [1, 0]),
        ("limit=10&offset=10", [1, 0]),
        ("limit=10&offset=20", []),
        (f"offset={2**31 - 1}", []),
        ("limit=2&offset=3", [8, 7]),
        ("limit=100&start_time=20200617073853", [11]),
        ("limit=100&begin_time=20200617073853", [11]),
        ("limit=100&end_time=20200617073843", [1, 0]),
        ("start_time=20200617073845&end_time=20200617073845", [3]),
        ("start_time=20210101000000", []),
    ],
)
def test_lists_are_paged_newest_first(
    tenant: Tenant, instance_id: str, many: list[str], query: str, found: list[int]
) -> None:
    answer = tenant.call("GET", f"instances/{instance_id}/tasks", query=query).json
    assert [row["id"] for row in answer["tasks"]] == [many[number] for number in found]
    if "time" not in query:
        assert answer["task_count"] == "12"


@pytest.mark.parametrize(
    ("query", "code", "field"),
    [
        ("limit=0", "DCS.4062", "limit"),
        ("limit=1001", "DCS.4062", "limit"),
        ("offset=-1", "DCS.4062", "offset"),
        (f"offset={2**64}", "DCS.4062", "offset"),
        ("offset=0&offset=0", "DCS.4062", "offset"),
        ("start_time=yesterday", "DCS.4062", "start_time"),
        ("start_time=2020061707384", "DCS.4062", "start_time"),
        ("start_time=20201332000000", "DCS.4062", "start_time"),
        ("begin_time=20201332000000", "DCS.4062", "begin_time"),
        ("end_time=00000000000000", "DCS.4062", "end_time"),
        ("start_time=20200617073845&end_time=20200617073844", "DCS.4025", "end_time"),
    ],
)
def test_queries_that_cannot_be_are_refused(
    tenant: Tenant, instance_id: str, query: str, code: str, field: str
) -> None:
    answer = tenant.call("GET", f"instances/{instance_id}/tasks", query=query)
    assert answer.refusal == (400, code)
    assert field in answer.json["error_msg"]


def test_the_clouds_client_lists_and_follows(tenant: Tenant, instance_id: str) -> None:
    task = tenant.add_task(instance_id, percent=42, remaining_seconds=7.2, steps=(step(sub_step(detail="{a:1}")),))
    listed = tenant.client.list_background_task(ListBackgroundTaskRequest(instance_id=instance_id, limit=5, offset=0))
    assert listed.task_count == "1"
    request = ShowBackgroundTaskProgressRequest(instance_id=instance_id, task_id=listed.tasks[0].id)
    shown = tenant.client.show_background_task_progress(request)
    assert listed.tasks[0].id == task.id
    assert (shown.progress, shown.remain_time) == (42, 8)
    assert shown.step_details[0].sub_step_details[0].detail == "{a:1}"


def test_progress_is_as_the_contract_has_it(tenant: Tenant, instance_id: str) -> None:
    done = step(
        sub_step(status="FINISH", begin_time=BEGUN, end_time=ENDED, detail="d" * 2000),
        name="Pre-check.",
        status="FINISH",
        begin_time=BEGUN,
        end_time=ENDED,
    )
    failed = step(
        sub_step(status="FAILED", begin_time=BEGUN, end_time=ENDED, error_code="DCS.9002", name="n" * 2000),
        sub_step(status="EXECUTING", begin_time=BEGUN),
        status="EXECUTING",
        begin_time=BEGUN,
    )
    task = tenant.add_task(instance_id, steps=(done, failed, step(sub_step())), remaining_seconds=0.0)
    answer = tenant.call("GET", f"instances/{instance_id}/tasks/{task.id}/progress").json
    assert faults(answer, "ShowBackgroundTaskProgressResponse") == []
    assert answer["remain_time"] == 1
    first, second, third = answer["step_details"]
    assert (first["step_id"], first["step_name"], first["step_status"]) == (done.id, "Pre-check.", "FINISH")
    assert (first["begin_time"], first["end_time"]) == ("2020-06-17T07:38:42.503Z", "2020-06-17T07:40:00.000Z")
    assert first["error_code"] is None
    assert len(first["sub_step_details"][0]["detail"]) == 1024
    assert (second["step_status"], second["end_time"]) == ("EXECUTING", None)
    assert second["sub_step_details"][0]["error_code"] == "DCS.9002"
    assert len(second["sub_step_details"][0]["sub_step_name"]) == 1024
    assert (third["step_status"], third["begin_time"]) == ("WAITING", None)
    assert third["sub_step_details"][0]["detail"] == ""


@pytest.mark.parametrize(
    ("status", "seconds", "shown"),
    [
        ("WAITING", 0.0, 1),
        ("EXECUTING", 0.01, 1),
        ("EXECUTING", 12.0, 12),
        ("EXECUTING", 12.1, 13),
        ("SUCCESS", 0.0, 0),
        ("FAILED", 33.0, 0),
    ],
)
def test_remaining_time_is_whole_seconds(
    tenant: Tenant, instance_id: str, status: str, seconds: float, shown: int
) -> None:
    task = tenant.add_task(instance_id, status=status, remaining_seconds=seconds)
    answer = tenant.call("GET", f"instances/{instance_id}/tasks/{task.id}/progress").json
    assert answer["remain_time"] == shown


def test_a_task_id_may_be_written_as_a_uuid(tenant: Tenant, instance_id: str) -> None:
    task = tenant.add_task(instance_id)
    assert tenant.call("GET", f"instances/{instance_id}/tasks/{uuid.UUID(task.id)}/progress").status == 200


@pytest.mark.parametrize("malformed", ["x", "0" * 31, "0" * 33, "g" * 32, "%00", f"{'0' * 32}%0a"])
def test_a_malformed_task_id_is_refused(tenant: Tenant, instance_id: str, malformed: str) -> None:
    for method, rest in (("GET", "/progress"), ("DELETE", "")):
        assert tenant.call(method, f"instances/{instance_id}/tasks/{malformed}{rest}").refusal == (400, "DCS.4070")


def test_an_unknown_task_is_not_found(tenant: Tenant, instance_id: str) -> None:
    for method, rest in (("GET", "/progress"), ("DELETE", "")):
        answer = tenant.call(method, f"instances/{instance_id}/tasks/{uuid.uuid4().hex}{rest}")
        assert answer.refusal == (404, "DCS.4958")


def test_a_task_is_found_on_its_own_instance_only(tenant: Tenant, instance_id: str) -> None:
    task = tenant.add_task(instance_id, status="SUCCESS")
    other = tenant.instance()
    for method, rest in (("GET", "/progress"), ("DELETE", "")):
        assert tenant.call(method, f"instances/{other}/tasks/{task.id}{rest}").refusal == (404, "DCS.4958")


@pytest.mark.parametrize("status", ["SUCCESS", "FAILED"])
def test_a_task_that_has_ended_is_forgotten(tenant: Tenant, instance_id: str, status: str) -> None:
    task = tenant.add_task(instance_id, status=status)
    request = DeleteBackgroundTaskRequest(instance_id=instance_id, task_id=task.id)
    assert tenant.client.delete_background_task(request).message == ""
    assert tenant.call("GET", f"instances/{instance_id}/tasks").json == {"task_count": "0", "tasks": []}


@pytest.mark.parametrize("status", ["WAITING", "EXECUTING"])
def test_a_task_that_has_not_ended_stays(tenant: Tenant, instance_id: str, status: str) -> None:
    task = tenant.add_task(instance_id, status=status)
    assert tenant.call("DELETE", f"instances/{instance_id}/tasks/{task.id}").refusal == (400, "DCS.4957")
    assert tenant.call("GET", f"instances/{instance_id}/tasks").json["task_count"] == "1"
