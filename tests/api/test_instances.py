"""CreateInstance, ListInstances, ShowInstance, DeleteSingleInstance."""

import uuid
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from contract import faults
from huaweicloudsdkdcs.v2 import (
    CreateInstanceBody,
    CreateInstanceRequest,
    DeleteSingleInstanceRequest,
    ListInstancesRequest,
    ResourceTag,
    ShowInstanceRequest,
)
from tenants import PASSWORD, Tenant

from cachewright.monitoring.node_stats import InstanceSample
from cachewright.store import instances

REFUSED: list[tuple[Mapping[str, Any], str, str]] = [
    ({"name": ...}, "DCS.4010", "name"),
    ({"name": "1abc"}, "DCS.4010", "name"),
    ({"name": "abc"}, "DCS.4010", "name"),
    ({"name": "a" * 65}, "DCS.4010", "name"),
    ({"name": "abcd\n"}, "DCS.4010", "name"),
    ({"name": "ab cd"}, "DCS.4010", "name"),
    ({"name": "äbcd"}, "DCS.4010", "name"),
    ({"name": "a" * 57, "instance_num": 2}, "DCS.4010", "name"),
    ({"name": None}, "DCS.4010", "name"),
    ({"engine": ...}, "DCS.4006", "engine"),
    ({"engine": "Memcached"}, "DCS.4006", "engine"),
    ({"engine_version": "3.0"}, "DCS.4008", "engine_version"),
    ({"engine_version": 7.0}, "DCS.4008", "engine_version"),
    ({"spec_code": ...}, "DCS.4927", "spec_code"),
    ({"spec_code": "redis.cluster"}, "DCS.4927", "spec_code"),
    ({"spec_code": "redis.single.xu1.large.3", "capacity": 3}, "DCS.4927", "spec_code"),
    ({"spec_code": "redis.cluster.au1.large.r1.s1.3"}, "DCS.4927", "aarch64"),
    ({"spec_code": "redis.single.xu1.large.2", "capacity": 3}, "DCS.4012", "capacity"),
    ({"spec_code": "redis.ha.xu1.large.p2.2", "capacity": 2}, "DCS.4007", "ha_rw_split"),
    ({"spec_code": "redis.proxy.xu1.large.4", "capacity": 4}, "DCS.4007", "spec_code"),
    ({"capacity": ...}, "DCS.4012", "capacity"),
    ({"capacity": 4}, "DCS.4012", "capacity"),
    ({"capacity": 3.5}, "DCS.4012", "capacity"),
    ({"capacity": 0}, "DCS.4012", "capacity"),
    ({"capacity": -3}, "DCS.4012", "capacity"),
    ({"capacity": "3"}, "DCS.4012", "capacity"),
    ({"capacity": True}, "DCS.4012", "capacity"),
    ({"capacity": 1e300}, "DCS.4012", "capacity"),
    ({"capacity": 3.0001}, "DCS.4012", "capacity"),
    ({"spec_param": {"sharding_count": 4}}, "DCS.4062", "spec_param.sharding_count"),
    ({"spec_param": {"replica_count": 2}}, "DCS.4062", "spec_param.replica_count"),
    ({"spec_param": {"cache_mode": "ha"}}, "DCS.4062", "spec_param.cache_mode"),
    ({"az_codes": ...}, "DCS.4062", "az_codes"),
    ({"az_codes": []}, "DCS.4062", "az_codes"),
    ({"az_codes": [1]}, "DCS.4062", "az_codes"),
    ({"az_codes": "local"}, "DCS.4062", "az_codes"),
    ({"az_codes": ["cn-north-4a"]}, "DCS.4042", "cn-north-4a"),
    ({"az_codes": ["local", "az2"]}, "DCS.4042", "az2"),
    ({"vpc_id": ...}, "DCS.4013", "vpc_id"),
    ({"vpc_id": ""}, "DCS.4013", "vpc_id"),
    ({"subnet_id": ...}, "DCS.4016", "subnet_id"),
    ({"subnet_id": ""}, "DCS.4016", "subnet_id"),
    ({"security_group_id": 1}, "DCS.4014", "security_group_id"),
    ({"instance_num": 0}, "DCS.4062", "instance_num"),
    ({"instance_num": 101}, "DCS.4062", "instance_num"),
    ({"instance_num": 1.5}, "DCS.4062", "instance_num"),
    ({"password": ...}, "DCS.4845", "password"),
    ({"password": ""}, "DCS.4845", "password"),
    ({"password": 12345678}, "DCS.4845", "password"),
    ({"password": "Short-1"}, "DCS.4019", "password"),
    ({"password": "A-1" + "a" * 30}, "DCS.4019", "password"),
    ({"password": "onlylowercase1"}, "DCS.4019", "password"),
    ({"password": "With blank-1"}, "DCS.4019", "password"),
    ({"password": "With-newline-1\n"}, "DCS.4019", "password"),
    ({"password": "Wíth-accent-1"}, "DCS.4019", "password"),
    ({"no_password_access": True}, "DCS.4845", "password"),
    ({"no_password_access": "true"}, "DCS.4843", "no_password_access"),
    ({"port": 0}, "DCS.4062", "port"),
    ({"port": 65536}, "DCS.4062", "port"),
    ({"port": "6379"}, "DCS.4062", "port"),
    ({"description": "d" * 1025}, "DCS.4011", "description"),
    ({"maintain_begin": "02:00:00"}, "DCS.4106", "maintain_end"),
    ({"maintain_end": "02:00:00"}, "DCS.4106", "maintain_begin"),
    ({"maintain_begin": "25:00:00", "maintain_end": "02:00:00"}, "DCS.4106", "maintain_begin"),
    ({"maintain_begin": "02:00:00", "maintain_end": "02:00:00"}, "DCS.4106", "maintain_end"),
    ({"tags": [{"key": "", "value": "v"}]}, "DCS.4062", "tags"),
    ({"tags": [{"value": "v"}]}, "DCS.4062", "tags"),
    ({"tags": [{"key": "k" * 37, "value": "v"}]}, "DCS.4062", "tags"),
    ({"tags": [{"key": "k", "value": "v" * 44}]}, "DCS.4062", "tags"),
    ({"tags": [{"key": "k", "value": "1"}, {"key": "k", "value": "2"}]}, "DCS.4062", "tags"),
    ({"tags": {"key": "k"}}, "DCS.4062", "tags"),
    ({"enable_ssl": True}, "DCS.4202", "valkey-server has no TLS"),
    ({"enable_ssl": True, "spec_code": "redis.single.xu1.large.1", "capacity": 1}, "DCS.4202", "HAProxy is not"),
    ({"enable_publicip": True}, "DCS.4062", "enable_publicip"),
    ({"publicip_id": "x"}, "DCS.4062", "publicip_id"),
    ({"private_ip": "10.0.0.1"}, "DCS.4062", "private_ip"),
    ({"access_user": "me"}, "DCS.4844", "access_user"),
    ({"template_id": "t"}, "DCS.4988", "template"),
    ({"template_id": "redis-6.0-cluster"}, "DCS.4062", "template_id"),
    ({"template_id": "redis-7.0-single"}, "DCS.4062", "template_id"),
    ({"rename_commands": {"keys": "k"}}, "DCS.4062", "rename_commands"),
    ({"instance_backup_policy": {"backup_type": "auto"}}, "DCS.4072", "save_days"),
    ({"bss_param": {"charging_mode": "prePaid"}}, "DCS.4062", "bss_param.charging_mode"),
]


