"""What terraform's provider calls for an instance and for its data sources of tasks, in its order, on a real server."""

from typing import Any

import pytest
from terraform import FLAVOR, INSTANCE, TASK, Terraform, require

from sdk_calls import PASSWORD
from serving import Server, until

CLUSTER = ("redis.cluster.xu1.large.r1.s1.1", "redis.cluster.xu1.large.r1.s1.2")
SINGLE = ("redis.single.xu1.large.1", "redis.single.xu1.large.2")
HA = ("redis.ha.xu1.large.r2.1", "redis.ha.xu1.large.r2.2")
CREATE = {
    "name": "from-terraform",
    "engine": "Redis",
    "engine_version": "6.0",
    "capacity": 1,
    "az_codes": ["local"],
    "vpc_id": "vpc",
    "subnet_id": "subnet",
    "password": PASSWORD,
    "description": "",
    "no_password_access": False,
    "instance_num": 1,
    "tags": [{"key": "team", "value": "a"}],
    "bss_param": {"charging_mode": "postPaid", "is_auto_pay": "true"},
}
UPDATE = {
    "name": "renamed",
    "description": "by terraform",
    "maintain_begin": "22:00:00",
    "maintain_end": "02:00:00",
    "security_group_id": "group",
}
VOLATILE = {"used_memory", "update_at"}


@pytest.fixture(scope="module")
def terraform(server: Server) -> Terraform:
    """Set up as with access key and secret key."""
    set_up = Terraform(server.credentials)
    (project,) = set_up.get(f"/v3/projects?name={server.credentials['project_name']}")["projects"]
    assert project["id"] == server.credentials["project_id"]
    (domain,) = set_up.get("/v3/auth/domains")["domains"]
    require(domain, {"id": (str,), "name": (str,)})
    return set_up


def test_a_version_is_required_because_its_absence_would_plan_a_replacement(terraform: Terraform) -> None:
    without = {name: value for name, value in CREATE.items() if name != "engine_version"}
    status, refusal = terraform.call("POST", "instances", {**without, "spec_code": CLUSTER[0]})
    assert (status, refusal["error_code"]) == (400, "DCS.4008")
    assert "engine_version" in refusal["error_msg"]


@pytest.mark.parametrize(("small", "large", "shards"), [(*CLUSTER, 2), (*SINGLE, 1), (*HA, 1)])
def test_an_instance_is_made_read_changed_resized_and_destroyed(
    terraform: Terraform, small: str, large: str, shards: int
) -> None:
    template_id = made_template(terraform, small.split(".")[1])
    status, made = terraform.call("POST", "instances", {**CREATE, "spec_code": small, "template_id": template_id})
    assert status == 200
    instance_id = made["instances"][0]["instance_id"]
    until(lambda: terraform.ready(instance_id), "the instance is not ready")

    assert parameters(terraform, instance_id)["maxmemory-policy"] == "allkeys-lru"
    state = terraform.read(instance_id)
    assert (state["capacity"], state["capacity_minor"], state["spec_code"]) == (1, "", small)
    assert (state["charging_mode"], state["security_group_id"]) == (0, None)
    assert state["tags"] == CREATE["tags"]
    again = terraform.read(instance_id)
    assert {name: state[name] for name in INSTANCE if name not in VOLATILE} == {
        name: again[name] for name in INSTANCE if name not in VOLATILE
    }

    require_blocks_after_creation_are_applied(terraform, instance_id)
    assert terraform.call("PUT", f"instances/{instance_id}", UPDATE) == (204, None)
    state = terraform.read(instance_id)
    assert {name: state[name] for name in UPDATE} == UPDATE

    for spec_code in (small, large):
        (flavor,) = terraform.get(f"flavors?spec_code={spec_code}")["flavors"]
        require(flavor, FLAVOR)
        assert flavor["spec_code"] == spec_code
        assert flavor["flavors_available_zones"][0]["az_codes"]
    resize = {"change_type": "", "new_capacity": 2, "spec_code": large}
    status, _ = terraform.call("POST", f"instances/{instance_id}/resize", resize)
    assert status == 204
    status, busy = terraform.call("POST", f"instances/{instance_id}/resize", resize)
    assert (status, busy["error_code"]) in {(400, "DCS.4113"), (400, "DCS.4103")}  # or it has ended already
    until(lambda: terraform.ready(instance_id), "the instance is not ready again")
    state = terraform.read(instance_id)
    assert (state["capacity"], state["spec_code"], state["sharding_count"]) == (2, large, shards)

    require_tasks_are_read(terraform, instance_id)

    assert terraform.call("DELETE", f"instances/{instance_id}") == (204, None)
    until(lambda: terraform.call("GET", f"instances/{instance_id}")[0] == 404, "the instance is not gone")
    status, gone = terraform.call("GET", f"instances/{instance_id}")
    assert (status, gone["error_code"]) == (404, "DCS.3022")

    require_tasks_outlive_their_instance(terraform, instance_id)


