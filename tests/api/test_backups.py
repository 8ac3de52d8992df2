"""Backups over HTTP, without nodes: what is accepted, refused, listed and deleted."""

import uuid
from collections.abc import Mapping
from typing import Any

import pytest
from contract import faults
from huaweicloudsdkdcs.v2 import (
    BackupInstanceBody,
    BackupPlan,
    BackupPolicy,
    CopyInstanceRequest,
    DeleteBackupFileRequest,
    ListBackupRecordsRequest,
    ModifyInstanceBody,
    ShowInstanceRequest,
    UpdateInstanceRequest,
)
from tenants import Tenant

from cachewright.backups.links import Link, seal_link
from cachewright.clock import now_ms
from cachewright.model.backups import MOST_MANUAL, Backup
from cachewright.store import backups, instances, tasks

NOWHERE = "00000000-0000-4000-8000-000000000001"
PLAN = {"timezone_offset": "+0800", "backup_at": [7, 1, 1], "period_type": "weekly", "begin_at": "02:00-03:00"}
POLICY = {"backup_type": "auto", "save_days": 3, "periodical_backup_plan": PLAN}


def copied(tenant: Tenant, instance_id: str, remark: str = "") -> str:
    body = BackupInstanceBody(remark=remark, backup_format="rdb")
    return str(tenant.client.copy_instance(CopyInstanceRequest(instance_id=instance_id, body=body)).backup_id)


def ends(tenant: Tenant, instance_id: str, backup_id: str, *, state: str = "succeed", **task: Any) -> None:
    """End the task of a backup, as the engine would."""
    with tenant.site.database.write() as connection:
        (unfinished,) = tasks.unfinished_of(connection, instance_id)
        ended = {"status": "SUCCESS", "percent": 100, "end_time": now_ms()} | task
        tasks.change(connection, unfinished.id, **ended)
        if ended["status"] == "SUCCESS":
            backups.change(connection, backup_id, state=state, size=7, taken_at=1_800_000_000_000)


def listed(tenant: Tenant, path: str, query: str = "") -> list[dict[str, Any]]:
    answer = tenant.call("GET", path, query=query)
    assert answer.status == 200, answer.body
    found: list[dict[str, Any]] = answer.json["backup_record_response"]
    return found


def test_a_backup_is_listed_from_its_request_to_its_deletion(tenant: Tenant) -> None:
    here = tenant.instance()
    path = f"instances/{here}/backups"
    assert tenant.client.list_backup_records(ListBackupRecordsRequest(instance_id=here)).total_num == 0
    backup_id = copied(tenant, here, "before the sale")
    (shown,) = listed(tenant, path)
    assert faults({"total_num": 1, "backup_record_response": [shown]}, "ListBackupRecordsResponse") == []
    assert (shown["backup_id"], shown["status"], shown["progress"]) == (backup_id, "waiting", "0.00")
    assert (shown["remark"], shown["backup_type"], shown["is_support_restore"]) == (
        "before the sale",
        "manual",
        "FALSE",
    )
    assert tenant.call("GET", f"instances/{here}").json["task"] == "BACKUPING"
    for refused in (
        tenant.call("POST", path, {}),
        tenant.call("PUT", "instances/status", {"instances": [here], "action": "flush"}).json["results"][0],
        tenant.call("DELETE", f"{path}/{backup_id}"),
    ):
        assert (refused["error_code"] if isinstance(refused, dict) else refused.refusal[1]) == "DCS.4096"
    assert tenant.call("POST", f"{path}/{backup_id}/links", {"expiration": 300}).refusal == (400, "DCS.4087")

    ends(tenant, here, backup_id, status="FAILED", error_code="DCS.9014")
    (shown,) = listed(tenant, path)
    assert (shown["status"], shown["error_code"], shown["size"]) == ("failed", "DCS.9014", 0)
    assert tenant.call("POST", f"{path}/{backup_id}/links", {"expiration": 300}).refusal == (400, "DCS.4087")
    second = copied(tenant, here)
    ends(tenant, here, second)
    assert [one["status"] for one in listed(tenant, path)] == ["succeed", "failed"]
    assert [one["backup_id"] for one in listed(tenant, path, "limit=1&offset=1")] == [backup_id]
    assert listed(tenant, path, "end_time=20200101000000") == []
    assert tenant.call("GET", path, query="begin_time=20200101000000&end_time=20190101000000").refusal == (
        400,
        "DCS.4025",
    )

    with tenant.site.database.write() as connection:
        instances.remove(connection, here)
    assert [one["backup_id"] for one in listed(tenant, "backups")] == [second, backup_id]
    assert [one["backup_id"] for one in listed(tenant, path)] == [second, backup_id]
    for _ in range(2):
        tenant.client.delete_backup_file(DeleteBackupFileRequest(instance_id=here, backup_id=second))
    assert [one["status"] for one in listed(tenant, path)] == ["deleted", "failed"]
    assert tenant.call("POST", f"{path}/{second}/links", {"expiration": 300}).refusal == (400, "DCS.4031")


