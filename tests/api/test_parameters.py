"""Changes of parameters over HTTP: rejections, stored tasks, and the cloud's own client on a real server."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from contract import faults
from huaweicloudsdkdcs.v2 import (
    DeleteSingleInstanceRequest,
    ListConfigHistoriesRequest,
    ListConfigurationsRequest,
    ModifyRedisConfigBody,
    RedisConfig,
    ShowConfigHistoryDetailRequest,
    ShowJobInfoRequest,
    UpdateConfigurationsRequest,
    UpdateInstanceConfigRequest,
)
from tenants import Tenant
from terraform import Terraform

from cachewright.api.schemas.configurations import configurations
from cachewright.model.tasks import Task
from cachewright.store import instances, tasks
from cachewright.valkey.parameters import BY_NAME, PARAMETERS, values
from database_fixtures import an_instance
from sdk_calls import created
from serving import Server, until

SOMETHING = "00000000-0000-4000-8000-000000000001"


def changing(**changed: str) -> dict[str, Any]:
    """A body; names are written with underscores here."""
    named = {name.replace("_", "-"): value for name, value in changed.items()}
    return {
        "redis_config": [
            {"param_id": BY_NAME[name].id, "param_name": name, "param_value": value} for name, value in named.items()
        ]
    }


def item(**changed: Any) -> dict[str, Any]:
    return {"redis_config": [{"param_id": "1", "param_name": "timeout", "param_value": "5"} | changed]}


def waiting(tenant: Tenant, instance_id: str) -> list[Task]:
    with tenant.site.database.read() as connection:
        return tasks.unfinished_of(connection, instance_id)


def test_a_node_that_differs_is_named() -> None:
    instance = an_instance(parameters={"timeout": "300"})
    recorded = values(instance.parameters)
    shown = configurations(instance, {"one": recorded, "two": recorded | {"timeout": "5", "tcp-backlog": "128"}}, None)
    assert [(one.node_id, one.param_name, one.param_value) for one in shown.deviations] == [
        ("two", "timeout", "5"),
        ("two", "tcp-backlog", "128"),
    ]
    present = {item.param_name: item for item in shown.redis_config}
    assert present["timeout"].param_value == "5"
    assert {item.param_name for item in shown.redis_config if item.need_restart} == {"tcp-backlog"}


@pytest.mark.parametrize("path", ["configs", "async-configs"])
def test_a_change_is_a_background_task(tenant: Tenant, path: str) -> None:
    here = tenant.instance()
    answer = tenant.call("PUT", f"instances/{here}/{path}", changing(timeout="300", maxmemory_policy="allkeys-lru"))
    (task,) = waiting(tenant, here)
    assert (task.kind, task.name, task.status) == ("configure", "UpdateInstanceConfig", "WAITING")
    if path == "configs":
        assert (answer.status, answer.body) == (204, b"")
    else:
        assert (answer.status, answer.json) == (200, {"job_id": task.id})
    assert task.details == {"updated_config_length": 2}
    assert task.params["redis_config"] == [
        {"param_id": "1", "param_name": "timeout", "old_value": "0", "new_value": "300"},
        {
            "param_id": "2",
            "param_name": "maxmemory-policy",
            "old_value": "noeviction",
            "new_value": "allkeys-lru",
        },
    ]
    assert tenant.stored(here).status == "RUNNING"
    assert tenant.stored(here).parameters == {}, "the record changes when all nodes have"


@pytest.mark.parametrize("path", ["configs", "async-configs"])
@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        (b"", "DCS.4004", ""),
        (b"{", "DCS.4005", ""),
        ({}, "DCS.4066", "redis_config"),
        ({"redis_config": []}, "DCS.4066", "redis_config"),
        ({"redis_config": "timeout"}, "DCS.4066", "redis_config"),
        ({"redis_config": [{}]}, "DCS.4066", "param_id"),
        (item(param_value=5), "DCS.4066", "param_value"),
        (item(param_value=None), "DCS.4066", "param_value"),
        (item(param_value="5" * 300), "DCS.4066", "param_value"),
        (item(param_value="-1"), "DCS.4066", "timeout"),
        (item(param_value="7201"), "DCS.4066", "from 0 to 7200"),
        (item(param_value="5\nrequirepass x"), "DCS.4066", "timeout"),
        (item(param_id="2"), "DCS.4066", "param_id is 1"),
        (item(param_id="999"), "DCS.4066", "param_id is 1"),
        (item(param_name="requirepass"), "DCS.4066", "there is no such parameter"),
        (item(param_name="bind", param_id="0"), "DCS.4066", "there is no such parameter"),
        (item(param_name="TIMEOUT"), "DCS.4066", "there is no such parameter"),
        (item(param_name="maxclients", param_id="11", param_value="10"), "DCS.4066", "from 1000 to 50000"),
        (item(param_name="appendonly", param_id="17", param_value="no"), "DCS.4066", "one of yes"),
        (item(param_name="notify-keyspace-events", param_id="13", param_value="KEm"), "DCS.4066", "matches"),
        ({"redis_config": item()["redis_config"] * 2}, "DCS.4066", "twice"),
        ({"redis_config": item()["redis_config"] * 200}, "DCS.4066", "redis_config"),
    ],
)
def test_what_is_wrong_is_refused(tenant: Tenant, path: str, body: Any, code: str, said: str) -> None:
    here = tenant.instance()
    answer = tenant.call("PUT", f"instances/{here}/{path}", body)
    assert answer.refusal == (400, code)
    assert said in answer.json["error_msg"]
    assert waiting(tenant, here) == []


def test_every_parameter_that_is_listed_can_be_changed(tenant: Tenant) -> None:
    here = tenant.instance()
    body = changing(**{parameter.name: parameter.default for parameter in PARAMETERS})
    assert tenant.call("PUT", f"instances/{here}/configs", body).status == 204
    assert len(waiting(tenant, here)[0].params["redis_config"]) == len(PARAMETERS)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("CREATING", "DCS.4118"),
        ("EXTENDING", "DCS.4113"),
        ("RESTARTING", "DCS.4111"),
        ("DELETING", "DCS.4026"),
        ("ERROR", "DCS.4049"),
        ("CREATEFAILED", "DCS.4049"),
    ],
)
def test_an_instance_that_is_busy_is_not_changed(tenant: Tenant, status: str, code: str) -> None:
    here = tenant.instance()
    with tenant.site.database.write() as connection:
        instances.change(connection, here, status=status)
    assert tenant.call("PUT", f"instances/{here}/configs", changing(timeout="5")).refusal == (400, code)


def test_an_instance_that_is_being_changed_takes_no_other_task(tenant: Tenant) -> None:
    here = tenant.instance()
    assert tenant.call("PUT", f"instances/{here}/configs", changing(timeout="5")).status == 204
    assert tenant.call("GET", f"instances/{here}").json["task"] == "UpdateInstanceConfig"
    busy = (400, "DCS.4114")
    assert tenant.call("PUT", f"instances/{here}/async-configs", changing(timeout="6")).refusal == busy
    larger = {"spec_code": "redis.cluster.xu1.large.r1.s1.4", "new_capacity": 4}
    assert tenant.call("POST", f"instances/{here}/resize", larger).refusal == busy
    restarted = tenant.call("PUT", "instances/status", {"action": "restart", "instances": [here]})
    assert restarted.json["results"][0]["result"] == "failed"
    assert tenant.call("DELETE", f"instances/{here}").status == 204


def test_a_change_is_neither_paused_nor_cancelled(tenant: Tenant) -> None:
    here = tenant.instance()
    tenant.call("PUT", f"instances/{here}/configs", changing(timeout="5"))
    path = f"instances/{here}/tasks/{waiting(tenant, here)[0].id}"
    assert tenant.call("POST", f"{path}/cancel").refusal == (400, "DCS.4957")
    assert tenant.call("PUT", f"{path}/control", {"state": "paused"}).refusal == (400, "DCS.4957")


def test_who_may(tenant: Tenant, new_tenant: Callable[[], Tenant]) -> None:
    here = tenant.instance()
    body = changing(timeout="5")
    assert tenant.colleague("viewer").call("PUT", f"instances/{here}/configs", body).refusal == (403, "DCS.2007")
    assert tenant.colleague("viewer").call("GET", f"instances/{here}/config-histories").status == 200
    stranger = new_tenant()
    for method, path in (
        ("PUT", "configs"),
        ("PUT", "async-configs"),
        ("GET", "config-histories"),
        ("GET", f"config-histories/{'0' * 32}"),
    ):
        assert stranger.call(method, f"instances/{here}/{path}", body if method == "PUT" else b"").refusal == (
            404,
            "DCS.3022",
        )
    assert waiting(tenant, here) == []
    assert tenant.colleague("operator").call("PUT", f"instances/{here}/configs", body).status == 204
    (entry,) = [one for one in tenant.call("GET", "audit").json["entries"] if one["status"] == 204]
    assert entry["action"] == "dcs:instance:modifyConfigureation"


def test_the_history_is_that_of_the_tasks(tenant: Tenant) -> None:
    here = tenant.instance()
    change = {"redis_config": [{"param_id": "1", "param_name": "timeout", "old_value": "0", "new_value": "5"}]}
    known = {"kind": "configure", "name": "UpdateInstanceConfig", "params": change}
    done = tenant.add_task(here, **known, status="SUCCESS", created_at=1_000)
    failed = tenant.add_task(
        here, **known, status="FAILED", created_at=2_000, error_code="DCS.4066", message="node x refuses: no"
    )
    runs = tenant.add_task(here, **known, status="EXECUTING", created_at=3_000)
    other = tenant.add_task(here, created_at=4_000)
    listed = tenant.call("GET", f"instances/{here}/config-histories").json
    assert listed["history_num"] == 3
    assert [(one["history_id"], one["type"], one["status"]) for one in listed["histories"]] == [
        (runs.id, "config_param", "EXECUTING"),
        (failed.id, "config_param", "FAILURE"),
        (done.id, "config_param", "SUCCESS"),
    ]
    page = tenant.call("GET", f"instances/{here}/config-histories", query="offset=1&limit=1").json
    assert (page["history_num"], [one["history_id"] for one in page["histories"]]) == (3, [failed.id])
    assert tenant.call("GET", f"instances/{here}/config-histories", query="limit=0").refusal == (400, "DCS.4062")
    detail = tenant.call("GET", f"instances/{here}/config-histories/{failed.id}").json
    assert detail == {
        **listed["histories"][1],
        "user_name": tenant.user_name,
        "error_code": "DCS.4066",
        "message": "node x refuses: no",
        **change,
    }
    for unknown, refusal in (
        (other.id, (404, "DCS.4958")),
        ("0" * 32, (404, "DCS.4958")),
        ("x", (400, "DCS.4070")),
    ):
        assert tenant.call("GET", f"instances/{here}/config-histories/{unknown}").refusal == refusal
    elsewhere = tenant.instance(name="elsewhere")
    assert tenant.call("GET", f"instances/{elsewhere}/config-histories/{done.id}").refusal == (404, "DCS.4958")


@pytest.fixture(scope="module")
def instance_id(client: Any) -> Iterator[str]:
    """One shard."""
    made = created(client, 1, name="changed")
    yield made
    client.delete_single_instance(DeleteSingleInstanceRequest(instance_id=made))


def shown(client: Any, instance_id: str) -> dict[str, str]:
    answer = client.list_configurations(ListConfigurationsRequest(instance_id=instance_id))
    return {one.param_name: one.param_value for one in answer.redis_config}


def test_the_clouds_client_changes_parameters(client: Any, instance_id: str, server: Server) -> None:
    body = ModifyRedisConfigBody(
        redis_config=[RedisConfig(param_id="2", param_name="maxmemory-policy", param_value="allkeys-lru")]
    )
    client.update_configurations(UpdateConfigurationsRequest(instance_id=instance_id, body=body))

    def ended() -> Any:
        answer = client.list_configurations(ListConfigurationsRequest(instance_id=instance_id))
        assert answer.config_status in {"UPDATING", "SUCCESS"}
        return answer if answer.config_status == "SUCCESS" else None

    until(ended, "the change has not ended")
    assert shown(client, instance_id)["maxmemory-policy"] == "allkeys-lru"

    body = ModifyRedisConfigBody(
        redis_config=[
            RedisConfig(param_id="13", param_name="notify-keyspace-events", param_value="KEA"),
            RedisConfig(param_id="11", param_name="maxclients", param_value="2000"),
        ]
    )
    job = client.update_instance_config(UpdateInstanceConfigRequest(instance_id=instance_id, body=body)).job_id
    info = until(
        lambda: (told := client.show_job_info(ShowJobInfoRequest(job_id=job))).status == "SUCCESS" and told,
        "the job has not ended",
    )
    assert info.job_type == "UpdateInstanceConfig"
    now = shown(client, instance_id)
    assert (now["notify-keyspace-events"], now["maxclients"], now["maxmemory-policy"]) == ("KEA", "2000", "allkeys-lru")

    listed = client.list_config_histories(ListConfigHistoriesRequest(instance_id=instance_id))
    assert listed.history_num == 2
    assert listed.histories[0].history_id == job
    assert {(one.type, one.status) for one in listed.histories} == {("config_param", "SUCCESS")}
    detail = client.show_config_history_detail(ShowConfigHistoryDetailRequest(instance_id=instance_id, history_id=job))
    assert detail is not None
    raw = Terraform(server.credentials)
    assert faults(raw.get(f"instances/{instance_id}/config-histories"), "ListConfigHistoriesResponse") == []
    assert [
        (one["param_name"], one["old_value"], one["new_value"])
        for one in raw.get(f"instances/{instance_id}/config-histories/{job}")["redis_config"]
    ] == [("notify-keyspace-events", "", "KEA"), ("maxclients", "10000", "2000")]


def test_terraform_changes_parameters_and_finds_them_as_it_wrote_them(instance_id: str, server: Server) -> None:
    """It needs a job also where the value is the one that the instance has."""
    terraform = Terraform(server.credentials)
    for value in ("20000", "20000"):
        body = changing(slowlog_log_slower_than=value)
        status, answer = terraform.call("PUT", f"instances/{instance_id}/async-configs", body)
        assert status == 200
        job = answer["job_id"]
        until(lambda job=job: terraform.get(f"jobs/{job}")["status"] == "SUCCESS", "the job has not ended")
        configs = {one["param_id"]: one for one in terraform.get(f"instances/{instance_id}/configs")["redis_config"]}
        assert (configs["18"]["param_value"], configs["18"]["need_restart"]) == (value, False)
    terraform.read(instance_id)
