"""Scans for expired keys: their schedules, and those that a caller starts."""

from typing import Any

import pytest
from contract import faults
from tenants import Tenant

from cachewright.heartbeats import LoopHeartbeats
from cachewright.model.identity import Principal
from cachewright.model.scan_schedules import ScanSchedule, epoch_ms, is_due, schedule_of
from cachewright.monitoring.scheduled_scans import ScheduledScans
from cachewright.operations.scan_expired import SCAN_EXPIRED, ScanParams
from cachewright.store import instances, tasks

SCHEDULE = {
    "enable_auto_scan": True,
    "first_scan_at": "2127-07-07T15:00:05.000z",
    "interval": 3600,
    "timeout": 600,
    "scan_keys_count": 10,
}
CONFIG = "scan-expire-keys/autoscan-config"


def test_a_schedule_is_set_shown_and_ended(tenant: Tenant) -> None:
    path = f"instances/{tenant.instance()}/{CONFIG}"
    before = tenant.call("GET", path).json
    assert (before["enable_auto_scan"], before["interval"], before["updated_at"]) == (False, None, None)
    stored = tenant.call("PUT", path, SCHEDULE).json
    assert {name: stored[name] for name in SCHEDULE} == SCHEDULE
    assert tenant.call("GET", path).json == stored
    assert faults(stored, "ShowExpireAutoScanConfigResponse") == []
    ended = tenant.call("PUT", path, {**SCHEDULE, "enable_auto_scan": False}).json
    assert {name: ended[name] for name in SCHEDULE} == {**SCHEDULE, "enable_auto_scan": False}


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"first_scan_at": ...}, "DCS.4819"),
        ({"first_scan_at": "tomorrow"}, "DCS.4819"),
        ({"first_scan_at": "2020-01-01T00:00:00.000Z"}, "DCS.4819"),
        ({"interval": ...}, "DCS.4820"),
        ({"interval": -1}, "DCS.4062"),
        ({"timeout": 0}, "DCS.4821"),
        ({"timeout": 3600}, "DCS.4821"),
        ({"timeout": ...}, "DCS.4821"),
        ({"scan_keys_count": 9}, "DCS.4822"),
        ({"scan_keys_count": 1001}, "DCS.4822"),
        ({"enable_auto_scan": ...}, "DCS.4062"),
    ],
)
def test_an_invalid_schedule_is_refused(tenant: Tenant, changed: dict[str, Any], code: str) -> None:
    path = f"instances/{tenant.instance()}/{CONFIG}"
    body = {name: value for name, value in (SCHEDULE | changed).items() if value is not ...}
    assert tenant.call("PUT", path, body).refusal == (400, code)
    assert tenant.call("GET", path).json["updated_at"] is None


def test_a_first_time_that_has_passed_may_be_sent_again(tenant: Tenant) -> None:
    here = tenant.instance()
    past = {**SCHEDULE, "first_scan_at": "2020-01-01T00:00:00Z"}
    with tenant.site.database.write() as connection:
        instances.change(connection, here, attributes={"expiry_schedule": past})
    assert tenant.call("PUT", f"instances/{here}/{CONFIG}", {**past, "interval": 7200}).json["interval"] == 7200


@pytest.mark.parametrize("path", ["scan-expire-keys-task", "auto-expire/scan"])
def test_a_scan_is_a_background_task_that_is_not_started_twice(tenant: Tenant, path: str) -> None:
    here = tenant.instance()
    record = tenant.call("POST", f"instances/{here}/{path}").json
    assert (record["status"], record["scan_type"], record["num"]) == ("waiting", "manual", 0)
    assert tenant.call("POST", f"instances/{here}/{path}").json["id"] == record["id"]
    history = tenant.call("GET", f"instances/{here}/auto-expire/histories").json
    assert (history["total"], history["count"], history["records"]) == (1, 1, [record])
    assert faults(history, "ShowExpireKeyScanInfoResponse") == []
    assert tenant.colleague("viewer").call("POST", f"instances/{here}/{path}").refusal == (403, "DCS.2007")


def test_scans_that_are_due_are_started(tenant: Tenant) -> None:
    here = tenant.instance()
    due = {**SCHEDULE, "first_scan_at": "2020-01-01T00:00:00Z"}
    with tenant.site.database.write() as connection:
        instances.change(connection, here, attributes={"expiry_schedule": due})
    started: list[tuple[str, ScanParams]] = []

    def submit(operation: object, owner: Principal, instance_id: str, params: ScanParams, attributes: object) -> None:
        if instance_id == here:
            assert (operation, owner.project_id) == (SCAN_EXPIRED, tenant.project_id)
        started.append((instance_id, params))

    scans = ScheduledScans(tenant.site.database, submit, LoopHeartbeats())
    scans.start_due()
    assert [params for instance_id, params in started if instance_id == here] == [
        ScanParams(scan_type="auto", keys_at_once=10, timeout=600)
    ]
    tenant.add_task(here, kind=SCAN_EXPIRED.kind, created_at=4_000_000_000_000, status="SUCCESS")
    started.clear()
    scans.start_due()
    assert here not in [instance_id for instance_id, _ in started]
    with tenant.site.database.read() as connection:
        assert tasks.latest_of_kind(connection, here, SCAN_EXPIRED.kind) == 4_000_000_000_000


@pytest.mark.parametrize(
    ("now", "last", "due"),
    [
        (99, None, False),
        (100, None, True),
        (105, 99, True),
        (105, 100, False),
        (109, 100, False),
        (110, 100, True),
        (1000, 990, True),
        (1000, 1000, False),
    ],
)
def test_a_scan_is_due_at_its_first_time_and_then_at_each_interval(now: int, last: int | None, due: bool) -> None:
    schedule = ScanSchedule(enable_auto_scan=True, first_scan_at="1970-01-01T00:01:40Z", interval=10)
    assert is_due(schedule, None if last is None else last * 1000, now * 1000) is due
    off = schedule_of({"expiry_schedule": {"enable_auto_scan": False, "first_scan_at": schedule.first_scan_at}})
    assert not is_due(off, None, now * 1000)


def test_a_schedule_without_an_interval_is_for_one_scan() -> None:
    schedule = ScanSchedule(enable_auto_scan=True, first_scan_at="1970-01-01T00:01:40", interval=0)
    assert is_due(schedule, None, 500_000)
    assert not is_due(schedule, 100_000, 500_000)
    assert epoch_ms("1970-01-01T00:01:40.000z") == epoch_ms("1970-01-01T01:01:40+01:00") == 100_000
