"""Shapes of scans for expired keys, their schedule and records. Types follow the SDK's models."""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from cachewright import errors
from cachewright.api.schemas import iso
from cachewright.errors import ApiError
from cachewright.model.instances import Instance
from cachewright.model.scan_schedules import ScanSchedule, ScanType, epoch_ms, schedule_of
from cachewright.model.tasks import Task, TaskStatus
from cachewright.operations.scan_expired import SCAN_EXPIRED, expired_keys

ScanStatus = Literal["waiting", "running", "success", "failed"]

_Seconds = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
_FEWEST, _MOST = 10, 1000


class ExpiryScanBody(msgspec.Struct, frozen=True):
    """:ivar interval: seconds from one scan to the next; `timeout` seconds end a scan."""

    enable_auto_scan: bool
    first_scan_at: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    interval: _Seconds | None = None
    timeout: _Seconds | None = None
    scan_keys_count: int | None = None


class ExpiryScan(msgspec.Struct, frozen=True, kw_only=True):
    """The schedule of scans for expired keys."""

    instance_id: str
    enable_auto_scan: bool
    first_scan_at: str | None
    interval: int | None
    timeout: int | None
    scan_keys_count: int | None
    updated_at: str | None


class ScanRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A scan for expired keys. `num` is the number of keys that were deleted during it because they had expired."""

    id: str
    instance_id: str
    status: ScanStatus
    scan_type: ScanType
    num: int
    created_at: str | None
    started_at: str | None
    finished_at: str | None


class ScanRecords(msgspec.Struct, frozen=True):
    instance_id: str
    total: int
    count: int
    records: list[ScanRecord]


STATUS: Mapping[TaskStatus, ScanStatus] = {
    "WAITING": "waiting",
    "EXECUTING": "running",
    "SUCCESS": "success",
    "FAILED": "failed",
}


def expiry_scan(instance: Instance) -> ExpiryScan:
    stored = schedule_of(instance.attributes)
    return ExpiryScan(
        instance_id=instance.id,
        enable_auto_scan=stored.enable_auto_scan,
        first_scan_at=stored.first_scan_at,
        interval=stored.interval,
        timeout=stored.timeout,
        scan_keys_count=stored.scan_keys_count,
        updated_at=iso(stored.updated_at),
    )


def expiry_schedule(body: ExpiryScanBody, instance: Instance, now: int) -> ScanSchedule:
    """Return the schedule to store. Raises ApiError DCS.4819 to DCS.4822 if an enabled schedule has invalid values."""
    if body.enable_auto_scan:
        _require_first_scan(body, instance, now)
        if body.interval is None:
            raise ApiError(errors.INVALID_SCAN_INTERVAL)
        if body.timeout is None or (body.interval and body.timeout >= body.interval) or not body.timeout:
            raise ApiError(errors.INVALID_SCAN_TIMEOUT)
        if body.scan_keys_count is None or not _FEWEST <= body.scan_keys_count <= _MOST:
            raise ApiError(errors.INVALID_SCAN_COUNT)
    started_at = schedule_of(instance.attributes).started_at
    return ScanSchedule(**msgspec.structs.asdict(body), updated_at=now, started_at=started_at)


def scan_record(task: Task) -> ScanRecord:
    return ScanRecord(
        id=task.id,
        instance_id=task.instance_id,
        status=STATUS[task.status],
        scan_type=SCAN_EXPIRED.params_of(task).scan_type,
        num=expired_keys(task),
        created_at=iso(task.created_at),
        started_at=iso(task.begin_time),
        finished_at=iso(task.end_time),
    )


def _require_first_scan(body: ExpiryScanBody, instance: Instance, now: int) -> None:
    """A time in the past is accepted if it is the stored one: clients send it again with each change."""
    first = epoch_ms(body.first_scan_at or "")
    is_stored = body.first_scan_at == schedule_of(instance.attributes).first_scan_at
    if first is None or (first < now and not is_stored):
        raise ApiError(errors.INVALID_FIRST_SCAN)