@pytest.mark.parametrize(("changed", "code", "field"), REFUSED, ids=lambda value: str(value)[:60])
def test_what_cannot_be_granted_is_refused_by_name(
    tenant: Tenant, changed: Mapping[str, Any], code: str, field: str
) -> None:
    answer = tenant.call("POST", "instances", tenant.create_body(**changed))
    assert answer.refusal == (400, code)
    assert field in answer.json["error_msg"]
    assert tenant.call("GET", "instances").json["instance_num"] == 0


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "DCS.4004"),
        (b" \r\n", "DCS.4004"),
        (b"{", "DCS.4005"),
        (b"null", "DCS.4005"),
        (b"[]", "DCS.4005"),
        (b'"x"', "DCS.4005"),
        (b'{"name": "\xff"}', "DCS.4005"),
        (b'{"name": "\\ud800"}', "DCS.4005"),
        (b'{"capacity": NaN}', "DCS.4005"),
        (b'{"capacity": 1e999}', "DCS.4005"),
        (b'{"a":' * 20_000, "DCS.4005"),
        (b"[" * 100_000, "DCS.4005"),
        (b"{}", "DCS.4010"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_no_body_is_refused(tenant: Tenant, body: bytes, code: str) -> None:
    for path in ("instances", f"instances/{tenant.instance()}/resize"):
        answer = tenant.call("POST", path, body)
        assert answer.refusal == (400, code if code != "DCS.4010" or path == "instances" else "DCS.4927")


@pytest.mark.parametrize(
    "changed",
    [
        {"engine": "redis"},
        {"engine_version": ...},
        {"capacity": 3.0},
        {"spec_code": "redis.cluster.xu1.large.r2.s2.6", "capacity": 6},
        {"spec_param": {"sharding_count": 3, "replica_count": 1, "cache_mode": "cluster"}},
        {"spec_param": {"sharding_count": None}},
        {"no_password_access": True, "password": ...},
        {"no_password_access": True, "password": ""},
        {"enable_ssl": False, "enable_publicip": False, "publicip_id": "", "access_user": "", "rename_commands": {}},
        {"bss_param": {"charging_mode": "postPaid", "is_auto_pay": "true"}},
        {"private_ip": None, "tags": None, "port": None},
        {"port": 65535},
        {"what_is_this": {"not": ["known"]}},
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_is_harmless_is_accepted(tenant: Tenant, changed: Mapping[str, Any]) -> None:
    if changed.get("port"):
        changed = {"port": tenant.free_port()}
    answer = tenant.call("POST", "instances", tenant.create_body(**changed))
    assert answer.status == 200, answer.body


def test_several_instances_have_numbered_names(tenant: Tenant) -> None:
    answer = tenant.call("POST", "instances", tenant.create_body(name="many", instance_num=3))
    assert [made["instance_name"] for made in answer.json["instances"]] == ["many-000", "many-001", "many-002"]
    assert tenant.call("GET", "instances").json["instance_num"] == 3


def test_the_clouds_client_creates_and_reads_back(tenant: Tenant) -> None:
    body = CreateInstanceBody(
        name="from-sdk",
        engine="Redis",
        engine_version="6.0",
        capacity=6.0,
        spec_code="redis.cluster.xu1.large.r2.s2.6",
        az_codes=["local", "local"],
        vpc_id="my-vpc",
        subnet_id="my-subnet",
        description="ünïcode \N{GRINNING FACE}",
        maintain_begin="22:00:00",
        maintain_end="02:00:00",
        password=PASSWORD,
        enterprise_project_id="0",
        tags=[ResourceTag(key="team", value="a.b")],
    )
    made = tenant.client.create_instance(CreateInstanceRequest(body=body)).instances[0]
    assert made.instance_name == "from-sdk"
    shown = tenant.client.show_instance(ShowInstanceRequest(instance_id=made.instance_id))
    for field in (
        "name",
        "engine",
        "engine_version",
        "spec_code",
        "az_codes",
        "vpc_id",
        "subnet_id",
        "description",
        "maintain_begin",
        "maintain_end",
        "enterprise_project_id",
        "tags",
    ):
        assert getattr(shown, field) == getattr(body, field), field
    assert (shown.capacity, shown.capacity_minor, shown.max_memory) == (6, "", 6144)
    assert (shown.cache_mode, shown.cpu_type) == ("cluster", "x86_64")
    assert (shown.sharding_count, shown.replica_count, shown.db_number) == (3, 2, 1)
    assert (shown.status, shown.sub_status, shown.charging_mode) == ("CREATING", "normal", 0)
    assert (shown.no_password_access, shown.user_name) == ("false", tenant.user_name)
    assert shown.ip == "127.0.0.1"
    assert shown.security_group_id is None
    assert shown.update_at.endswith("Z")
    assert len(shown.backend_addrs.split(",")) == 6
    assert f"127.0.0.1:{shown.port}" in shown.backend_addrs


def test_every_member_has_the_clients_type(tenant: Tenant) -> None:
    """In every state: just made, running, being resized."""
    running = tenant.instance(tags=[{"key": "k"}])
    resized = tenant.instance()
    tenant.add_task(resized)
    assert tenant.call("POST", "instances", tenant.create_body()).status == 200
    listed = tenant.call("GET", "instances").json
    assert faults(listed, "ListInstancesResponse") == []
    for instance_id in (running, resized, listed["instances"][0]["instance_id"]):
        assert faults(tenant.call("GET", f"instances/{instance_id}").json, "ShowInstanceResponse") == []


def test_the_task_is_named_while_one_is_unfinished(tenant: Tenant) -> None:
    instance_id = tenant.instance()
    assert tenant.call("GET", f"instances/{instance_id}").json["task"] is None
    tenant.add_task(instance_id, name="EXTEND", status="FAILED")
    tenant.add_task(instance_id, name="EXTEND", status="EXECUTING")
    tenant.add_task(instance_id, name="DeleteInstance", status="WAITING")
    assert tenant.call("GET", f"instances/{instance_id}").json["task"] == "EXTEND"


def test_no_password_access_is_a_word(tenant: Tenant) -> None:
    instance_id = tenant.instance(no_password_access=True, password=...)
    assert tenant.call("GET", f"instances/{instance_id}").json["no_password_access"] == "true"


def test_used_memory_is_in_megabytes(tenant: Tenant) -> None:
    instance_id = tenant.instance()
    numbers = dict.fromkeys(InstanceSample.__struct_fields__, 0) | {"used_memory": 5 * 1024 * 1024 + 1}
    tenant.site.statistics.record(instance_id, InstanceSample(**numbers))
    assert tenant.call("GET", f"instances/{instance_id}").json["used_memory"] == 5
    assert tenant.call("GET", "instances").json["instances"][0]["used_memory"] == 5


@pytest.mark.parametrize("malformed", ["x", "0" * 32, f"{uuid.UUID(int=1)}x", "%00", "é", "0" * 32 + "----"])
def test_a_malformed_instance_id_is_refused(tenant: Tenant, malformed: str) -> None:
    quoted = malformed.replace("é", "%C3%A9")
    for method, rest in (("GET", ""), ("DELETE", ""), ("POST", "/resize"), ("GET", "/tasks")):
        assert tenant.call(method, f"instances/{quoted}{rest}").refusal == (400, "DCS.4061")


def test_an_unknown_instance_is_not_found(tenant: Tenant) -> None:
    unknown = f"instances/{uuid.uuid4()}"
    for method, rest in (("GET", ""), ("DELETE", ""), ("POST", "/resize"), ("GET", "/tasks")):
        assert tenant.call(method, unknown + rest).refusal == (404, "DCS.3022")


def test_an_instance_id_may_be_upper_case(tenant: Tenant) -> None:
    assert tenant.call("GET", f"instances/{tenant.instance().upper()}").status == 200


def test_deleting_answers_at_once_and_the_instance_is_there_until_it_is_done(tenant: Tenant) -> None:
    instance_id = tenant.instance()
    tenant.client.delete_single_instance(DeleteSingleInstanceRequest(instance_id=instance_id))
    shown = tenant.call("GET", f"instances/{instance_id}").json
    assert (shown["status"], shown["task"]) == ("DELETING", "DeleteInstance")
    again = tenant.call("DELETE", f"instances/{instance_id}")
    assert (again.status, again.body) == (204, b"")


def test_the_deletion_of_an_instance_that_is_being_created_cancels_its_creation(tenant: Tenant) -> None:
    made = tenant.call("POST", "instances", tenant.create_body()).json["instances"][0]["instance_id"]
    assert tenant.call("DELETE", f"instances/{made}").status == 204
    assert tenant.call("GET", f"instances/{made}").json["status"] == "DELETING"
    tasks = tenant.call("GET", f"instances/{made}/tasks").json["tasks"]
    assert [(task["name"], task["status"], task["error_code"]) for task in tasks] == [
        ("DeleteInstance", "WAITING", None),
        ("CreateInstance", "FAILED", "DCS.9005"),
    ]


@pytest.fixture
def three(tenant: Tenant) -> list[str]:
    """Ids of cache-one, cache-two and other, the oldest first, all alike but for what is filtered by."""
    ids = [
        tenant.instance(name="cache-one", tags=[{"key": "team", "value": "a.b"}, {"key": "tier", "value": "1"}]),
        tenant.instance(name="cache-two", tags=[{"key": "team", "value": "c"}]),
        tenant.instance(name="other", spec_code="redis.cluster.xu1.large.r1.s1.4", capacity=4),
    ]
    with tenant.site.database.write() as connection:
        for number, instance_id in enumerate(ids):
            instances.change(connection, instance_id, created_at=1000 + number)
        instances.change(connection, ids[1], status="CREATEFAILED")
    return ids


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [2, 1, 0]),
        ("limit=1", [2]),
        ("limit=1&offset=1", [1]),
        ("offset=3", []),
        ("offset=2000000000", []),
        ("name=cache", [1, 0]),
        ("name=e-tw", [1]),
        ("name=%25", []),
        ("name=_", []),
        ("name=cache&name_equal=true", []),
        ("name=cache-one&name_equal=true", [0]),
        ("name=cache&name_equal=false", [1, 0]),
        ("name_equal=cache-two", [1]),
        ("name_equal=cache", []),
        ("status=RUNNING", [2, 0]),
        ("status=CREATEFAILED", [1]),
        ("include_failure=false", [2, 0]),
        ("include_failure=true", [2, 1, 0]),
        ("include_delete=true", [2, 1, 0]),
        ("tags=team.a.b", [0]),
        ("tags=team.a.b,tier.1", [0]),
        ("tags=team.a.b,tier.2", []),
        ("tags=team.c&limit=1", [1]),
        ("tags=team.c&offset=1", []),
        ("tags=nothing", []),
        ("ip=127.0.0.1", [2, 1, 0]),
        ("ip=10.0.0.1", []),
        ("capacity=4", [2]),
        ("capacity=4.0&name=other", [2]),
        ("name=&status=&limit=&instance_id=", [2, 1, 0]),
        ("unknown=1", [2, 1, 0]),
    ],
)
def test_lists_are_filtered(tenant: Tenant, three: list[str], query: str, found: list[int]) -> None:
    answer = tenant.call("GET", "instances", query=query).json
    assert [item["instance_id"] for item in answer["instances"]] == [three[number] for number in found]
    if "limit" not in query and "offset" not in query:
        assert answer["instance_num"] == len(found)