def test_a_project_whose_backups_take_its_quota_makes_room_itself(tenant: Tenant) -> None:
    here = tenant.instance()
    backup_id = copied(tenant, here)
    ends(tenant, here, backup_id)
    with tenant.site.database.write() as connection:
        backups.change(connection, backup_id, size=tenant.site.settings.backup_quota)
    answer = tenant.call("POST", f"instances/{here}/backups", {})
    assert answer.refusal == (400, "DCS.4039")
    assert "its quota is 1073741824000" in answer.json["error_msg"]
    assert tenant.call("POST", f"instances/{NOWHERE}/backups", {}).refusal == (404, "DCS.3022")
    resources = tenant.call("GET", "quota").json["quotas"]["resources"]
    (shown,) = [one for one in resources if one["type"] == "backup"]
    assert (shown["used"], shown["quota"], shown["unit"]) == (1000, 1000, "GB")
    assert tenant.call("DELETE", f"instances/{here}/backups/{backup_id}").status == 204
    assert tenant.call("POST", f"instances/{here}/backups", {}).status == 200


def test_a_backup_that_is_imported_is_not_deleted(tenant: Tenant) -> None:
    here = tenant.instance()
    backup_id = copied(tenant, here)
    ends(tenant, here, backup_id)
    body = {
        "task_name": "import",
        "migration_type": "backupfile_import",
        "migration_method": "full_amount_migration",
        "backup_files": {"file_source": "backup_record", "backup_id": backup_id},
        "target_instance": {"id": here},
    }
    made = tenant.call("POST", "migration-task", body).json["id"]
    assert tenant.call("DELETE", f"instances/{here}/backups/{backup_id}").refusal == (400, "DCS.4097")
    assert tenant.call("POST", f"migration-task/{made}/stop").status == 200
    assert tenant.call("DELETE", f"instances/{here}/backups/{backup_id}").status == 204


def test_a_backup_whose_manifest_is_missing_or_damaged_is_not_handed_out(tenant: Tenant) -> None:
    here = tenant.instance()
    backup_id = copied(tenant, here)
    ends(tenant, here, backup_id)
    path = f"instances/{here}/backups/{backup_id}/links"
    answer = tenant.call("POST", path, {"expiration": 300})
    assert answer.refusal == (500, "DCS.9015")
    assert "no manifest" in answer.json["error_msg"]
    cipher = tenant.site.database.cipher
    for link, code in (
        (Link(tenant.project_id, backup_id, 0, now_ms() + 60_000), "DCS.9015"),
        (Link(tenant.project_id, backup_id, 0, now_ms() - 1), "DCS.1002"),
        (Link(tenant.project_id, NOWHERE, 0, now_ms() + 60_000), "DCS.4031"),
        (Link("0" * 32, backup_id, 0, now_ms() + 60_000), "DCS.4031"),
    ):
        assert tenant.send("GET", f"/v2/backup-files?token={seal_link(link, cipher)}", {}).code == code
    for forged in (seal_link(link, cipher)[:-4] + "AAA=", "x", cipher.encrypt('{"purpose":"other"}'), "%00"):
        assert tenant.send("GET", f"/v2/backup-files?token={forged}", {}).refusal[0] in {400, 401}
    assert tenant.send("GET", "/v2/backup-files", {}).refusal == (400, "DCS.4062")


def test_projects_do_not_see_backups_of_each_other(tenant: Tenant, new_tenant: Any) -> None:
    here = tenant.instance()
    backup_id = copied(tenant, here)
    ends(tenant, here, backup_id)
    other = new_tenant()
    assert listed(other, "backups") == []
    for method, path, body in (
        ("GET", "", b""),
        ("POST", "", {}),
        ("DELETE", f"/{backup_id}", b""),
        ("POST", f"/{backup_id}/links", {"expiration": 300}),
    ):
        assert other.call(method, f"instances/{here}/backups{path}", body).refusal == (404, "DCS.3022")
    own = other.instance()
    assert other.call("DELETE", f"instances/{own}/backups/{backup_id}").refusal == (400, "DCS.4031")
    assert tenant.call("DELETE", f"instances/{tenant.instance()}/backups/{backup_id}").refusal == (400, "DCS.4031")
    assert [one["status"] for one in listed(tenant, "backups")] == ["succeed"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"backup_format": "aof"}, "DCS.4062"),
        ({"backup_format": "zip"}, "DCS.4062"),
        ({"remark": "r" * 129}, "DCS.4098"),
        ({"remark": "a\nb"}, "DCS.4098"),
        ({"remark": 1}, "DCS.4098"),
        ("[]", "DCS.4005"),
    ],
    ids=str,
)
def test_a_backup_that_cannot_be_made_is_refused(tenant: Tenant, body: Any, code: str) -> None:
    here = tenant.instance()
    assert tenant.call("POST", f"instances/{here}/backups", body).refusal == (400, code)
    assert listed(tenant, f"instances/{here}/backups") == []
    assert tenant.call("GET", f"instances/{here}").json["task"] is None


