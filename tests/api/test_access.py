"""Passwords, accounts and disabled commands over HTTP: responses, rejections, and what is stored."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
import sqlalchemy as sa
from tenants import PASSWORD, Tenant

from cachewright.model.tasks import Task
from cachewright.operations import OPERATIONS
from cachewright.store import instances, tasks
from cachewright.store.tables import password_attempts

NEW = "New-password-2"
ACCOUNT = {
    "account_name": "reports",
    "account_role": "read",
    "account_password": "Reports-password-1",
    "description": "of the shop",
}
SOMETHING = "00000000-0000-4000-8000-000000000001"
UNLOCKED = {"lock_time": None, "lock_time_left": None, "retry_times_left": None}


def waiting(tenant: Tenant, instance_id: str) -> list[Task]:
    with tenant.site.database.read() as connection:
        return tasks.unfinished_of(connection, instance_id)


def succeed(tenant: Tenant, instance_id: str) -> None:
    """End the tasks of the instance as the engine does."""
    with tenant.site.database.write() as connection:
        for task in tasks.unfinished_of(connection, instance_id):
            operation = OPERATIONS[task.kind]
            operation.succeeded(None, connection, task)  # type: ignore[arg-type]  # these operations do not use it
            tasks.remove(connection, task)


def with_account(tenant: Tenant) -> tuple[str, str]:
    """Ids of an instance and of its account."""
    here = tenant.instance()
    assert tenant.call("POST", f"instances/{here}/accounts", ACCOUNT).status == 200
    succeed(tenant, here)
    return here, tenant.stored(here).accounts[0].id


def listed(tenant: Tenant, instance_id: str) -> dict[str, Any]:
    found = tenant.call("GET", f"instances/{instance_id}/accounts").json["accounts"]
    return {account["account_name"]: account for account in found}


def test_a_password_is_changed_by_a_task_that_does_not_contain_it(tenant: Tenant) -> None:
    here = tenant.instance()
    answer = tenant.call("PUT", f"instances/{here}/password", {"old_password": PASSWORD, "new_password": NEW})
    (task,) = waiting(tenant, here)
    assert (task.kind, task.name, task.params["account_id"], task.details) == ("password", "modify", None, {})
    message = f"The password is changed by task {task.id}."
    assert (answer.status, answer.json) == (200, {"result": "success", "message": message, **UNLOCKED})
    assert tenant.stored(here).password == PASSWORD, "the record changes when all nodes have"
    assert tenant.call("POST", f"instances/{here}/password/reset", {"new_password": NEW}).code == "DCS.4115"
    succeed(tenant, here)
    assert (tenant.stored(here).password, tenant.stored(here).pending_password) == (NEW, None)

    answer = tenant.call("POST", f"instances/{here}/password/reset", {"no_password_access": True})
    success = {"code": "1", "message": "success", "ext_message": None, **UNLOCKED}
    assert (answer.status, answer.json) == (200, success)
    succeed(tenant, here)
    assert tenant.call("GET", f"instances/{here}").json["no_password_access"] == "true"
    answer = tenant.call("PUT", f"instances/{here}/password", {"old_password": NEW, "new_password": PASSWORD})
    assert answer.code == "DCS.4850"
    answer = tenant.call("POST", f"instances/{here}/password/reset", {"new_password": NEW, "no_password_access": False})
    assert answer.json == success
    succeed(tenant, here)
    assert tenant.call("GET", f"instances/{here}").json["no_password_access"] == "false"

    with tenant.site.database.read() as connection:
        rows = [dict(row) for row in connection.execute(sa.text("SELECT * FROM instances")).mappings()]
    assert NEW not in json.dumps(rows, default=str)


def test_five_wrong_passwords_lock_changes_for_five_minutes(tenant: Tenant) -> None:
    here, account_id = with_account(tenant)
    password = {"path": f"instances/{here}/password", "right": PASSWORD, "owner": here}
    of_account = {
        "path": f"instances/{here}/accounts/{account_id}/password/modify",
        "right": ACCOUNT["account_password"],
        "owner": account_id,
    }
    for one in (password, of_account):
        wrong = {"old_password": "Wrong-password-9", "new_password": NEW}
        assert tenant.call("PUT", one["path"], wrong).json["retry_times_left"] == "4"
        right = {"old_password": one["right"], "new_password": NEW}
        assert tenant.call("PUT", one["path"], right).json["result"] == "success"
        succeed(tenant, here)
        left = [tenant.call("PUT", one["path"], wrong).json for _ in range(5)]
        assert [answer["retry_times_left"] for answer in left] == ["4", "3", "2", "1", "0"], "counted anew"
        assert {(answer["result"], answer["lock_time"]) for answer in left} == {("passwordFailed", "5")}
        locked = tenant.call("PUT", one["path"], {"old_password": NEW, "new_password": PASSWORD}).json
        assert (locked["result"], locked["lock_time"], locked["lock_time_left"]) == ("locked", "5", "5")
    refused = tenant.call("POST", f"instances/{here}/password/reset", {"new_password": PASSWORD}).json
    assert (refused["code"], refused["message"], refused["lock_time_left"]) == ("3", "instance is locked", "5")
    reset = f"instances/{here}/accounts/{account_id}/password/reset"
    assert tenant.call("PUT", reset, {"new_password": PASSWORD}).json["code"] == "3"
    assert waiting(tenant, here) == []

    with tenant.site.database.write() as connection:
        connection.execute(password_attempts.update().values(locked_until=1))
    assert tenant.call("PUT", password["path"], wrong).json["retry_times_left"] == "4"
    with tenant.site.database.write() as connection:
        instances.remove(connection, here)
        left = connection.execute(sa.select(password_attempts.c.owner)).scalars().all()
    assert not {here, account_id} & set(left)


def test_accounts_live_through_their_tasks(tenant: Tenant) -> None:
    here = tenant.instance()
    default = {
        "account_id": here,
        "account_name": "default",
        "account_type": "default",
        "instance_id": here,
        "status": "AVAILABLE",
        "account_role": "write",
        "description": "",
        "error_code": None,
    }
    assert listed(tenant, here) == {"default": default}
    answer = tenant.call("POST", f"instances/{here}/accounts", ACCOUNT)
    assert (answer.status, answer.json) == (200, {})
    (task,) = waiting(tenant, here)
    assert (task.name, task.details) == ("CreateAcl", {"account_name": "reports"})
    account = listed(tenant, here)["reports"]
    account_id = account["account_id"]
    assert account == default | {
        "account_id": account_id,
        "account_name": "reports",
        "account_type": "normal",
        "status": "CREATING",
        "account_role": "read",
        "description": "of the shop",
    }
    path = f"instances/{here}/accounts/{account_id}"
    assert tenant.call("DELETE", path).code == "DCS.4026"
    assert tenant.call("PUT", path, {"description": "x"}).code == "DCS.4026"
    second = tenant.call("POST", f"instances/{here}/accounts", ACCOUNT | {"account_name": "second"})
    assert second.status == 200, "accounts are created one after another"
    succeed(tenant, here)
    assert {one["status"] for one in listed(tenant, here).values()} == {"AVAILABLE"}

    answer = tenant.call("PUT", f"{path}/role", {"account_role": "write"})
    (task,) = waiting(tenant, here)
    assert (answer.status, answer.json) == (200, {"instance_id": here, "job_id": task.id})
    account = listed(tenant, here)["reports"]
    assert (account["status"], account["account_role"]) == ("UPDATING", "read")
    succeed(tenant, here)
    answer = tenant.call("PUT", f"{path}/password/reset", {"new_password": NEW})
    assert (answer.status, answer.json["code"]) == (200, "1")
    succeed(tenant, here)
    modified = {"old_password": NEW, "new_password": "Third-password-3"}
    assert tenant.call("PUT", f"{path}/password/modify", modified).json["result"] == "success"
    succeed(tenant, here)
    answer = tenant.call("PUT", path, {"description": "of the other shop"})
    assert (answer.status, answer.body) == (204, b"")
    account = listed(tenant, here)["reports"]
    assert (account["account_role"], account["description"]) == ("write", "of the other shop")

    assert tenant.call("DELETE", path).json == {}
    (task,) = waiting(tenant, here)
    assert (task.name, task.details, listed(tenant, here)["reports"]["status"]) == (
        "DeleteAcl",
        {"account_name": "reports"},
        "DELETING",
    )
    succeed(tenant, here)
    assert set(listed(tenant, here)) == {"default", "second"}


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("accounts", {}, "DCS.4062"),
        ("accounts", ACCOUNT | {"account_name": "default"}, "DCS.4062"),
        ("accounts", ACCOUNT | {"account_name": "cachewright"}, "DCS.4062"),
        ("accounts", ACCOUNT | {"account_name": "1st"}, "DCS.4062"),
        ("accounts", ACCOUNT | {"account_name": "a" * 65}, "DCS.4062"),
        ("accounts", ACCOUNT | {"account_name": "a b on ~*"}, "DCS.4062"),
        ("accounts", ACCOUNT | {"account_name": "a\nuser b on nopass"}, "DCS.4062"),
        ("accounts", ACCOUNT | {"account_role": "admin"}, "DCS.4062"),
        ("accounts", ACCOUNT | {"account_password": "weak"}, "DCS.4019"),
        ("accounts", ACCOUNT | {"account_password": "Colons:are-1-not"}, "DCS.4019"),
        ("accounts", ACCOUNT | {"account_name": "Reports-1", "account_password": "Reports-1"}, "DCS.4019"),
        ("accounts", ACCOUNT | {"account_name": "Reports-1", "account_password": "1-stropeR"}, "DCS.4019"),
        ("accounts", ACCOUNT | {"account_password": "Aa1" * 22}, "DCS.4019"),
        ("accounts", ACCOUNT | {"description": "x" * 1025}, "DCS.4011"),
        ("accounts", ACCOUNT | {"description": "\x1b[31m"}, "DCS.4011"),
        ("password/reset", {}, "DCS.4845"),
        ("password/reset", {"no_password_access": False}, "DCS.4845"),
        ("password/reset", {"no_password_access": "maybe"}, "DCS.4843"),
        ("password/reset", {"no_password_access": True, "new_password": NEW}, "DCS.4849"),
        ("password/reset", {"new_password": "weak"}, "DCS.4019"),
        ("password/reset", {"new_password": "with a space A1"}, "DCS.4019"),
        ("password", {"old_password": PASSWORD}, "DCS.4845"),
        ("password", {"old_password": PASSWORD, "new_password": PASSWORD}, "DCS.4845"),
        ("password", {"old_password": PASSWORD, "new_password": "weakweakweak"}, "DCS.4019"),
        ("", {"rename_commands": {"keys": "abc123"}}, "DCS.4062"),
        ("", {"rename_commands": {"config": ""}}, "DCS.4062"),
        ("", {"rename_commands": {"keys": 1}}, "DCS.4062"),
        ("", {"rename_commands": {"keys": ""}, "port": 1}, "DCS.4062"),
    ],
)
def test_a_request_that_is_refused_changes_nothing(
    tenant: Tenant, path: str, body: Mapping[str, Any], code: str
) -> None:
    here = tenant.instance()
    before = tenant.stored(here)
    method = {"accounts": "POST", "password/reset": "POST"}.get(path, "PUT")
    answer = tenant.call(method, f"instances/{here}/{path}".rstrip("/"), body)
    assert (answer.status, answer.code) == (400, code), answer.body
    assert waiting(tenant, here) == []
    assert tenant.stored(here) == before


def test_commands_are_disabled_at_the_creation_and_later(tenant: Tenant) -> None:
    bad = tenant.call("POST", "instances", tenant.create_body(rename_commands={"keys": "abc123"}))
    assert bad.code == "DCS.4062"
    assert tenant.call("GET", "instances").json["instance_num"] == 0
    here = tenant.instance(rename_commands={"keys": "", "scan": "scan", "flushall": ""})
    path = f"instances/{here}/rename-commands"
    assert tenant.call("GET", path).json == {"rename_commands": ["flushall", "keys"]}
    body = {"rename_commands": {"hgetall": ""}, "name": "renamed"}
    assert tenant.call("PUT", f"instances/{here}", body).status == 204
    (task,) = waiting(tenant, here)
    assert (task.name, task.details) == ("RenameCommands", {"rename_commands": ["hgetall"]})
    assert tenant.stored(here).name == "renamed"
    assert tenant.call("PUT", f"instances/{here}", {"rename_commands": {"keys": ""}}).code == "DCS.4114"
    succeed(tenant, here)
    assert tenant.call("GET", path).json == {"rename_commands": ["hgetall"]}, "others can be used again"
    assert tenant.call("PUT", f"instances/{here}", {"rename_commands": {}}).status == 204
    assert tenant.call("PUT", f"instances/{here}", {"rename_commands": {"keys": "keys"}}).status == 204
    succeed(tenant, here)
    assert tenant.call("GET", path).json == {"rename_commands": []}


def test_other_projects_see_and_change_nothing(tenant: Tenant, new_tenant: Any) -> None:
    here, account_id = with_account(tenant)
    own = new_tenant()
    there, _ = with_account(own)
    before = tenant.stored(here)
    calls = {
        ("GET", "accounts"): b"",
        ("GET", "rename-commands"): b"",
        ("POST", "accounts"): ACCOUNT,
        ("PUT", "password"): {"old_password": PASSWORD, "new_password": NEW},
        ("POST", "password/reset"): {"new_password": NEW},
        ("DELETE", f"accounts/{account_id}"): b"",
        ("PUT", f"accounts/{account_id}"): {"description": "x"},
        ("PUT", f"accounts/{account_id}/role"): {"account_role": "write"},
        ("PUT", f"accounts/{account_id}/password/reset"): {"new_password": NEW},
        ("PUT", f"accounts/{account_id}/password/modify"): {
            "old_password": ACCOUNT["account_password"],
            "new_password": NEW,
        },
    }
    for (method, path), body in calls.items():
        answer = own.call(method, f"instances/{here}/{path}", body)
        assert (answer.status, answer.code) == (404, "DCS.3022")
        if account_id in path:
            foreign = own.call(method, f"instances/{there}/{path}", body)
            assert (foreign.status, foreign.code) == (404, "DCS.4980")
    assert tenant.stored(here) == before
    assert tenant.call("DELETE", f"instances/{here}/accounts/{here}").code == "DCS.4980", "the default account stays"


def test_the_nineteenth_account_is_refused(tenant: Tenant) -> None:
    here = tenant.instance()
    answers = [
        tenant.call("POST", f"instances/{here}/accounts", ACCOUNT | {"account_name": f"n{number}"})
        for number in range(19)
    ]
    assert [answer.status for answer in answers[:18]] == [200] * 18
    assert answers[18].code == "DCS.4039"
    assert tenant.call("POST", f"instances/{here}/accounts", ACCOUNT | {"account_name": "n1"}).code == "DCS.4062"


def test_the_audit_log_names_accounts_and_no_secrets(tenant: Tenant) -> None:
    here, account_id = with_account(tenant)
    tenant.call("PUT", f"instances/{here}/password", {"old_password": PASSWORD, "new_password": NEW})
    entries = tenant.call("GET", "audit").json["entries"]
    actions = {entry["action"]: entry for entry in entries}
    assert {"dcs:aclaccount:create", "dcs:instance:modifyAuthInfo"} <= actions.keys()
    assert account_id in json.dumps(actions["dcs:aclaccount:create"])
    for secret in (PASSWORD, NEW, ACCOUNT["account_password"]):
        assert secret not in json.dumps(entries)


def test_a_whitelist_that_is_off_is_stored_and_cannot_be_enabled_for_a_cluster(tenant: Tenant) -> None:
    here = tenant.instance()
    path = f"instance/{here}/whitelist"
    groups = [{"group_name": "shop", "ip_list": ["10.0.0.0/24", "192.168.1.7"]}]
    off = {"enable_whitelist": False, "whitelist": groups}
    assert tenant.call("GET", path).json == {"instance_id": here, "enable_whitelist": False, "whitelist": []}
    answer = tenant.call("PUT", path, off)
    assert (answer.status, answer.body, waiting(tenant, here)) == (204, b"", [])
    assert tenant.call("GET", path).json == {"instance_id": here, **off}
    refused: list[Mapping[str, Any]] = [
        {"enable_whitelist": True, "whitelist": groups},
        {"whitelist": groups},
        {"enable_whitelist": False, "whitelist": [{"group_name": "a", "ip_list": ["0.0.0.0/0"]}]},
        {"enable_whitelist": False, "whitelist": [{"group_name": "a", "ip_list": ["10.0.0.256"]}]},
        {"enable_whitelist": False, "whitelist": [{"group_name": "a", "ip_list": ["10.0.0.4/0.0.0.1"]}]},
        {"enable_whitelist": False, "whitelist": [{"group_name": "a", "ip_list": ["fe80::1%a\n b"]}]},
        {"enable_whitelist": False, "whitelist": [*groups, *groups]},
        {"enable_whitelist": False, "whitelist": [{"group_name": str(n), "ip_list": []} for n in range(5)]},
    ]
    for body in refused:
        for asked in (path, f"{path}-async"):
            assert tenant.call("PUT", asked, body).refusal == (400, "DCS.4062")
    assert tenant.call("GET", path).json == {"instance_id": here, **off}
    assert tenant.call("PUT", path, {"enable_whitelist": True, "whitelist": []}).status == 204, "it allows all"
    assert tenant.call("GET", path).json["enable_whitelist"]
    answer = tenant.call("PUT", f"{path}-async", {"enable_whitelist": False})
    (task,) = waiting(tenant, here)
    assert (answer.status, answer.json, task.name) == (200, {"job_id": task.id}, "AddWhitelist")
    assert tenant.call("GET", path).json["whitelist"] == []