def test_the_number_counts_all_that_fit_and_not_the_page(tenant: Tenant, three: list[str]) -> None:
    request = ListInstancesRequest(limit=1, offset=1)
    assert tenant.client.list_instances(request).instance_num == len(three)
    tagged = tenant.call("GET", "instances", query="tags=team.c&offset=5").json
    assert tagged == {"instance_num": 1, "instances": []}


def test_one_instance_is_listed_by_its_id(tenant: Tenant, three: list[str]) -> None:
    answer = tenant.client.list_instances(ListInstancesRequest(instance_id=three[0]))
    assert [item.name for item in answer.instances] == ["cache-one"]


def test_lists_are_of_one_project(tenant: Tenant, three: list[str], new_tenant: Callable[[], Tenant]) -> None:
    other = new_tenant()
    for query in ("", f"instance_id={three[0]}", "name=cache", "tags=team.c"):
        assert other.call("GET", "instances", query=query).json == {"instance_num": 0, "instances": []}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=ten", "limit"),
        ("limit=1.5", "limit"),
        ("limit=%31%zz", "limit"),
        ("limit=1&limit=2", "limit"),
        ("offset=-1", "offset"),
        (f"offset={2**63}", "offset"),
        (f"offset={10**400}", "offset"),
        ("status=SLEEPING", "status"),
        ("name=%ff", "name"),
        ("name=%", "name"),
        ("name=a%00b", "name"),
        ("capacity=much", "capacity"),
        ("capacity=inf", "capacity"),
        ("capacity=nan", "capacity"),
    ],
)
def test_queries_that_cannot_be_are_refused_by_name(tenant: Tenant, query: str, field: str) -> None:
    answer = tenant.raw_call("GET", tenant.path(f"instances?{query}"))
    assert answer.refusal == (400, "DCS.4062")
    assert field in answer.json["error_msg"]
