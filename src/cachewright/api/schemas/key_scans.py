"""Shapes of automatic key scans and of their records. Types follow the SDK's models.

Keys are not scanned, so a scan cannot be enabled. A schedule is stored and returned nevertheless: clients such as
terraform send the schedule of a scan that is off, and compare it with the response.
"""

from typing import Annotated, Literal

import msgspec

from cachewright.api.schemas import iso
from cachewright.model.instances import Instance

Subject = Literal["bigkey", "hotkey"]

_Time = Annotated[str, msgspec.Meta(pattern=r"\A([01][0-9]|2[0-3]):[0-5][0-9]\Z")]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class AutoScanBody(msgspec.Struct, frozen=True):
    """:ivar schedule_at: times of day, `HH:MM`, UTC."""

    enable_auto_scan: bool
    schedule_at: Annotated[list[_Time], msgspec.Meta(max_length=24)] = []


class AutoScan(msgspec.Struct, frozen=True):
    """Always off, because keys are not analysed."""

    instance_id: str
    enable_auto_scan: bool = False
    schedule_at: list[str] = []
    updated_at: str | None = None


class ExpiryScanBody(msgspec.Struct, frozen=True):
    """:ivar interval: seconds from one scan to the next; `timeout` seconds end a scan."""

    enable_auto_scan: bool
    first_scan_at: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    interval: _Count | None = None
    timeout: _Count | None = None
    scan_keys_count: _Count | None = None


class ExpiryScan(msgspec.Struct, frozen=True, kw_only=True):
    """Always off: Valkey deletes expired keys by itself."""

    instance_id: str
    enable_auto_scan: bool = False
    first_scan_at: str | None = None
    interval: int | None = None
    timeout: int | None = None
    scan_keys_count: int | None = None
    updated_at: str | None = None


def auto_scan(instance: Instance, subject: Subject) -> AutoScan:
    stored = instance.attributes.get(schedule_name(subject), {})
    return AutoScan(instance.id, schedule_at=stored.get("schedule_at", []), updated_at=iso(stored.get("updated_at")))


def expiry_scan(instance: Instance) -> ExpiryScan:
    stored = instance.attributes.get(EXPIRY_SCHEDULE, {})
    settings = {name: value for name, value in stored.items() if name != "updated_at"}
    return ExpiryScan(instance_id=instance.id, updated_at=iso(stored.get("updated_at")), **settings)


EXPIRY_SCHEDULE = "expiry_schedule"
"""Name of the attribute of an instance that stores the schedule of expiry scans."""


def schedule_name(subject: Subject) -> str:
    """Return the name of the attribute of an instance that stores the schedule."""
    return f"{subject}_schedule"
