"""Analyses for big and for hot keys: their schedules, and those that a caller starts."""

from typing import Any

import pytest
from contract import faults
from huaweicloudsdkdcs.v2 import AutoscanConfigRequest, UpdateBigkeyAutoscanConfigRequest
from tenants import Tenant

from cachewright.heartbeats import LoopHeartbeats
from cachewright.model.identity import Principal
from cachewright.model.key_analyses import FoundKey, Subject
from cachewright.monitoring.scheduled_scans import ScheduledScans
from cachewright.operations.analyse_keys import BIG_KEYS, HOT_KEYS, AnalysisParams
from cachewright.store import instances, key_analyses, tasks

SUBJECTS: list[Subject] = ["big", "hot"]
MISSING = {"big": (400, "DCS.4942"), "hot": (400, "DCS.4941")}
RESPONSES = {"big": "ShowBigkeyScanTaskDetailsResponse", "hot": "ShowHotkeyTaskDetailsResponse"}
LISTS = {"big": "ListBigkeyScanTasksResponse", "hot": "ListHotKeyScanTasksResponse"}
KEY = FoundKey(name="basket", type="hash", database=0, size=7000, address="127.0.0.1:6379", frequency=212)


def with_counters(tenant: Tenant) -> str:
    """An instance whose nodes count how often keys are used."""
    here = tenant.instance()
    with tenant.site.database.write() as connection:
        instances.change(connection, here, parameters={"maxmemory-policy": "allkeys-lfu"})
    return here


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_schedule_is_set_and_shown(tenant: Tenant, subject: Subject) -> None:
    here = tenant.instance()
    path = f"instances/{here}/{subject}key/autoscan"
    assert tenant.call("GET", path).json["enable_auto_scan"] is False
    stored = tenant.call("PUT", path, {"enable_auto_scan": True, "schedule_at": ["03:00", "22:30"]}).json
    assert (stored["enable_auto_scan"], stored["schedule_at"]) == (True, ["03:00", "22:30"])
    assert stored["updated_at"].endswith("Z")
    assert tenant.call("GET", path).json == stored
    other = next(one for one in SUBJECTS if one != subject)
    assert tenant.call("GET", f"instances/{here}/{other}key/autoscan").json["schedule_at"] == []
    assert faults(stored, "ShowBigkeyAutoscanConfigResponse") == []
    body = AutoscanConfigRequest(enable_auto_scan=False, schedule_at=["10:00"])
    request = UpdateBigkeyAutoscanConfigRequest(instance_id=here, body=body)
    assert tenant.client.update_bigkey_autoscan_config(request).enable_auto_scan is False


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"enable_auto_scan": True}, "schedule_at"),
        ({"schedule_at": []}, "enable_auto_scan"),
        ({"enable_auto_scan": False, "schedule_at": ["24:00"]}, "schedule_at"),
        ({"enable_auto_scan": False, "schedule_at": ["3:00"]}, "schedule_at"),
    ],
)
def test_an_invalid_schedule_is_refused(tenant: Tenant, body: Any, said: str) -> None:
    path = f"instances/{tenant.instance()}/hotkey/autoscan"
    answer = tenant.call("PUT", path, body)
    assert answer.refusal == (400, "DCS.4062")
    assert said in answer.json["error_msg"]
    assert tenant.call("GET", path).json["updated_at"] is None


@pytest.mark.parametrize("subject", SUBJECTS)
def test_an_analysis_is_a_background_task_with_a_result_of_its_own(tenant: Tenant, subject: Subject) -> None:
    here = with_counters(tenant)
    path = f"instances/{here}/{subject}key-task"
    started = tenant.call("POST", path).json
    assert (started["status"], started["scan_type"], started["num"], started["keys"]) == ("waiting", "manual", 0, [])
    assert tenant.call("POST", path).json["id"] == started["id"]
    assert tenant.call("DELETE", f"{path}/{started['id']}").refusal == (400, "DCS.4957")
    with tenant.site.database.write() as connection:
        key_analyses.store_found(connection, started["id"], "127.0.0.1:6380", ())
        for _ in range(2):  # the action runs again after a crash
            key_analyses.store_found(connection, started["id"], KEY.address, (KEY,))
        tasks.change(connection, started["id"], status="SUCCESS", end_time=4_000_000_000_000)
    shown = tenant.call("GET", f"{path}/{started['id']}").json
    (key,) = shown["keys"]
    assert {name: key[name] for name in ("name", "type", "shard", "db", "size", "unit")} == {
        "name": "basket", "type": "hash", "shard": "127.0.0.1:6379", "db": 0, "size": 7000, "unit": "count",
    }  # fmt: skip
    assert key.get("freq") == {"hot": 212}.get(subject)
    assert faults(shown, RESPONSES[subject]) == []
    listed = tenant.call("GET", f"{path}s").json
    assert (listed["count"], [record["id"] for record in listed["records"]]) == (1, [started["id"]])
    assert "keys" not in listed["records"][0]
    assert faults(listed, LISTS[subject]) == []
    assert tenant.call("GET", f"{path}s", query="status=running").json["records"] == []
    assert tenant.call("GET", f"{path}s", query="status=paused").refusal == (400, "DCS.4062")
    assert tenant.call("DELETE", f"{path}/{started['id']}").json == shown
    for method in ("GET", "DELETE"):
        assert tenant.call(method, f"{path}/{started['id']}").refusal == MISSING[subject]
    assert tenant.call("GET", f"instances/{here}/tasks/{started['id']}").status == 200