def made_template(terraform: Terraform, cache_mode: str) -> str:
    """A custom template, created, read and changed as its resource does it."""
    query = f"type=sys&engine=Redis&engine_version=6.0&cache_mode={cache_mode}"
    (source,) = terraform.get(f"config-templates?{query}")["templates"]
    body = {
        "template_id": source["template_id"],
        "type": source["type"],
        "name": f"for-{cache_mode}",
        "description": "",
        "params": {"maxmemory-policy": "allkeys-lfu"},
    }
    status, made = terraform.call("POST", "config-templates", body)
    assert status == 200
    change = {"name": f"for-{cache_mode}", "params": {"maxmemory-policy": "allkeys-lru"}}
    assert terraform.call("PUT", f"config-templates/{made['id']}", change)[0] == 200
    shown = terraform.get(f"config-templates/{made['id']}?type=user")
    require(shown, dict.fromkeys(("name", "type", "engine", "engine_version", "cache_mode", "created_at"), (str,)))
    for item in shown["params"]:
        require(item, {"param_id": (str,), "param_name": (str,), "param_value": (str,), "need_restart": (bool,)})
    return str(made["id"])


def parameters(terraform: Terraform, instance_id: str) -> dict[str, str]:
    configured = terraform.get(f"instances/{instance_id}/configs")["redis_config"]
    return {item["param_name"]: item["param_value"] for item in configured}


def require_blocks_after_creation_are_applied(terraform: Terraform, instance_id: str) -> None:
    """What a configuration may hold that the creation has no field for. A refusal would leave the instance tainted."""
    parameter = {"param_id": "1", "param_name": "timeout", "param_value": "100"}
    for path, body in (
        (f"instances/{instance_id}/async-configs", {"redis_config": [parameter]}),
        (f"{instance_id}/client-ip-transparent-transmission", {"transparent_client_ip_enable": False}),
        (f"instances/{instance_id}/ssl", {"enabled": False}),
    ):
        status, answer = terraform.call("PUT", path, body)
        assert status == 200, answer
        job = f"jobs/{answer['job_id']}"
        until(lambda job=job: terraform.get(job)["status"] == "SUCCESS", f"{path} has not succeeded")
    policy = {"window_size": 5, "bandwidth_usage_upper_threshold": 80, "scale_out_cooldown": 0}
    place = f"instances/{instance_id}/autoscaling-policy/bandwidth"
    assert terraform.call("PUT", place, policy)[0] == 200
    shown = terraform.get(place)
    assert {name: shown[name] for name in policy} == policy
    assert terraform.call("DELETE", place) == (204, None)


