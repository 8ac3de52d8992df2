"""ResizeInstance."""

from collections.abc import Mapping
from typing import Any

import pytest
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
from huaweicloudsdkdcs.v2 import ListBackgroundTaskRequest, ResizeInstanceBody, ResizeInstanceRequest
from tenants import Tenant

from cachewright.store import instances

LARGER = {"spec_code": "redis.cluster.xu1.large.r1.s1.5", "new_capacity": 5}
SMALLER = {"spec_code": "redis.cluster.xu1.large.r1.s1.2", "new_capacity": 2}
MORE_COPIES = {"spec_code": "redis.cluster.xu1.large.r2.s1.3", "new_capacity": 3}

REFUSED: list[tuple[Mapping[str, Any], str, str]] = [
    ({"spec_code": ...}, "DCS.4927", "spec_code"),
    ({"spec_code": 5}, "DCS.4927", "spec_code"),
    ({"spec_code": "redis.cluster.x"}, "DCS.4927", "spec_code"),
    ({"new_capacity": ...}, "DCS.4012", "new_capacity"),
    ({"new_capacity": 4}, "DCS.4012", "new_capacity"),
    ({"new_capacity": 0}, "DCS.4012", "new_capacity"),
    ({"new_capacity": "5"}, "DCS.4012", "new_capacity"),
    ({"new_capacity": 5.00001}, "DCS.4012", "new_capacity"),
    ({"spec_code": "redis.cluster.xu1.large.r1.s1.3", "new_capacity": 3}, "DCS.4103", "redis.cluster"),
    ({"spec_code": "redis.cluster.au1.large.r1.s1.5"}, "DCS.4102", "redis.cluster"),
    ({"spec_code": "redis.proxy.xu1.large.s1.5"}, "DCS.4102", "redis.proxy"),
    ({"change_type": "bigger"}, "DCS.4062", "change_type"),
    ({"change_type": 1}, "DCS.4062", "change_type"),
    ({"change_type": "createReplication"}, "DCS.4102", "change_type"),
    ({"change_type": "deleteReplication"}, "DCS.4102", "change_type"),
    ({"change_type": "instanceType"}, "DCS.4102", "change_type"),
    (SMALLER | {"change_type": "addSharding"}, "DCS.4102", "change_type"),
    (MORE_COPIES | {"change_type": "addSharding"}, "DCS.4102", "change_type"),
    (MORE_COPIES | {"change_type": "deleteReplication"}, "DCS.4102", "change_type"),
    ({"spec_code": "redis.cluster.xu1.large.r2.s1.5"}, "DCS.4102", "separate requests"),
    ({"reserved_ip": ["127.0.0.1"]}, "DCS.4062", "reserved_ip"),
    (SMALLER | {"reserved_ip": ["127.0.0.9"]}, "DCS.4062", "127.0.0.9"),
    ({"node_list": ["n"]}, "DCS.4930", "node_list"),
    (MORE_COPIES | {"node_list": ["n"]}, "DCS.4930", "node_list"),
    ({"available_zones": ["local"]}, "DCS.4933", "available_zones"),
    (MORE_COPIES | {"available_zones": ["az2"]}, "DCS.4933", "az2"),
    ({"execute_immediately": "true"}, "DCS.4062", "execute_immediately"),
]


@pytest.mark.parametrize(("changed", "code", "field"), REFUSED, ids=lambda value: str(value)[:60])
def test_what_cannot_be_granted_is_refused_by_name(
    tenant: Tenant, changed: Mapping[str, Any], code: str, field: str
) -> None:
    instance_id = tenant.instance()
    body = {name: value for name, value in (LARGER | dict(changed)).items() if value is not ...}
    answer = tenant.call("POST", f"instances/{instance_id}/resize", body)
    assert answer.refusal == (400, code)
    assert field in answer.json["error_msg"]
    assert tenant.call("GET", f"instances/{instance_id}/tasks").json["task_count"] == "0"


@pytest.mark.parametrize(
    "changed",
    [
        {},
        SMALLER,
        {"change_type": ""},
        MORE_COPIES,
        MORE_COPIES | {"change_type": "createReplication", "available_zones": ["local"]},
        SMALLER | {"reserved_ip": ["127.0.0.1"]},
        {"change_type": "addSharding"},
        {"new_capacity": 5.0, "execute_immediately": True},
        {"reserved_ip": [], "node_list": None, "available_zones": [], "bss_param": {"is_auto_pay": "true"}},
    ],
    ids=str,
)
def test_a_resize_answers_nothing_and_makes_a_task(tenant: Tenant, changed: Mapping[str, Any]) -> None:
    instance_id = tenant.instance()
    body = LARGER | dict(changed)
    answer = tenant.call("POST", f"instances/{instance_id}/resize", body)
    assert (answer.status, answer.body) == (204, b"")
    shown = tenant.call("GET", f"instances/{instance_id}").json
    assert (shown["status"], shown["task"]) == ("EXTENDING", "EXTEND")
    assert (shown["spec_code"], shown["capacity"]) == ("redis.cluster.xu1.large.r1.s1.3", 3)
    task = tenant.call("GET", f"instances/{instance_id}/tasks").json["tasks"][0]
    assert (task["name"], task["status"], task["enable_show"]) == ("EXTEND", "WAITING", True)
    assert task["details"]["old_resource_spec_code"] == "redis.cluster.xu1.large.r1.s1.3"
    assert task["details"]["new_resource_spec_code"] == body["spec_code"]


