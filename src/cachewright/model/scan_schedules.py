"""When an instance is scanned for expired keys, and analysed for big and hot keys, by a schedule. Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import msgspec

from cachewright.model.key_analyses import Subject

ATTRIBUTE = "expiry_schedule"
"""Name of the attribute of an instance that stores its schedule."""

DEFAULT_KEYS_AT_ONCE = 10

ScanType = Literal["manual", "auto"]
"""`auto` for a scan or an analysis by the schedule of the instance."""


class ScanSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """The schedule as the owner has set it.

    :ivar first_scan_at: ISO 8601.
    :ivar interval: seconds from one scan to the next; 0 for one scan.
    :ivar timeout: seconds after which a scan ends; 0 for no limit.
    :ivar scan_keys_count: keys that a node looks at in one step.
    :ivar updated_at: epoch milliseconds.
    :ivar started_at: when it last started a scan, epoch milliseconds. The task's record may be deleted.
    """

    enable_auto_scan: bool = False
    first_scan_at: str | None = None
    interval: int | None = None
    timeout: int | None = None
    scan_keys_count: int | None = None
    updated_at: int | None = None
    started_at: int | None = None


class DailySchedule(msgspec.Struct, frozen=True, kw_only=True):
    """The schedule of analyses as the owner has set it.

    :ivar schedule_at: times of day, `HH:MM`, UTC.
    :ivar updated_at: epoch milliseconds.
    :ivar started_at: when it last started an analysis, epoch milliseconds. The task's record may be deleted.
    """

    enable_auto_scan: bool = False
    schedule_at: tuple[str, ...] = ()
    updated_at: int | None = None
    started_at: int | None = None


def daily_attribute(subject: Subject) -> str:
    """Return the name of the attribute of an instance that stores its schedule."""
    return f"{subject}key_schedule"


def daily_schedule_of(attributes: Mapping[str, Any], subject: Subject) -> DailySchedule:
    """Return the schedule of an instance with these attributes."""
    return msgspec.convert(attributes.get(daily_attribute(subject), {}), DailySchedule)


def schedule_of(attributes: Mapping[str, Any]) -> ScanSchedule:
    """Return the schedule of an instance with these attributes."""
    return msgspec.convert(attributes.get(ATTRIBUTE, {}), ScanSchedule)


def epoch_ms(moment: str) -> int | None:
    """Return the epoch milliseconds of an ISO 8601 time, which is UTC without a zone. None if it is none."""
    try:
        parsed = datetime.fromisoformat(moment.upper())
    except ValueError:
        return None
    return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() * 1000)


def is_due(schedule: ScanSchedule, last_ms: int | None, now_ms: int) -> bool:
    """Whether a scan should start: the latest time of the schedule has passed, and the last scan began before it.

    A time that passed while no server ran is made up for once.
    """
    first = epoch_ms(schedule.first_scan_at or "")
    if not schedule.enable_auto_scan or first is None or now_ms < first:
        return False
    every = (schedule.interval or 0) * 1000
    latest = first + (now_ms - first) // every * every if every else first
    return max(last_ms or 0, schedule.started_at or 0) < latest


def is_daily_due(schedule: DailySchedule, last_ms: int | None, now_ms: int) -> bool:
    """Whether an analysis should start: a time of day has passed since the schedule was set and the last one began."""
    if not schedule.enable_auto_scan or not schedule.schedule_at:
        return False
    latest = max(_latest(time_of_day, now_ms) for time_of_day in schedule.schedule_at)
    return latest > max(last_ms or 0, schedule.started_at or 0, schedule.updated_at or 0)


def started(attributes: Mapping[str, Any], name: str, now_ms: int) -> dict[str, Any]:
    """Return the changed attributes of an instance whose schedule, stored as the attribute `name`, starts a task."""
    return {name: {**attributes.get(name, {}), "started_at": now_ms}}


def _latest(time_of_day: str, now_ms: int) -> int:
    """Return the last moment until now with this time of day, in epoch milliseconds."""
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    hour, minute = map(int, time_of_day.split(":"))
    today = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return int((today if today <= now else today - timedelta(days=1)).timestamp() * 1000)