@pytest.mark.parametrize("seconds", [299, 86401, "300", None])
def test_a_link_is_valid_for_minutes_to_a_day(tenant: Tenant, seconds: Any) -> None:
    here = tenant.instance()
    backup_id = copied(tenant, here)
    body = {"expiration": seconds}
    assert tenant.call("POST", f"instances/{here}/backups/{backup_id}/links", body).refusal == (400, "DCS.4062")


def test_an_instance_has_a_limited_number_of_manual_backups(tenant: Tenant) -> None:
    here = tenant.instance()
    with tenant.site.database.write() as connection:
        first = copied_row(tenant, connection, here)
        for _ in range(MOST_MANUAL - 2):
            copied_row(tenant, connection, here)
        copied_row(tenant, connection, here, kind="auto")
    ends(tenant, here, copied(tenant, here))
    answer = tenant.call("POST", f"instances/{here}/backups", {})
    assert answer.refusal == (400, "DCS.4039")
    assert str(MOST_MANUAL) in answer.json["error_msg"]
    assert tenant.call("GET", f"instances/{here}").json["task"] is None
    assert tenant.call("DELETE", f"instances/{here}/backups/{first}").status == 204
    assert tenant.call("POST", f"instances/{here}/backups", {}).status == 200


def copied_row(tenant: Tenant, connection: Any, instance_id: str, kind: Any = "manual") -> str:
    backup_id = str(uuid.uuid4())
    row = Backup(
        id=backup_id,
        project_id=tenant.project_id,
        instance_id=instance_id,
        instance_name="cache",
        spec_code="code",
        kind=kind,
        state="succeed",
        task_id=uuid.uuid4().hex,
        remark="",
        created_at=1,
        taken_at=1,
    )
    backups.add(connection, row)
    return backup_id


def test_the_clouds_client_sets_a_policy_and_reads_it_back(tenant: Tenant) -> None:
    here = tenant.instance(instance_backup_policy=POLICY)
    path = f"instances/{here}"
    first = tenant.call("GET", path).json
    assert faults(first, "ShowInstanceResponse") == []
    assert first["instance_backup_policy"]["policy"] == POLICY | {
        "periodical_backup_plan": PLAN | {"backup_at": [1, 7]}
    }
    plan = BackupPlan(timezone_offset="+0800", backup_at=[2], period_type="weekly", begin_at="04:00-05:00")
    wanted = BackupPolicy(backup_type="auto", save_days=7, periodical_backup_plan=plan)
    body = ModifyInstanceBody(name="other", instance_backup_policy=wanted)
    tenant.client.update_instance(UpdateInstanceRequest(instance_id=here, body=body))
    read = tenant.client.show_instance(ShowInstanceRequest(instance_id=here)).instance_backup_policy
    assert read.policy == wanted
    assert read.backup_policy_id == first["instance_backup_policy"]["backup_policy_id"]
    tenant.client.update_instance(UpdateInstanceRequest(instance_id=here, body=body))
    again = tenant.client.show_instance(ShowInstanceRequest(instance_id=here)).instance_backup_policy
    assert again == read  # with its time: the policy has not changed, so no backup is missed
    assert tenant.call("PUT", path, {"instance_backup_policy": {}, "description": "d"}).status == 204
    assert tenant.call("GET", path).json["instance_backup_policy"]["policy"]["save_days"] == 7
    assert tenant.call("PUT", path, {"instance_backup_policy": {"backup_type": "manual"}}).status == 204
    policy = tenant.call("GET", path).json["instance_backup_policy"]["policy"]
    assert policy == {"backup_type": "manual", "save_days": 0, "periodical_backup_plan": None}


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"backup_type": "never"}, "DCS.4073"),
        ({"backup_type": ""}, "DCS.4073"),
        ({"save_days": 0}, "DCS.4072"),
        ({"save_days": 8}, "DCS.4072"),
        ({"save_days": "3"}, "DCS.4095"),
        ({"periodical_backup_plan": PLAN | {"period_type": "daily"}}, "DCS.4074"),
        ({"periodical_backup_plan": PLAN | {"backup_at": []}}, "DCS.4075"),
        ({"periodical_backup_plan": PLAN | {"backup_at": [0]}}, "DCS.4075"),
        ({"periodical_backup_plan": PLAN | {"backup_at": [8]}}, "DCS.4075"),
        ({"periodical_backup_plan": PLAN | {"begin_at": "2-3"}}, "DCS.4076"),
        ({"periodical_backup_plan": PLAN | {"timezone_offset": "+1300"}}, "DCS.4095"),
    ],
    ids=str,
)
def test_a_policy_that_is_not_valid_changes_nothing(tenant: Tenant, changed: Mapping[str, Any], code: str) -> None:
    here = tenant.instance(instance_backup_policy=POLICY)
    before = tenant.call("GET", f"instances/{here}").json
    body = {"name": "changed", "instance_backup_policy": POLICY | changed}
    assert tenant.call("PUT", f"instances/{here}", body).refusal == (400, code)
    assert tenant.call("GET", f"instances/{here}").json == before
    answer = tenant.call("POST", "instances", tenant.create_body(instance_backup_policy=POLICY | changed))
    assert answer.refusal == (400, code)