def test_the_clouds_client_resizes(tenant: Tenant) -> None:
    instance_id = tenant.instance()
    body = ResizeInstanceBody(**LARGER)
    tenant.client.resize_instance(ResizeInstanceRequest(instance_id=instance_id, body=body))
    listed = tenant.client.list_background_task(ListBackgroundTaskRequest(instance_id=instance_id))
    assert (listed.task_count, listed.tasks[0].details.new_capacity) == ("1", "5")


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("EXTENDING", "DCS.4113"),
        ("CREATING", "DCS.4118"),
        ("RESTARTING", "DCS.4111"),
        ("DELETING", "DCS.4026"),
        ("ERROR", "DCS.4049"),
    ],
)
def test_a_busy_instance_is_not_resized(tenant: Tenant, status: str, code: str) -> None:
    instance_id = tenant.instance()
    with tenant.site.database.write() as connection:
        instances.change(connection, instance_id, status=status)
    request = ResizeInstanceRequest(instance_id=instance_id, body=ResizeInstanceBody(**LARGER))
    with pytest.raises(ClientRequestException) as refused:
        tenant.client.resize_instance(request)
    assert (refused.value.status_code, refused.value.error_code) == (400, code)


def test_existence_is_checked_before_the_body(tenant: Tenant) -> None:
    path = "instances/00000000-0000-4000-8000-000000000000/resize"
    assert tenant.call("POST", path, b"{").refusal == (404, "DCS.3022")


def newest(tenant: Tenant, instance_id: str) -> Mapping[str, Any]:
    tasks: list[Mapping[str, Any]] = tenant.call("GET", f"instances/{instance_id}/tasks").json["tasks"]
    return tasks[0]


def test_a_resize_can_be_withdrawn_before_it_begins(tenant: Tenant) -> None:
    instance_id = tenant.instance()
    assert tenant.call("POST", f"instances/{instance_id}/resize", LARGER).status == 204
    path = f"instances/{instance_id}/resize/cancel/{newest(tenant, instance_id)['id']}"
    answer = tenant.call("POST", path)
    assert (answer.status, answer.json) == (200, {"result": "success"})
    assert (newest(tenant, instance_id)["status"], tenant.stored(instance_id).status) == ("FAILED", "RUNNING")
    assert tenant.call("POST", path).refusal == (400, "DCS.4957")


def test_the_next_in_line_gives_the_status_when_a_task_is_withdrawn(tenant: Tenant) -> None:
    instance_id = tenant.instance()
    check = tenant.call("POST", f"instances/{instance_id}/resize/check-job", {"spec_code": LARGER["spec_code"]}).json
    assert tenant.call("POST", f"instances/{instance_id}/resize", LARGER).status == 204
    resize = newest(tenant, instance_id)["id"]
    assert tenant.stored(instance_id).status == "RUNNING"
    assert tenant.call("POST", f"instances/{instance_id}/tasks/{check['job_id']}/cancel").status == 200
    assert tenant.stored(instance_id).status == "EXTENDING"
    assert tenant.call("POST", f"instances/{instance_id}/tasks/{resize}/cancel").status == 200
    stored = tenant.stored(instance_id)
    assert (stored.status, stored.error_code) == ("RUNNING", "DCS.9005")


def test_a_creation_that_is_withdrawn_says_why_it_failed(tenant: Tenant) -> None:
    answer = tenant.call("POST", "instances", tenant.create_body())
    instance_id = answer.json["instances"][0]["instance_id"]
    assert (
        tenant.call("POST", f"instances/{instance_id}/tasks/{newest(tenant, instance_id)['id']}/cancel").status == 200
    )
    assert newest(tenant, instance_id)["error_code"] == "DCS.9005"
    shown = tenant.call("GET", f"instances/{instance_id}").json
    assert (shown["status"], shown["error_code"]) == ("CREATEFAILED", "DCS.9005")


def test_only_a_resize_can_be_withdrawn(tenant: Tenant) -> None:
    instance_id = tenant.instance()
    other = tenant.add_task(instance_id, kind="create", name="CreateInstance")
    assert tenant.call("POST", f"instances/{instance_id}/resize/cancel/{other.id}").refusal == (400, "DCS.4957")
    assert tenant.call("POST", f"instances/{instance_id}/resize/cancel/{0:032x}").refusal == (404, "DCS.4958")
    assert tenant.call("POST", f"instances/{instance_id}/resize/cancel/x").refusal == (400, "DCS.4070")
