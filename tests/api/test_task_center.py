"""ListCenterTask and DeleteCenterTask."""

import uuid
from collections.abc import Callable

import pytest
from contract import faults
from huaweicloudsdkdcs.v2 import DeleteCenterTaskRequest, ListCenterTaskRequest
from tenants import Tenant

from cachewright.store import instances

BEGUN = 1_592_379_522_503


@pytest.fixture
def many(tenant: Tenant) -> list[str]:
    """Ids of twelve tasks of two instances in turn, the oldest first, one a second from 2020-06-17 07:38:42.503."""
    two = tenant.instance(), tenant.instance()
    return [tenant.add_task(two[n % 2], created_at=BEGUN + 1000 * n, status="SUCCESS").id for n in range(12)]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", range(11, 1, -1)),
        ("limit=1000", range(11, -1, -1)),
        ("limit=10&offset=10", [1, 0]),
        ("offset=12", []),
        ("limit=2&offset=3", [8, 7]),
        ("limit=100&start_time=20200617073853", [11]),
        ("limit=100&begin_time=20200617073853", [11]),
        ("start_time=20200617073845&end_time=20200617073845", [3]),
        ("start_time=20210101000000", []),
    ],
)
def test_tasks_of_all_instances_are_paged_newest_first(
    tenant: Tenant, many: list[str], query: str, found: list[int]
) -> None:
    answer = tenant.call("GET", "tasks", query=query).json
    assert [row["id"] for row in answer["tasks"]] == [many[number] for number in found]
    if "time" not in query:
        assert answer["task_count"] == "12"


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "offset=-1", "start_time=yesterday", "end_time=1"])
def test_queries_that_cannot_be_are_refused(tenant: Tenant, query: str) -> None:
    answer = tenant.call("GET", "tasks", query=query)
    assert answer.refusal == (400, "DCS.4062")
    assert query.partition("=")[0] in answer.json["error_msg"]


def test_the_end_is_not_before_the_start(tenant: Tenant) -> None:
    answer = tenant.call("GET", "tasks", query="start_time=20200617073845&end_time=20200617073844")
    assert answer.refusal == (400, "DCS.4025")


def test_the_clouds_client_lists_and_forgets(tenant: Tenant) -> None:
    """It sends no body, but says that it is JSON."""
    task = tenant.add_task(tenant.instance(), status="FAILED", error_code="DCS.9002")
    listed = tenant.client.list_center_task(ListCenterTaskRequest(limit=5, offset=0))
    assert (listed.task_count, listed.tasks[0].id, listed.tasks[0].error_code) == ("1", task.id, "DCS.9002")
    tenant.client.delete_center_task(DeleteCenterTaskRequest(task_id=task.id))
    assert tenant.client.list_center_task(ListCenterTaskRequest()).tasks == []


def test_rows_are_as_the_contract_has_them(tenant: Tenant) -> None:
    tenant.add_task(tenant.instance(), status="SUCCESS", end_time=BEGUN)
    answer = tenant.call("GET", "tasks").json
    assert faults(answer, "ListCenterTaskResponse") == []


def test_tasks_of_an_instance_that_is_gone_stay(tenant: Tenant) -> None:
    instance_id = tenant.instance()
    task = tenant.add_task(instance_id, status="SUCCESS")
    with tenant.site.database.write() as connection:
        instances.remove(connection, instance_id)
    assert tenant.call("GET", f"instances/{instance_id}/tasks").refusal == (404, "DCS.3022")
    assert [row["id"] for row in tenant.call("GET", "tasks").json["tasks"]] == [task.id]
    assert tenant.call("DELETE", f"instances/{instance_id}/tasks/{task.id}").refusal == (404, "DCS.3022")
    assert tenant.call("DELETE", f"tasks/{task.id}").status == 200
    assert tenant.call("DELETE", f"tasks/{task.id}").refusal == (404, "DCS.4958")


@pytest.mark.parametrize("body", [b"", b"{}", b'{"message": "done"}', b'{"message": null, "more": 1}'])
def test_a_body_is_not_needed(tenant: Tenant, body: bytes) -> None:
    task = tenant.add_task(tenant.instance(), status="SUCCESS")
    answer = tenant.call("DELETE", f"tasks/{task.id}", body)
    assert (answer.status, answer.json) == (200, {"message": ""})


@pytest.mark.parametrize(("body", "code"), [(b"{", "DCS.4005"), (b"[]", "DCS.4005"), (b'{"message": 1}', "DCS.4062")])
def test_a_body_that_is_there_is_read(tenant: Tenant, body: bytes, code: str) -> None:
    task = tenant.add_task(tenant.instance(), status="SUCCESS")
    assert tenant.call("DELETE", f"tasks/{task.id}", body).refusal == (400, code)
    assert tenant.call("GET", "tasks").json["task_count"] == "1"


@pytest.mark.parametrize("status", ["WAITING", "EXECUTING"])
def test_a_task_that_has_not_ended_stays(tenant: Tenant, status: str) -> None:
    task = tenant.add_task(tenant.instance(), status=status)
    assert tenant.call("DELETE", f"tasks/{task.id}").refusal == (400, "DCS.4957")
    assert tenant.call("GET", "tasks").json["task_count"] == "1"


def test_ids_are_checked(tenant: Tenant) -> None:
    assert tenant.call("DELETE", "tasks/x").refusal == (400, "DCS.4070")
    assert tenant.call("DELETE", f"tasks/{uuid.uuid4().hex}").refusal == (404, "DCS.4958")


def test_another_projects_tasks_are_neither_seen_nor_forgotten(
    tenant: Tenant, new_tenant: Callable[[], Tenant]
) -> None:
    task = tenant.add_task(tenant.instance(), status="SUCCESS")
    stranger = new_tenant()
    assert stranger.call("GET", "tasks").json == {"task_count": "0", "tasks": []}
    assert stranger.call("DELETE", f"tasks/{task.id}").refusal == (404, "DCS.4958")
    assert tenant.call("GET", "tasks").json["task_count"] == "1"