def test_accounts_password_and_whitelist_are_managed(terraform: Terraform) -> None:
    status, made = terraform.call(
        "POST", "instances", {**CREATE, "spec_code": SINGLE[0], "rename_commands": {"keys": ""}}
    )
    assert status == 200
    instance_id = made["instances"][0]["instance_id"]
    until(lambda: terraform.ready(instance_id), "the instance is not ready")
    path = f"instances/{instance_id}/accounts"
    account = {"account_name": "reports", "account_role": "read", "account_password": PASSWORD, "description": "x"}
    assert terraform.call("POST", path, account) == (200, {})

    def state() -> Any:
        return next((one for one in terraform.get(path)["accounts"] if one["account_name"] == "reports"), None)

    def available() -> bool:
        assert state()["status"] in {"CREATING", "UPDATING", "AVAILABLE"}
        return bool(state()["status"] == "AVAILABLE")

    until(available, "the account is not available")
    of_account = f"{path}/{state()['account_id']}"
    assert terraform.call("PUT", f"{of_account}/password/reset", {"new_password": "New-password-2"})[0] == 200
    until(available, "the password is not changed")
    assert terraform.call("PUT", f"{of_account}/role", {"account_role": "write"})[0] == 200
    until(available, "the role is not changed")
    assert terraform.call("PUT", of_account, {"description": ""}) == (204, None)
    shown = state()
    assert (shown["account_type"], shown["account_role"], shown["description"]) == ("normal", "write", "")
    assert terraform.call("DELETE", of_account)[0] == 200

    def deleted() -> bool:
        newest = next(
            task for task in terraform.get(f"instances/{instance_id}/tasks")["tasks"] if task["name"] == "DeleteAcl"
        )
        assert newest["status"] in {"WAITING", "EXECUTING", "SUCCESS"}
        return bool(newest["status"] == "SUCCESS")

    until(deleted, "the account is not deleted")
    assert state() is None

    reset = {"new_password": "New-password-3", "no_password_access": False}
    status, answer = terraform.call("POST", f"instances/{instance_id}/password/reset", reset)
    assert (status, answer["code"]) == (200, "1")
    until(lambda: terraform.ready(instance_id), "the password is not changed")
    older = {"old_password": "New-password-3", "new_password": PASSWORD}
    assert terraform.call("PUT", f"instances/{instance_id}/password", older)[1]["result"] == "success"
    until(lambda: terraform.ready(instance_id), "the password is not changed")
    off = {"enable_whitelist": False, "whitelist": [{"group_name": "shop", "ip_list": ["10.0.0.0/24"]}]}
    assert terraform.call("PUT", f"instance/{instance_id}/whitelist", off) == (204, None)
    assert terraform.get(f"instance/{instance_id}/whitelist") == {"instance_id": instance_id, **off}
    assert terraform.get(f"instances/{instance_id}/rename-commands") == {"rename_commands": ["keys"]}
    terraform.read(instance_id)
    assert terraform.call("DELETE", f"instances/{instance_id}") == (204, None)


def require_tasks_are_read(terraform: Terraform, instance_id: str) -> None:
    """The data sources of background tasks, of one task's detail and of the task centre."""
    listed = list(terraform.background_tasks(instance_id))
    assert [task["name"] for task in listed] == [
        "EXTEND",
        "UpdateSslSwitch",
        "modifyClientIpTransJob",
        "UpdateInstanceConfig",
        "CreateInstance",
    ]
    centre = list(terraform.center_tasks())
    for task in (*listed, *centre):
        require(task, TASK)
    assert [task for task in centre if task["id"] in {row["id"] for row in listed}] == listed
    shown = terraform.get(f"instances/{instance_id}/tasks/{listed[0]['id']}/progress")
    require(shown, {"progress": (int,), "remain_time": (int,), "step_details": (list,)})
    assert (shown["progress"], shown["remain_time"]) == (100, 0)
    for step in shown["step_details"]:
        require(step, {"step_id": (str,), "step_name": (str,), "step_status": (str,), "sub_step_details": (list,)})
        for sub_step in step["sub_step_details"]:
            require(sub_step, {"sub_step_id": (str,), "sub_step_name": (str,), "detail": (str,)})


def require_tasks_outlive_their_instance(terraform: Terraform, instance_id: str) -> None:
    """The task centre shows them, the instance's own list is gone; there each can be forgotten."""
    status, gone = terraform.call("GET", f"instances/{instance_id}/tasks")
    assert (status, gone["error_code"]) == (404, "DCS.3022")
    left = until(lambda: newest_ended(terraform), "the deletion has not ended")
    assert [task["name"] for task in left[:2]] == ["DeleteInstance", "EXTEND"]
    for task in left[:6]:
        status, _ = terraform.call("DELETE", f"tasks/{task['id']}")
        assert status == 200
    assert not {task["id"] for task in left[:6]} & {task["id"] for task in terraform.center_tasks()}


def newest_ended(terraform: Terraform) -> list[dict[str, object]] | None:
    tasks = [dict(task) for task in terraform.center_tasks()]
    return tasks if tasks[0]["status"] == "SUCCESS" else None