def test_keys_are_shown_to_operators_of_the_project_alone(tenant: Tenant, new_tenant: Any) -> None:
    here = tenant.instance()
    record = tenant.call("POST", f"instances/{here}/bigkey-task").json
    path = f"instances/{here}/bigkey-task/{record['id']}"
    viewer, stranger = tenant.colleague("viewer"), new_tenant()
    assert viewer.call("GET", f"instances/{here}/bigkey-tasks").json["count"] == 1
    assert viewer.call("GET", path).refusal == (403, "DCS.2007")
    assert viewer.call("POST", f"instances/{here}/bigkey-task").refusal == (403, "DCS.2007")
    assert tenant.colleague("operator").call("GET", path).status == 200
    for where in (path, f"instances/{here}/bigkey-tasks"):
        assert stranger.call("GET", where).refusal == (404, "DCS.3022")
    elsewhere = tenant.instance(name="another")
    assert tenant.call("GET", f"instances/{elsewhere}/bigkey-task/{record['id']}").refusal == MISSING["big"]
    assert tenant.call("GET", f"instances/{here}/hotkey-task/{record['id']}").refusal == MISSING["hot"]
    assert tenant.call("GET", f"instances/{here}/bigkey-task/x").refusal == MISSING["big"]


def test_hot_keys_need_counters_of_use(tenant: Tenant) -> None:
    here = tenant.instance()
    answer = tenant.call("POST", f"instances/{here}/hotkey-task")
    assert answer.refusal == (400, "DCS.4919")
    assert "maxmemory-policy" in answer.json["error_msg"]
    with tenant.site.database.read() as connection:
        assert tasks.unfinished_of(connection, here) == []


def test_a_result_ends_with_its_task_and_with_its_instance(tenant: Tenant) -> None:
    first, second = tenant.instance(), tenant.instance(name="another")
    ids = [tenant.call("POST", f"instances/{here}/bigkey-task").json["id"] for here in (first, second)]
    with tenant.site.database.write() as connection:
        tasks.change(connection, ids[0], status="FAILED", end_time=4_000_000_000_000)
        instances.remove(connection, second)
        assert key_analyses.of_instance(connection, second, "big") == []
    assert tenant.call("DELETE", f"instances/{first}/tasks/{ids[0]}").status == 200
    assert tenant.call("GET", f"instances/{first}/bigkey-tasks").json["count"] == 0


def test_a_repeated_analysis_shows_no_keys_of_its_former_attempt(tenant: Tenant) -> None:
    here = tenant.instance()
    path = f"instances/{here}/bigkey-task"
    task_id = tenant.call("POST", path).json["id"]
    for is_deleted in (False, True):
        with tenant.site.database.write() as connection:
            key_analyses.store_found(connection, task_id, KEY.address, (KEY,))
            tasks.change(connection, task_id, status="FAILED", end_time=4_000_000_000_000)
        assert tenant.call("GET", f"{path}/{task_id}").json["num"] == 1
        if is_deleted:
            assert tenant.call("DELETE", f"{path}/{task_id}").status == 200
        assert tenant.call("POST", f"instances/{here}/tasks/{task_id}/retry").status == 200
        repeated = tenant.call("POST", path)
        assert (repeated.status, repeated.json["id"], repeated.json["num"]) == (200, task_id, 0)


def test_analyses_that_are_due_are_started(tenant: Tenant) -> None:
    here = tenant.instance()
    due = {"enable_auto_scan": True, "schedule_at": ["00:00"], "updated_at": 1}
    with tenant.site.database.write() as connection:
        instances.change(connection, here, attributes={"bigkey_schedule": due, "hotkey_schedule": due})
    started: list[object] = []

    def submit(
        operation: object, owner: Principal, instance_id: str, params: AnalysisParams, attributes: object
    ) -> None:
        if instance_id == here:
            started.append((operation, owner.project_id, params))

    scans = ScheduledScans(tenant.site.database, submit, LoopHeartbeats())
    scans.start_due()
    auto = AnalysisParams(scan_type="auto")
    assert started == [(BIG_KEYS, tenant.project_id, auto), (HOT_KEYS, tenant.project_id, auto)]
    tenant.add_task(here, kind=BIG_KEYS.kind, created_at=4_000_000_000_000, status="SUCCESS")
    started.clear()
    scans.start_due()
    assert started == [(HOT_KEYS, tenant.project_id, auto)]
